"""A process that buys and is killed: every request and every transaction of the ledger is a place where SIGKILL may meet it."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
from tests.grading.claude.shop import KEY, Shop, guideline_of, opened, small_portions

from whetstone.grading.claude.api import Api

PRELOAD = ["pyarrow.dataset", "whetstone.platform.warehouse", "pytest", "tests.grading.claude.child"]  # by whom the children are forked
guideline_of("esci")
Api(KEY, "http://127.0.0.1:9")


class Places:
    """Counts the places that a process comes through, writes their names down, and kills the process at the `last`-th."""

    def __init__(self, path: Path, last: int | None) -> None:
        self._file, self._last, self._left = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), last, Counter[str]()

    def come_to(self, place: str) -> None:
        self._left[place] += 1
        os.write(self._file, f"{place} #{self._left[place]}\n".encode())
        if self._left.total() == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


def wrap(places: Places) -> None:
    """Put a place before and after each HTTP request and each commit."""
    import httpx2

    from whetstone.grading.claude.intents import Intents
    from whetstone.grading.ledger import Ledger

    doing = ["something"]

    def named(kind: type, method: str, name: Any) -> None:
        inner = getattr(kind, method)

        def outer(self: Any, *args: Any, **options: Any) -> Any:
            doing.append(name(*args, **options))
            try:
                return inner(self, *args, **options)
            finally:
                doing.pop()

        setattr(kind, method, outer)

    named(Intents, "intend", lambda wanted, at_most, state, *rest: state)
    named(Intents, "note", lambda intent, event, *rest: event if intent else "foreign")
    named(Ledger, "append", lambda rows: "grades")
    in_turn, send = Ledger.in_turn, httpx2.Client.send

    def watched_turn(self: Any, write: Any) -> Any:
        def watched(connection: Any) -> Any:
            result = write(connection)
            places.come_to(f"before commit of {doing[-1]}")
            return result

        result = in_turn(self, watched)
        places.come_to(f"after commit of {doing[-1]}")
        return result

    def watched_send(self: Any, request: Any, **options: Any) -> Any:
        parts = request.url.path.removeprefix("/v1/messages").strip("/").split("/")
        kind = {0: "messages", 1: parts[0] or "messages", 2: "batch", 3: "results"}[len(parts)]
        name = f"{request.method} {kind}"
        places.come_to(f"before {name}")
        reply = send(self, request, **options)
        places.come_to(f"after {name}")
        return reply

    Ledger.in_turn, httpx2.Client.send = watched_turn, watched_send  # type: ignore[method-assign]


def buy(folder: Path, url: str, pairs: pd.DataFrame, last: int | None, is_real: bool, options: dict[str, Any]) -> None:
    """Grade the pairs; die at the `last`-th place. `is_real`: with the warehouse's own, slower way of opening its file at each use."""
    small_portions(5)
    with _warehouse(folder) if is_real else opened(folder / "books.duckdb") as connect:
        shop = Shop(url, folder, connect, **options)
        wrap(Places(folder / "places", last))
        shop.grade(pairs)


def _warehouse(folder: Path) -> Any:
    from whetstone.platform.warehouse import Warehouse

    return nullcontext(Warehouse(database=str(folder / "books.duckdb"), connection_config={"threads": 1}).get_connection)


def start(*args: Any) -> Any:
    """A process that runs `buy`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=buy, args=args)
    process.start()
    return process


def places_of(folder: Path) -> list[str]:
    path = folder / "places"
    return path.read_text().splitlines() if path.exists() else []
