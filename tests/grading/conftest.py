"""Pieces that the tests of this room share: guidelines, pairs, a warehouse file, an annotator that counts and may break."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import anthropic
import duckdb
import numpy as np
import pandas as pd
import pytest
from tests.grading.stand_in import StandIn

from whetstone.grading.annotator import Book, Local, make_answers
from whetstone.grading.guideline import Guideline, load_guideline
from whetstone.grading.ledger import Connect, Entry, Ledger

HOSTILE = ["usb c", "", 'it\'s "quoted"; drop table ledger.grades; --', "emoji 🦷\nnew line, comma\ttab\0null", "x" * 20_000, '["a", "b"]']


class CountingAnnotator(Local):
    """Grades by the length of the texts, unless told otherwise; counts what it is asked.

    It raises instead of answering batch `break_at` (0-based), refuses the texts in `fail_on`, and has no answer to those in `silent_on`.
    `gives` is (grade, confidence) by the product's text.
    """

    def __init__(
        self,
        guideline: Guideline,
        version: str = "v1",
        break_at: int | None = None,
        fail_on: Collection[str] = (),
        *,
        name: str = "counting",
        batch: int = 100,
        cost_usd: float = 0.25,
        silent_on: Collection[str] = (),
        gives: Mapping[str, tuple[int, float]] | None = None,
    ) -> None:
        self.name, self.version, self.batch = name, version, batch
        self.batches: list[list[tuple[str, str]]] = []
        self._guideline, self._break_at, self._cost_usd = guideline, break_at, cost_usd
        self._fail_on, self._silent_on, self._gives = set(fail_on), set(silent_on), gives

    @property
    def asked(self) -> list[tuple[str, str]]:
        return [pair for batch in self.batches for pair in batch]

    def answer(self, pairs: pd.DataFrame, book: Book) -> str:
        super().answer(pairs, book)
        return "the money is spent"

    def annotate(self, pairs: pd.DataFrame) -> pd.DataFrame:
        self.batches.append(list(zip(pairs["query"], pairs["text"], strict=True)))
        if len(self.batches) - 1 == self._break_at:
            raise KeyboardInterrupt
        grades = self._guideline.grades
        given = [
            self._gives[text] if self._gives else (grades[(len(query) + len(text)) % len(grades)], 0.5) for query, text in self.batches[-1]
        ]
        grade, confidence = (np.array([each[part] for each in given]) for part in (0, 1))
        answers = make_answers(pairs, grade, confidence, cost_usd=self._cost_usd)
        answers["rationale"] = "because " + pairs["text"].str[:20].to_numpy()
        failed = pairs["text"].isin(self._fail_on).to_numpy()
        answers.loc[failed, "grade"] = pd.NA
        answers.loc[failed, "confidence"] = 0.0
        answers.loc[failed, "failure"] = "refusal"
        return answers[~pairs["text"].isin(self._silent_on).to_numpy()]


def _make_pairs(count: int, prefix: str = "p") -> pd.DataFrame:
    numbers = range(count)
    return pd.DataFrame(
        {
            "query_id": [f"q{number % 7}" for number in numbers],
            "product_id": [f"{prefix}{number}" for number in numbers],
            "query": [f"query {number % 7}" for number in numbers],
            "text": [f"{prefix} product {number}" for number in numbers],
        }
    )


@pytest.fixture(scope="session")
def make_pairs() -> Callable[..., pd.DataFrame]:
    """Makes n pairs with different texts."""
    return _make_pairs


@pytest.fixture(scope="session")
def counting() -> type[CountingAnnotator]:
    """The class of annotators that count what they are asked."""
    return CountingAnnotator


@pytest.fixture(scope="session")
def hostile_texts() -> list[str]:
    """Texts that break careless code."""
    return HOSTILE


@pytest.fixture(scope="session")
def esci() -> Guideline:
    """The shipped guideline of four levels: grades 4, 2, 1, 0."""
    return load_guideline("esci")


@pytest.fixture(scope="session")
def entry() -> Entry:
    """On whose account new answers are booked."""
    return Entry("build 1", dt.date(2026, 1, 31))


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    """Opens the test's own warehouse, as the platform's does: one cursor per use."""
    database = duckdb.connect(str(tmp_path / "warehouse.duckdb"))

    @contextmanager
    def open_cursor() -> Iterator[duckdb.DuckDBPyConnection]:
        cursor = database.cursor()
        try:
            yield cursor
        finally:
            cursor.close()

    yield open_cursor
    database.close()


@pytest.fixture
def ledger(connect: Connect) -> Ledger:
    """An empty ledger."""
    made = Ledger(connect)
    made.create()
    return made


@pytest.fixture
def server() -> Iterator[StandIn]:
    """A stand-in server of its own."""
    with StandIn() as running:
        yield running


@pytest.fixture
def api(server: StandIn) -> anthropic.Anthropic:
    """The real SDK, talking to it."""
    return server.client()
