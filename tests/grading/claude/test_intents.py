"""The journal of purchases and the budget: what is written before anything is sent, and what a build may still owe."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.grading.claude.shop import DAY, opened, pairs_of

from whetstone.grading.claude.intents import Intent, Intents, Limits, affordable
from whetstone.grading.ledger import COLUMNS, IDENTITY, Connect, Entry, Ledger

ENTRY = Entry("build", DAY)
TERMS = {"grades": [4, 2, 1, 0], "price": [0.1, 0.5], "is_batch": True}
INF = float("inf")
ENOUGH = Limits(100.0)


@pytest.fixture
def ledger(connect: Connect) -> Ledger:
    return Ledger(connect)


@pytest.fixture
def intents(ledger: Ledger) -> Intents:
    return Intents(ledger, ENTRY, ENOUGH)


def wanted(count: int, prefix: str = "k", category: str | None = "garden") -> pd.DataFrame:
    return pd.DataFrame({name: [f"{prefix}{number}" for number in range(count)] for name in IDENTITY}).assign(category=category)


def intend(intents: Intents, count: int, usd: float = 1.0, state: str = "intended", **rest: str) -> Intent:
    made = intents.intend(wanted(count, **rest), [usd] * count, state, "mark", TERMS)
    assert made is not None
    return made


def owed(intents: Intents) -> float:
    return float(intents.spent()["owed_usd"].sum())


def book(ledger: Ledger, intent: Intent, count: int, usd: float) -> None:
    """Answer the first requests of an intent."""
    rows = intent.requests.head(count).drop(columns=["intent", "at_most_usd"])
    answers = {"grade": 4, "confidence": 0.9, "cost_usd": usd, "tokens_in": 9, "tokens_out": 9, "failure": None, "rationale": None}
    ledger.append(rows.assign(**answers)[COLUMNS])


def test_an_intent_reads_back_as_it_was_written(intents: Intents) -> None:
    made = intend(intents, 12)
    (read,) = intents.in_state("intended")
    assert read[:2] == made[:2] and read.mark == "mark" and read.terms == TERMS
    assert read.requests[[*IDENTITY, "request", "at_most_usd", "build", "category"]].equals(
        made.requests[[*IDENTITY, "request", "at_most_usd", "build", "category"]].astype({"category": object})
    )
    assert pd.to_datetime(read.requests["day"]).dt.date.eq(DAY).all()
    assert made.requests["request"].str.fullmatch(r"[a-zA-Z0-9_-]{1,64}").all() and made.requests["request"].is_unique


def test_requests_of_the_same_pairs_never_share_an_id(tmp_path: Path) -> None:
    ids: list[str] = []
    for _ in range(2):  # two ledgers of one account, that do the same
        with opened() as connect:
            one = Intents(Ledger(connect), ENTRY, ENOUGH)
            ids += [*intend(one, 3).requests["request"], *intend(one, 3).requests["request"]]
    assert len(set(ids)) == 12


def test_the_last_event_is_the_state_and_the_first_keeps_the_mark(intents: Intents) -> None:
    name = intend(intents, 2).intent
    intents.note(name, "missing")
    intents.note(name, "sent", "batch_1")
    (sent,) = intents.in_state("sent")
    assert (sent.batch_id, sent.mark) == ("batch_1", "mark")
    intents.note(name, "intended", "mark")
    assert intents.known_batches() == set()  # it was another's batch, and may be claimed by that one
    intents.note(name, "sent", "batch_2")
    intents.note(name, "collected")
    assert not intents.in_state("intended", "sent", "missing")
    assert intents.known_batches() == {"batch_2"}
    intents.note("", "foreign", "batch_3")
    assert intents.known_batches() == {"batch_2", "batch_3"}
    assert [each.intent for each in intents.in_state("collected")] == [name]  # '' is no intent


def test_a_first_batch_of_an_account_has_no_mark(intents: Intents) -> None:
    intents.intend(wanted(1), [1.0], "intended", None, TERMS)
    (read,) = intents.in_state("intended")
    assert read.mark is None and read.batch_id is None
    intents.note(read.intent, "sent", "batch")
    assert intents.in_state("sent")[0].mark is None


def test_intents_come_oldest_first(intents: Intents) -> None:
    names = [intend(intents, 1).intent for _ in range(4)]
    intents.note(names[0], "missing")
    assert [each.intent for each in intents.in_state("intended", "missing")] == names


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("intended", 3.0),
        ("sent", 3.0),
        ("missing", 3.0),
        ("gone", 3.0),
        ("asking", 3.0),
        ("in_doubt", 1.0),
        ("void", 0.0),
        ("collected", 0.0),
    ],
)
def test_what_each_state_owes(intents: Intents, ledger: Ledger, event: str, expected: float) -> None:
    made = intend(intents, 5)
    book(ledger, made, 2, usd=0.25)
    intents.note(made.intent, event)
    spent = intents.spent()
    assert spent["owed_usd"].tolist() == [expected] and spent["usd"].tolist() == [expected + 0.5]
    assert Intents(ledger, Entry("another", DAY), ENOUGH).spent().empty


def test_an_answered_message_in_doubt_owes_only_the_next_one(intents: Intents, ledger: Ledger) -> None:
    made = intents.intend(wanted(3), [1.0, 2.0, 4.0], "asking", None, TERMS)
    assert made
    book(ledger, made, 1, usd=0.1)
    intents.note(made.intent, "in_doubt")
    assert owed(intents) == 2.0
    book(ledger, made, 3, usd=0.1)
    assert owed(intents) == 0.0


def test_categories_are_apart_and_may_be_missing(intents: Intents) -> None:
    intend(intents, 2, category="garden")
    intend(intents, 3, category="toys")
    intents.intend(wanted(1, category=None), [1.0], "intended", None, TERMS)
    spent = intents.spent().set_index("category")["usd"]
    assert spent["garden"] == 2.0 and spent["toys"] == 3.0 and spent.sum() == 6.0


def test_the_budget_counts_what_is_spent_and_what_is_owed(ledger: Ledger) -> None:
    intents = Intents(ledger, ENTRY, Limits(5.0))
    made = intend(intents, 9)
    assert len(made.requests) == 5
    assert intents.intend(wanted(1), [1.0], "intended", None, TERMS) is None
    book(ledger, made, 5, usd=0.5)
    intents.note(made.intent, "collected")
    assert len(intend(intents, 9).requests) == 2
    assert len(intents.in_state("intended")) == 1


def test_an_intent_that_the_budget_does_not_hold_leaves_no_trace(ledger: Ledger) -> None:
    assert Intents(ledger, ENTRY, Limits(0.0)).intend(wanted(3), [1.0] * 3, "intended", None, TERMS) is None
    assert ledger.read("select * from ledger.requests").empty and ledger.read("select * from ledger.events").empty


def test_hostile_names_of_builds_and_categories(ledger: Ledger) -> None:
    intents = Intents(ledger, Entry("b'; drop table ledger.events; --\n🦷", DAY), ENOUGH)
    rows = pairs_of(2).assign(**{name: [f"'{name}\"", "🦷\n"] for name in IDENTITY}, category='it\'s "a"\n🦷')
    made = intents.intend(rows, [1.0, 1.0], "intended", "m'; --", TERMS)
    assert made and intents.in_state("intended")[0].mark == "m'; --"
    assert intents.spent()["category"].tolist() == ['it\'s "a"\n🦷']


CATEGORIES = st.sampled_from(["a", "b", "c"])
USD = st.floats(0.0, 4.0)


@given(
    st.lists(st.tuples(CATEGORIES, st.floats(0.01, 3.0)), max_size=12), st.dictionaries(CATEGORIES, USD), st.floats(0, 9), st.floats(0, 4)
)
def test_affordable_keeps_to_both_limits_and_to_the_order(
    asked: list[tuple[str, float]], spent: dict[str | None, float], build_usd: float, category_usd: float
) -> None:
    categories, usd = [each[0] for each in asked], [each[1] for each in asked]
    kept = affordable(categories, usd, spent, Limits(build_usd, category_usd))
    assert kept == sorted(set(kept))
    new = {name: sum(usd[place] for place in kept if categories[place] == name) for name in "abc"}
    if kept:
        assert sum(new.values()) + sum(spent.values()) <= build_usd + 1e-9
    for name, dollars in new.items():
        of_category = [place for place in range(len(asked)) if categories[place] == name]
        mine = [place for place in kept if categories[place] == name]
        assert mine == of_category[: len(mine)]  # the first of each category, none left out
        assert not mine or dollars + spent.get(name, 0.0) <= category_usd + 1e-9
    if build_usd >= sum(usd) + sum(spent.values()) and category_usd >= sum(usd) + sum(spent.values()):
        assert kept == list(range(len(asked)))


def test_affordable_by_hand() -> None:
    categories = ["a", "b", "a", "b", "a"]
    assert affordable(categories, [1.0] * 5, {}, Limits(9.0, 2.0)) == [0, 1, 2, 3]
    assert affordable(categories, [1.0] * 5, {"a": 1.5}, Limits(9.0, 2.0)) == [1, 3]
    assert affordable(categories, [1.0] * 5, {"a": 1.5}, Limits(2.5, 2.0)) == [1]
    assert affordable(categories, [3.0, 1.0, 1.0, 1.0, 1.0], {}, Limits(9.0, 2.0)) == [1, 3]  # what doesn't fit ends its category
    assert affordable([None] * 3, [1.0, 5.0, 1.0], {None: 1.0}, Limits(4.0)) == [0]  # and what the build can't pay ends all
    assert affordable([], [], {}, Limits(4.0)) == [] and affordable([None], [1.0], {}, Limits(0.0)) == []
    assert affordable([None] * 3, [1.0] * 3, {}, Limits(INF)) == [0, 1, 2]
