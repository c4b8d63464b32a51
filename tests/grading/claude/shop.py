"""A buyer for tests: a ledger, the purchase desk and a Claude annotator, all pointed at a stand-in server."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
from tests.grading.stand_in import StandIn

from whetstone.grading.claude import purchase
from whetstone.grading.claude.annotator import ClaudeAnnotator
from whetstone.grading.claude.api import Api
from whetstone.grading.claude.cost import Price
from whetstone.grading.claude.intents import Intents, Limits
from whetstone.grading.claude.prompt import Prompt
from whetstone.grading.claude.purchase import Desk
from whetstone.grading.guideline import Guideline, load_guideline
from whetstone.grading.ledger import Connect, Entry, Ledger, grade_through

KEY = "sk-ant-api03-very-secret-0123456789"
HAIKU, HAIKU_PRICE = "claude-haiku-5-5", Price(0.10, 0.50)
SONNET, SONNET_PRICE = "claude-sonnet-5-5", Price(2.0, 10.0)
DAY = dt.date(2026, 1, 2)
CREATE, MESSAGES = "/batches$", "/v1/messages$"  # where money is spent
ssl.create_default_context = cache(ssl.create_default_context)  # each client would read all certificates of the world, and use none
guideline_of = cache(load_guideline)


class Shop:
    """One process of a build: what it buys with, and what its books say."""

    def __init__(
        self,
        url: str,
        folder: Path,
        connect: Connect,
        *,
        budget: float = 1000.0,
        category_cap: float = float("inf"),
        build: str = "build",
        model: str = HAIKU,
        price: Price = HAIKU_PRICE,
        name: str = "claude_small",
        guideline: Guideline | None = None,
        retries: int = 0,
        timeout_s: float = 20.0,
        key: str = KEY,
        day: dt.date = DAY,
        **desk: Any,
    ) -> None:
        self.guideline = guideline or guideline_of("esci")
        self.naps: list[float] = []  # seconds that it would have slept
        self.ledger, self.entry = Ledger(connect), Entry(build, day)
        self.ledger.create()
        self.api = Api(key, url, timeout_s=timeout_s, retries=retries)
        limits = Limits(budget, category_cap)
        self.desk = Desk(self.api, self.ledger, self.entry, limits, folder / "lock", **({"sleep": self.naps.append} | desk))
        self.annotator = ClaudeAnnotator(name, model, price, Prompt(self.guideline), self.ledger, self.desk)

    def grade(self, pairs: pd.DataFrame) -> pd.DataFrame:
        return grade_through(self.ledger, self.annotator, pairs, self.guideline, self.entry)

    def rows(self) -> pd.DataFrame:
        return self.ledger.read("select * from ledger.grades order by sequence")

    def usd(self) -> float:
        """What the ledger says was paid."""
        return float(self.rows()["cost_usd"].sum())

    def owed(self) -> float:
        """Money in doubt, of all builds."""
        builds = self.ledger.read("select distinct build, day from ledger.requests").itertuples()
        return float(sum(Intents(self.ledger, Entry(each.build, each.day), Limits(0)).spent()["owed_usd"].sum() for each in builds))

    def events(self) -> list[str]:
        return self.ledger.read("select event from ledger.events order by sequence")["event"].tolist()


@contextmanager
def opened(path: Path | str = ":memory:") -> Iterator[Connect]:
    """A ledger, opened once, with a cursor for each use: much faster than opening a file each time."""
    database = duckdb.connect(str(path), config={"threads": 1})

    @contextmanager
    def cursor() -> Iterator[duckdb.DuckDBPyConnection]:
        made = database.cursor()
        try:
            yield made
        finally:
            made.close()

    try:
        yield cursor
    finally:
        database.close()


def pairs_of(count: int, prefix: str = "p", category: str = "garden") -> pd.DataFrame:
    """Pairs of different texts."""
    numbers = range(count)
    return pd.DataFrame(
        {
            "query_id": [f"q{number}" for number in numbers],
            "product_id": [f"{prefix}{number}" for number in numbers],
            "query": [f"query {number}" for number in numbers],
            "text": [f"{prefix} product {number}" for number in numbers],
            "category": category,
        }
    )


def check_books(server: StandIn, *shops: Shop) -> None:
    """What the ledgers of the shops say was paid is what the bill says, to a billionth of a dollar."""
    server.end()
    assert abs(sum(shop.usd() for shop in shops) - float(server.total_usd)) < 1e-9


def check_doubt(server: StandIn, *shops: Shop) -> None:
    """Where answers may have been lost: the bill is at least what the ledger says, and at most that and the money in doubt."""
    server.end()
    bill, paid = float(server.total_usd), sum(shop.usd() for shop in shops)
    assert paid - 1e-9 <= bill <= paid + sum(shop.owed() for shop in shops) + 1e-9


def check_once(server: StandIn, shop: Shop, pairs: pd.DataFrame) -> None:
    """Every pair has an answer, was bought once, and is booked as billed; nothing is left in doubt."""
    check_books(server, shop)
    assert not server.bought_twice()
    assert len(shop.rows()) == len(pairs) == shop.rows()["key"].nunique()
    assert shop.owed() == 0


def creates(server: StandIn) -> int:
    """Batches that were sent, accepted or not."""
    return len(server.requests("POST", CREATE))


def stop(seconds: float) -> None:
    """Instead of a sleep: the process ends here."""
    raise KeyboardInterrupt


def small_portions(size: int) -> None:
    """Make the desk write results in portions of this size, in this process."""
    purchase.PORTION = size
