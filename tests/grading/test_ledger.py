"""The ledger: nothing is bought twice, nothing paid for is lost, nothing is overwritten."""

from __future__ import annotations

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
from whetstone.grading.ledger import Connect, Ledger, grade_through, ledger_keys
from whetstone.platform.errors import WhetstoneError

MakePairs = Callable[..., pd.DataFrame]
Counting = Callable[..., Any]


class Named(NamedTuple):
    """Who would be asked; keys need no more."""

    name: str
    version: str


def stored(connect: Connect) -> pd.DataFrame:
    with connect() as connection:
        return connection.execute("select * from ledger.grades order by sequence").df()


def make_rows(first: int, last: int, grade: int = 2) -> pd.DataFrame:
    keys = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(first, last)]
    return pd.DataFrame(
        {
            "grade": grade,  # in another order than the table's: rows go in by name
            "key": keys,
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
        }
    )


def test_create_twice_keeps_rows(ledger: Ledger, connect: Connect) -> None:
    ledger.append(make_rows(0, 3))
    ledger.create()
    assert len(stored(connect)) == 3


def test_append_never_overwrites_nor_doubles(ledger: Ledger, connect: Connect) -> None:
    assert ledger.append(make_rows(0, 5, grade=2)) == 5
    assert ledger.append(pd.concat([make_rows(3, 8, grade=4), make_rows(3, 8, grade=1)])) == 3
    rows = stored(connect)
    assert rows["key"].tolist() == make_rows(0, 8)["key"].tolist()
    assert rows["grade"].tolist() == [2] * 5 + [4] * 3
    assert rows["sequence"].tolist() == list(range(1, 9))
    assert rows["tokens_in"].eq(100).all()


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


def test_a_second_run_asks_nothing(ledger: Ledger, esci: Guideline, make_pairs: MakePairs, counting: Counting) -> None:
    pairs = make_pairs(25)
    first = grade_through(ledger, counting(esci), pairs, esci, 10)
    again = counting(esci)
    second = grade_through(ledger, again, pairs.sample(frac=1, random_state=0), esci, 10)
    assert again.batches == []
    assert first["is_new"].all()
    assert not second["is_new"].any()
    order = ["query_id", "product_id"]
    pd.testing.assert_frame_equal(
        first.drop(columns="is_new").sort_values(order, ignore_index=True),
        second.drop(columns="is_new").sort_values(order, ignore_index=True),
    )


def test_rows_come_back_in_the_order_of_the_pairs(ledger: Ledger, esci: Guideline, make_pairs: MakePairs, counting: Counting) -> None:
    pairs = make_pairs(30)
    grade_through(ledger, counting(esci), pairs.iloc[::3], esci, 4)
    graded = grade_through(ledger, counting(esci), pairs.iloc[::-1], esci, 4)
    assert graded["product_id"].tolist() == pairs["product_id"].tolist()[::-1]
    assert graded["is_new"].tolist() == [number % 3 > 0 for number in range(30)][::-1]
    lengths = (pairs["query"].str.len() + pairs["text"].str.len()).to_numpy()[::-1]
    assert graded["grade"].tolist() == [esci.grades[length % 4] for length in lengths]


@pytest.mark.parametrize("break_at", [0, 1, 3])
def test_a_kill_loses_at_most_the_batch_in_flight(
    ledger: Ledger, connect: Connect, esci: Guideline, break_at: int, make_pairs: MakePairs, counting: Counting
) -> None:
    pairs = make_pairs(35)
    killed = counting(esci, break_at=break_at)
    with pytest.raises(KeyboardInterrupt):
        grade_through(ledger, killed, pairs, esci, 10)
    assert len(stored(connect)) == 10 * break_at
    resumed = counting(esci)
    grade_through(ledger, resumed, pairs, esci, 10)
    paid_before = [pair for batch in killed.batches[:break_at] for pair in batch]
    assert set(resumed.asked).isdisjoint(paid_before)
    assert sorted(paid_before + resumed.asked) == sorted(zip(pairs["query"], pairs["text"], strict=True))


def test_pairs_with_equal_texts_are_bought_once(ledger: Ledger, esci: Guideline, make_pairs: MakePairs, counting: Counting) -> None:
    pairs = pd.concat([make_pairs(5), make_pairs(5).assign(product_id=[f"copy{n}" for n in range(5)])], ignore_index=True)
    annotator = counting(esci)
    graded = grade_through(ledger, annotator, pairs, esci, 100)
    assert len(annotator.asked) == 5
    assert graded.loc[graded["is_new"], "cost_usd"].sum() == 5 * 0.25
    assert graded["grade"].tolist()[:5] == graded["grade"].tolist()[5:]


def test_only_what_changed_is_asked_again(ledger: Ledger, esci: Guideline, make_pairs: MakePairs, counting: Counting) -> None:
    pairs = make_pairs(10)
    grade_through(ledger, counting(esci), pairs, esci, 100)

    moved = pairs.assign(query_id="other", product_id=[f"new{n}" for n in range(10)])
    annotator = counting(esci)
    grade_through(ledger, annotator, moved, esci, 100)
    assert annotator.asked == []

    edited = pairs.copy()
    edited.loc[4, "text"] = "rewritten"
    grade_through(ledger, annotator, edited, esci, 100)
    assert annotator.asked == [(pairs.loc[4, "query"], "rewritten")]

    for other in (counting(esci, version="v2"), counting(load_guideline("three_level"))):
        grade_through(ledger, other, pairs, esci if other.version == "v2" else load_guideline("three_level"), 100)
        assert len(other.asked) == 10


def test_a_failure_is_kept_and_not_asked_again(ledger: Ledger, esci: Guideline, make_pairs: MakePairs, counting: Counting) -> None:
    pairs = make_pairs(3)
    grade_through(ledger, counting(esci, fail_on="p product 1"), pairs, esci, 10)
    again = counting(esci)
    graded = grade_through(ledger, again, pairs, esci, 10)
    assert again.asked == []
    assert graded["failure"].tolist() == [None, "refusal", None]
    assert graded["grade"].isna().tolist() == [False, True, False]


def test_answers_that_do_not_fit_write_nothing(
    ledger: Ledger, connect: Connect, esci: Guideline, make_pairs: MakePairs, counting: Counting
) -> None:
    annotator = counting(load_guideline("three_level"))
    annotator.annotate = lambda pairs: counting(esci).annotate(pairs).iloc[1:]
    with pytest.raises(WhetstoneError, match="4 rows for 5 pairs"):
        grade_through(ledger, annotator, make_pairs(5), esci, 10)
    assert stored(connect).empty


def test_hostile_texts_are_different_keys_and_come_back(
    ledger: Ledger, esci: Guideline, counting: Counting, hostile_texts: list[str]
) -> None:
    pairs = pd.DataFrame([{"query": query, "text": text} for query in hostile_texts for text in hostile_texts])
    pairs = pairs.assign(query_id=pairs["query"], product_id=pairs["text"])
    assert ledger_keys(pairs, counting(esci), esci)["key"].is_unique
    graded = grade_through(ledger, counting(esci), pairs, esci, 7)
    pd.testing.assert_frame_equal(graded[["query_id", "product_id"]], pairs[["query_id", "product_id"]])


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
