"""The ledger: nothing is bought twice, nothing paid for is lost, nothing is overwritten."""

from __future__ import annotations

import datetime as dt
import hashlib
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import duckdb
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whetstone.grading.annotator import Annotator
from whetstone.grading.guideline import Guideline, load_guideline
from whetstone.grading.ledger import Connect, Entry, Ledger, booked, grade_through, ledger_keys

MakePairs = Callable[..., pd.DataFrame]
Counting = Callable[..., Any]
THREE = load_guideline("three_level")


class Named(NamedTuple):
    """Who would be asked; keys need no more."""

    name: str
    version: str


def stored(connect: Connect) -> pd.DataFrame:
    with connect() as connection:
        return connection.execute("select * from ledger.grades order by sequence").df()


def make_rows(first: int, last: int, grade: int = 2, request: str = "") -> pd.DataFrame:
    keys = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(first, last)]
    return pd.DataFrame(
        {
            "grade": grade,  # in another order than the table's: rows go in by name
            "key": keys,
            "request": [f"{request}-{key}" if request else key for key in keys],
            "query_hash": "q",
            "text_hash": "t",
            "guideline_version": "g",
            "annotator": "a",
            "annotator_version": "v",
            "confidence": 0.5,
            "cost_usd": 0.01,
            "tokens_in": 100,
            "tokens_out": 10,
            "failure": None,
            "rationale": None,
            "build": "b",
            "category": None,
            "day": dt.date(2026, 1, 31),
        }
    )


def test_create_twice_keeps_rows(ledger: Ledger, connect: Connect) -> None:
    ledger.append(make_rows(0, 3))
    ledger.create()
    assert len(stored(connect)) == 3


def test_append_never_overwrites_nor_doubles_a_request(ledger: Ledger, connect: Connect) -> None:
    assert ledger.append(make_rows(0, 5, grade=2)) == 5
    assert ledger.append(pd.concat([make_rows(3, 8, grade=4), make_rows(3, 8, grade=1)])) == 3
    rows = stored(connect)
    assert rows["key"].tolist() == make_rows(0, 8)["key"].tolist()
    assert rows["grade"].tolist() == [2] * 5 + [4] * 3
    assert rows["sequence"].tolist() == list(range(1, 9))
    assert rows["tokens_in"].eq(100).all()
    assert rows["day"].dt.date.eq(dt.date(2026, 1, 31)).all()


def test_what_was_paid_for_twice_is_booked_twice_and_the_first_answer_counts(ledger: Ledger, connect: Connect) -> None:
    assert ledger.append(make_rows(0, 2, grade=2, request="batch-1")) == 2
    assert ledger.append(make_rows(0, 2, grade=4, request="batch-2")) == 2
    assert stored(connect)["cost_usd"].sum() == pytest.approx(4 * 0.01)
    found = ledger.lookup(make_rows(0, 2)["key"])
    assert found["request"].str.startswith("batch-1-").all()
    assert found["grade"].tolist() == [2, 2]


def test_append_is_all_or_nothing(ledger: Ledger, connect: Connect) -> None:
    broken = make_rows(0, 3)
    broken.loc[2, "grade"] = None  # neither a grade nor a failure
    with pytest.raises(duckdb.Error):
        ledger.append(broken)
    assert stored(connect).empty
    assert ledger.append(make_rows(0, 3)) == 3


def test_lookup_gives_the_known_ones(ledger: Ledger) -> None:
    ledger.append(make_rows(0, 50))
    ledger.append(make_rows(50, 51).assign(grade=None, failure="refusal"))
    found = ledger.lookup([*make_rows(40, 60)["key"], *make_rows(40, 60)["key"]])
    assert found["key"].tolist() == make_rows(40, 51)["key"].tolist()
    assert found["failure"].tolist() == [None] * 10 + ["refusal"]
    assert found["grade"].isna().tolist() == [False] * 10 + [True]
    assert ledger.lookup([]).empty


def test_writers_that_race_share_the_work(connect: Connect) -> None:
    written: list[int] = []
    ledger = Ledger(connect)

    def write() -> None:
        ledger.create()
        written.extend(ledger.append(make_rows(start, start + 20)) for start in range(0, 100, 10))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = stored(connect)
    assert rows["key"].is_unique
    assert len(rows) == sum(written) == 110
    assert rows["sequence"].tolist() == list(range(1, 111))


BEFORE_REQUESTS = """
create schema ledger;
create table ledger.appends (id integer primary key check (id = 1), count_appends bigint not null);
insert into ledger.appends values (1, 7);
create table ledger.grades (
    key varchar not null, query_hash varchar not null, text_hash varchar not null, guideline_version varchar not null,
    annotator varchar not null, annotator_version varchar not null, grade tinyint, confidence double not null, cost_usd double not null,
    tokens_in bigint not null, tokens_out bigint not null, failure varchar, sequence bigint not null,
    check ((grade is null) = (failure is not null)),
);
"""


def test_a_ledger_of_an_earlier_version_keeps_its_grades(
    connect: Connect, esci: Guideline, entry: Entry, make_pairs: MakePairs, counting: Counting
) -> None:
    pairs, annotator = make_pairs(6), counting(esci)
    old = ledger_keys(pairs.iloc[:4], annotator, esci).assign(grade=4, confidence=0.75, cost_usd=0.5, tokens_in=3, tokens_out=2)
    with connect() as connection:
        connection.execute(BEFORE_REQUESTS)
        connection.register("old", old.assign(sequence=range(1, 5)))
        connection.execute("insert into ledger.grades by name select * from old")
    ledger = Ledger(connect)
    graded = grade_through(ledger, annotator, pairs, esci, entry)
    assert [text for _, text in annotator.asked] == pairs["text"].tolist()[4:]
    assert graded["grade"].tolist()[:4] == [4] * 4
    assert graded["rationale"].isna().tolist() == [True] * 4 + [False] * 2
    # its rows have no request: their key stands for it
    again = booked(pairs.join(ledger_keys(pairs, annotator, esci)).assign(category=None), counting(esci).annotate(pairs), entry)
    assert ledger.append(again) == 0
    assert stored(connect)["sequence"].tolist() == list(range(1, 7))


@settings(max_examples=50, deadline=None)
@given(first=st.tuples(*[st.text(max_size=4)] * 4), second=st.tuples(*[st.text(max_size=4)] * 4))
def test_keys_are_equal_only_for_equal_parts(first: tuple[str, ...], second: tuple[str, ...]) -> None:
    guideline = load_guideline("esci")

    def key(query: str, text: str, name: str, version: str) -> str:
        pair = pd.DataFrame({"query": [query], "text": [text]})
        return str(ledger_keys(pair, cast(Annotator, Named(name, version)), guideline)["key"][0])

    assert (key(*first) == key(*second)) == (first == second)
    # characters that move across a border make another key
    assert key(first[0] + "x", first[1], *first[2:]) != key(first[0], "x" + first[1], *first[2:])
    assert key(*first[:2], first[2] + "x", first[3]) != key(*first[:2], first[2], "x" + first[3])


def test_text_hash_is_the_catalogs(esci: Guideline, make_pairs: MakePairs, counting: Counting) -> None:
    keys = ledger_keys(make_pairs(1), counting(esci), esci)
    assert keys["text_hash"][0] == hashlib.sha256(b"p product 0").hexdigest()
