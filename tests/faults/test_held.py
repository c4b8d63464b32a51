"""A warehouse that another process holds: a build waits, and what waited too long is made by the next one."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.e2e.conftest import World
from tests.faults.conftest import MINED, edit, trouble
from tests.faults.states import State, state

from whetstone.platform import warehouse
from whetstone.retrieval import encode as encoding

HOLD = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


@contextmanager
def held(shop: World) -> Iterator[subprocess.Popen[str]]:
    """Another process has the warehouse while inside, or until its stdin is closed."""
    command = [sys.executable, "-c", HOLD, str(shop.settings.warehouse_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdin
        assert process.stdout.readline() == "held\n"
        yield process
        process.stdin.close()


def test_a_build_waits_for_who_holds_the_warehouse(shop: World, wanted: State) -> None:
    edit(shop)
    with held(shop) as process:
        assert process.stdin
        threading.Timer(0.5, process.stdin.close).start()
        shop.build(MINED)
    assert state(shop) == wanted


def test_a_warehouse_that_is_held_for_too_long_is_named(shop: World, wanted: State, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(shop)
    with monkeypatch.context() as patch, held(shop):
        patch.setattr(warehouse, "LOCK_PATIENCE_S", 0.2)
        [said] = trouble(shop)
        assert str(shop.settings.warehouse_path) in said and "close that process" in said

    encode, holders = encoding.encode, []

    def hold(*args: Any, **options: Any) -> Any:
        if not holders:
            holders.append(held(shop))
            holders[0].__enter__()
        return encode(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(warehouse, "LOCK_PATIENCE_S", 0.2)
        patch.setattr(encoding, "encode", hold)  # from the middle of the build on
        said = trouble(shop)
    assert said and all(str(shop.settings.warehouse_path) in each and "close that process" in each for each in said)
    holders[0].__exit__(None, None, None)
    assert shop.build(MINED)
    assert state(shop) == wanted
    assert shop.build(MINED) == set()
