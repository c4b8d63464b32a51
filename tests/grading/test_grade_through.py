"""Grading through the ledger: only what it lacks is asked, each batch is written before the next, equal texts are asked once."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import duckdb
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whetstone.grading.guideline import Guideline, load_guideline
from whetstone.grading.ledger import IDENTITY, Connect, Entry, Ledger, booked, grade_through, ledger_keys

MakePairs = Callable[..., pd.DataFrame]
Counting = Callable[..., Any]
THREE = load_guideline("three_level")


def stored(connect: Connect) -> pd.DataFrame:
    with connect() as connection:
        return connection.execute("select * from ledger.grades order by sequence").df()


def test_a_second_run_asks_nothing(ledger: Ledger, esci: Guideline, entry: Entry, make_pairs: MakePairs, counting: Counting) -> None:
    pairs = make_pairs(25)
    first = grade_through(ledger, counting(esci, batch=10), pairs, esci, entry)
    again = counting(esci)
    second = grade_through(ledger, again, pairs.sample(frac=1, random_state=0), esci, Entry("build 2", entry.day))
    assert again.batches == []
    assert first["is_new"].all()
    assert not second["is_new"].any()
    order = ["query_id", "product_id"]
    pd.testing.assert_frame_equal(
        first.drop(columns="is_new").sort_values(order, ignore_index=True),
        second.drop(columns="is_new").sort_values(order, ignore_index=True),
    )


def test_rows_come_back_in_the_order_of_the_pairs(
    ledger: Ledger, esci: Guideline, entry: Entry, make_pairs: MakePairs, counting: Counting
) -> None:
    pairs = make_pairs(30)
    grade_through(ledger, counting(esci, batch=4), pairs.iloc[::3], esci, entry)
    graded = grade_through(ledger, counting(esci, batch=4), pairs.iloc[::-1], esci, entry)
    assert graded["product_id"].tolist() == pairs["product_id"].tolist()[::-1]
    assert graded["is_new"].tolist() == [number % 3 > 0 for number in range(30)][::-1]
    lengths = (pairs["query"].str.len() + pairs["text"].str.len()).to_numpy()[::-1]
    assert graded["grade"].tolist() == [esci.grades[length % 4] for length in lengths]
    assert graded["rationale"].tolist() == [f"because {text}" for text in pairs["text"]][::-1]


def test_an_answer_is_booked_with_its_reason_and_whose_money_it_was(
    ledger: Ledger, connect: Connect, esci: Guideline, entry: Entry, make_pairs: MakePairs, counting: Counting
) -> None:
    grade_through(ledger, counting(esci), make_pairs(2).assign(category=["tools", None]), esci, entry)
    grade_through(ledger, counting(esci, version="v2"), make_pairs(1), esci, Entry("build 2", dt.date(2026, 2, 1)))
    rows = stored(connect)
    assert rows["build"].tolist() == ["build 1", "build 1", "build 2"]
    assert rows["day"].dt.date.tolist() == [dt.date(2026, 1, 31)] * 2 + [dt.date(2026, 2, 1)]
    assert rows["category"].where(rows["category"].notna(), None).tolist() == ["tools", None, None]
    assert rows["rationale"].tolist() == ["because p product 0", "because p product 1", "because p product 0"]
    assert rows["request"].tolist() == rows["key"].tolist()


def test_the_annotator_sees_texts_and_keys_and_the_category_alone(
    ledger: Ledger, esci: Guideline, entry: Entry, make_pairs: MakePairs, counting: Counting
) -> None:
    annotator, seen = counting(esci), []
    answer = annotator.annotate
    annotator.annotate = lambda pairs: (seen.append(pairs.columns.tolist()), answer(pairs))[1]
    grade_through(ledger, annotator, make_pairs(2).assign(grade=4, raters=None, category="tools"), esci, entry)
    grade_through(ledger, annotator, make_pairs(2, "other").assign(grade=4), esci, entry)
    assert seen == [["query_id", "product_id", "query", "text", "category", *IDENTITY]] * 2


@pytest.mark.parametrize("break_at", [0, 1, 3])
def test_a_kill_loses_at_most_the_batch_in_flight(
    ledger: Ledger, connect: Connect, esci: Guideline, entry: Entry, break_at: int, make_pairs: MakePairs, counting: Counting
) -> None:
    pairs = make_pairs(35)
    killed = counting(esci, break_at=break_at, batch=10)
    with pytest.raises(KeyboardInterrupt):
        grade_through(ledger, killed, pairs, esci, entry)
    assert len(stored(connect)) == 10 * break_at
    resumed = counting(esci, batch=10)
    grade_through(ledger, resumed, pairs, esci, entry)
    paid_before = [pair for batch in killed.batches[:break_at] for pair in batch]
    assert set(resumed.asked).isdisjoint(paid_before)
    assert sorted(paid_before + resumed.asked) == sorted(zip(pairs["query"], pairs["text"], strict=True))


def test_pairs_with_equal_texts_are_bought_once(
    ledger: Ledger, esci: Guideline, entry: Entry, make_pairs: MakePairs, counting: Counting
) -> None:
    pairs = pd.concat([make_pairs(5), make_pairs(5).assign(product_id=[f"copy{n}" for n in range(5)])], ignore_index=True)
    annotator = counting(esci)
    graded = grade_through(ledger, annotator, pairs, esci, entry)
    assert len(annotator.asked) == 5
    assert graded.loc[graded["is_new"], "cost_usd"].sum() == 5 * 0.25
    assert graded["grade"].tolist()[:5] == graded["grade"].tolist()[5:]


def test_only_what_changed_is_asked_again(ledger: Ledger, esci: Guideline, entry: Entry, make_pairs: MakePairs, counting: Counting) -> None:
    pairs = make_pairs(10)
    grade_through(ledger, counting(esci), pairs, esci, entry)

    moved = pairs.assign(query_id="other", product_id=[f"new{n}" for n in range(10)], category="another")
    annotator = counting(esci)
    grade_through(ledger, annotator, moved, esci, entry)
    assert annotator.asked == []

    edited = pairs.copy()
    edited.loc[4, "text"] = "rewritten"
    grade_through(ledger, annotator, edited, esci, entry)
    assert annotator.asked == [(pairs.loc[4, "query"], "rewritten")]

    for other, guideline in ((counting(esci, version="v2"), esci), (counting(esci, name="another"), esci), (counting(THREE), THREE)):
        grade_through(ledger, other, pairs, guideline, entry)
        assert len(other.asked) == 10


def test_a_failure_is_kept_and_not_asked_again(
    ledger: Ledger, esci: Guideline, entry: Entry, make_pairs: MakePairs, counting: Counting
) -> None:
    pairs = make_pairs(3)
    grade_through(ledger, counting(esci, fail_on=["p product 1"]), pairs, esci, entry)
    again = counting(esci)
    graded = grade_through(ledger, again, pairs, esci, entry)
    assert again.asked == []
    assert graded["failure"].tolist() == [None, "refusal", None]
    assert graded["grade"].isna().tolist() == [False, True, False]
    assert graded["is_answered"].all()
    assert graded["cost_usd"].tolist() == [0.25] * 3  # it was paid for


def test_what_could_not_be_asked_says_why_and_is_asked_again(
    ledger: Ledger, connect: Connect, esci: Guideline, entry: Entry, make_pairs: MakePairs, counting: Counting
) -> None:
    pairs = make_pairs(5)
    poor = counting(esci, silent_on=["p product 1", "p product 3"], fail_on=["p product 4"])
    graded = grade_through(ledger, poor, pairs, esci, entry)
    assert graded["is_answered"].tolist() == graded["is_new"].tolist() == [True, False, True, False, True]
    assert graded["failure"].tolist() == [None, "the money is spent", None, "the money is spent", "refusal"]
    assert graded["grade"].isna().tolist() == [False, True, False, True, True]
    unasked = graded.loc[~graded["is_answered"], ["confidence", "cost_usd", "tokens_in", "tokens_out"]]
    assert (unasked == 0).all(axis=None)
    # each answer stands with its own pair, although some in between are missing
    texts = {hashlib.sha256(text.encode()).hexdigest(): text for text in pairs["text"]}
    rows = stored(connect)
    assert [f"because {texts[text_hash]}" for text_hash in rows["text_hash"]] == rows["rationale"].tolist()
    assert len(rows) == 3

    rich = counting(esci)
    grade_through(ledger, rich, pairs, esci, entry)
    assert [text for _, text in rich.asked] == ["p product 1", "p product 3"]


def test_an_annotator_may_book_its_answers_itself_and_what_it_only_claims_is_none(
    ledger: Ledger, connect: Connect, esci: Guideline, entry: Entry, make_pairs: MakePairs, counting: Counting
) -> None:
    pairs, annotator = make_pairs(4), counting(esci)

    def buy(wanted: pd.DataFrame, book: Any) -> str:
        rows = booked(wanted, annotator.annotate(wanted), entry)
        ledger.append(rows.assign(request="batch-" + rows["key"]).iloc[:3])
        return "the fourth was refused"

    annotator.answer = buy
    graded = grade_through(ledger, annotator, pairs, esci, entry)
    assert stored(connect)["request"].str.startswith("batch-").all()
    assert graded["is_answered"].tolist() == [True, True, True, False]
    assert graded["failure"].iloc[3] == "the fourth was refused"


def test_answers_find_their_pairs_in_any_order(
    ledger: Ledger, esci: Guideline, entry: Entry, make_pairs: MakePairs, counting: Counting
) -> None:
    annotator, pairs = counting(esci), make_pairs(5)
    annotator.annotate = lambda pairs: counting(esci).annotate(pairs).iloc[::-1]
    graded = grade_through(ledger, annotator, pairs, esci, entry)
    assert graded["rationale"].tolist() == [f"because {text}" for text in pairs["text"]]


def test_hostile_texts_are_different_keys_and_come_back(
    ledger: Ledger, esci: Guideline, entry: Entry, counting: Counting, hostile_texts: list[str]
) -> None:
    pairs = pd.DataFrame([{"query": query, "text": text} for query in hostile_texts for text in hostile_texts])
    pairs = pairs.assign(query_id=pairs["query"], product_id=pairs["text"], category=pairs["text"])
    assert ledger_keys(pairs, counting(esci), esci)["key"].is_unique
    graded = grade_through(ledger, counting(esci, batch=7), pairs, esci, Entry(hostile_texts[3], entry.day))
    pd.testing.assert_frame_equal(graded[["query_id", "product_id"]], pairs[["query_id", "product_id"]])
    assert graded["is_answered"].all()


@contextmanager
def in_memory() -> Iterator[Connect]:
    database = duckdb.connect()

    @contextmanager
    def cursor() -> Iterator[duckdb.DuckDBPyConnection]:
        made = database.cursor()
        try:
            yield made
        finally:
            made.close()

    yield cursor
    database.close()


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_whatever_happens_each_text_is_paid_once_and_the_new_rows_add_up(data: st.DataObject, counting: Counting) -> None:
    """Runs that break, are silent on some pairs or fail on some, over pairs that share texts: against a set of what is known."""
    esci, entry = load_guideline("esci"), Entry("b", dt.date(2026, 1, 1))
    known: dict[str, bool] = {}  # text -> whether it has a grade
    with in_memory() as connect:
        ledger = Ledger(connect)
        for _ in range(data.draw(st.integers(1, 4))):
            texts = data.draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=12))
            pairs = pd.DataFrame({"query_id": "q", "product_id": [f"p{n}" for n in range(len(texts))], "query": "q", "text": texts})
            silent, failing = (data.draw(st.sets(st.sampled_from("abcdefgh"), max_size=3)) for _ in range(2))
            annotator = counting(esci, silent_on=silent, fail_on=failing, batch=data.draw(st.integers(1, 5)))
            graded = grade_through(ledger, annotator, pairs, esci, entry)
            new = [text for text in dict.fromkeys(texts) if text not in known]
            assert [text for _, text in annotator.asked] == new
            known |= {text: text not in failing for text in new if text not in silent}
            assert graded["is_answered"].tolist() == [text in known for text in texts]
            assert graded["grade"].notna().tolist() == [known.get(text, False) for text in texts]
            assert graded["failure"].isna().tolist() == graded["grade"].notna().tolist()
            assert graded.loc[graded["is_new"], "cost_usd"].sum() == 0.25 * sum(text not in silent for text in new)
        assert stored(connect)["cost_usd"].sum() == 0.25 * len(known)
