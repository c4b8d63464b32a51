"""The annotators that the settings name: who is opened, who is left out and why, and who is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from whetstone.grading.annotators import SIMULATED, Room, open_annotators, open_writer
from whetstone.grading.claude.annotator import NO_KEY
from whetstone.grading.guideline import Guideline
from whetstone.grading.ledger import Entry, Ledger, booked, grade_through, ledger_keys
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.settings import Settings

PRODUCTS = pd.DataFrame({"product_id": ["p"], "category_path": [["home", "lamp"]], "attributes": [{"colour": "red"}]})
LAMPS = pd.DataFrame({"query_id": "q", "product_id": "p", "query": "red lamp", "text": [f"lamp {number}" for number in range(200)]})


@pytest.fixture
def room(tmp_path: Path, esci: Guideline, ledger: Ledger, entry: Entry) -> Callable[..., Room]:
    """Makes a room of a demo shop whose one query means a lamp of a colour; without a colour there is no truth file."""

    def make(colour: str | None = "red", cross_encoder: Any = None, **changes: Any) -> Room:
        path = tmp_path / f"{colour}.parquet"
        if colour:
            intent = {"type": "lamp", "wanted": {"colour": colour}, "hard": [], "swaps": [], "complements": [], "pairing": {}}
            pd.DataFrame({"query_id": ["q"], "intent": [json.dumps(intent)]}).to_parquet(path)
        source: Any = SimpleNamespace(files={"truth": (path,) if colour else ()}, data=tmp_path)
        named = {"home": tmp_path, "source": "demo", "cascade": "simulated_small,simulated_large", "anthropic_api_key": None, **changes}
        return Room(Settings(**named), esci, source, ledger, entry, cross_encoder, lambda: PRODUCTS)

    return make


def test_the_cascade_is_opened_in_its_order(room: Callable[..., Room]) -> None:
    for cascade in ("simulated_small,simulated_large", "claude_large, simulated_large,claude_small"):
        opened, _ = open_annotators(room(cascade=cascade))
        assert [each.name for each in opened] == [name.strip() for name in cascade.split(",")]
        assert len({each.version for each in opened}) == len(opened)


def test_the_demos_stand_ins_err_as_declared_and_apart_from_each_other(room: Callable[..., Room]) -> None:
    (small, large), warnings = open_annotators(room())
    assert [each.partition(" ")[0] for each in warnings] == list(SIMULATED)  # nobody should take them for a model
    answers = {each.name: each.annotate(LAMPS) for each in (small, large)}
    for name, (share_right, cost_usd) in SIMULATED.items():
        assert (answers[name]["grade"] == 4).mean() == pytest.approx(share_right, abs=0.08)
        assert answers[name]["cost_usd"].eq(cost_usd).all()
    assert not answers["simulated_small"]["confidence"].equals(answers["simulated_large"]["confidence"])


def test_another_truth_with_equal_texts_is_another_annotator(room: Callable[..., Room]) -> None:
    red, again, blue = (open_annotators(room(colour))[0][1] for colour in ("red", "red", "blue"))
    assert red.version == again.version != blue.version
    assert [each.annotate(LAMPS)["grade"].mode()[0] for each in (red, blue)] == [4, 2]


def test_without_a_key_a_paid_stage_answers_from_the_ledger_alone(room: Callable[..., Room], esci: Guideline, entry: Entry) -> None:
    made = room(cascade="claude_small")
    (claude,), warnings = open_annotators(made)
    assert warnings == [f"claude_small: {NO_KEY}"]
    pairs = LAMPS.head(3).assign(product_id=["a", "b", "c"])
    bought = pd.DataFrame({"grade": [2], "confidence": [0.9], "cost_usd": [0.01], "tokens_in": [50], "tokens_out": [9]})
    bought = bought.assign(query_id="q", product_id="b", failure=None, rationale="a lamp, but blue")
    made.ledger.append(booked(pairs.join(ledger_keys(pairs, claude, esci)).assign(category=None), bought, entry))
    graded = grade_through(made.ledger, claude, pairs, esci, entry)
    assert graded["is_answered"].tolist() == [False, True, False]
    assert graded["grade"].fillna(-1).tolist() == [-1, 2, -1]
    assert [bool(why) and why.startswith(NO_KEY) for why in graded["failure"]] == [True, False, True]
    assert not graded["is_new"].any()


def test_with_a_key_there_is_nothing_to_warn_of(room: Callable[..., Room]) -> None:
    opened, warnings = open_annotators(room(cascade="claude_small,claude_large", anthropic_api_key="not-a-real-key"))
    assert [each.name for each in opened] == ["claude_small", "claude_large"]
    assert warnings == []


def test_another_model_or_an_edited_guideline_is_another_annotator(room: Callable[..., Room], esci: Guideline) -> None:
    one = open_annotators(room(cascade="claude_small"))[0][0]
    other = open_annotators(room(cascade="claude_small", claude_small="claude-sonnet-5-5"))[0][0]
    edited = room(cascade="claude_small")._replace(guideline=esci.model_copy(update={"description": "Something else."}))
    assert len({one.version, other.version, open_annotators(edited)[0][0].version}) == 3


@pytest.mark.parametrize(
    ("cross_encoder", "why"), [(None, "it was not trained yet"), (SimpleNamespace(facts={"absent": "no judgments"}), "no judgments")]
)
def test_a_cross_encoder_that_is_not_there_is_left_out_with_a_warning(room: Callable[..., Room], cross_encoder: Any, why: str) -> None:
    opened, warnings = open_annotators(room(cascade="cross_encoder,simulated_small", cross_encoder=cross_encoder))
    assert [each.name for each in opened] == ["simulated_small"]
    assert warnings[0] == f"cross_encoder: {why}"


@pytest.mark.parametrize(
    ("changes", "colour", "message"),
    [
        ({}, None, "'simulated_small' refuses 'demo': it grades the demo alone.*WHETSTONE_CASCADE"),
        ({"source": "esci"}, None, "refuses 'esci'"),
        ({"source": "esci"}, "red", "refuses 'esci'"),
        ({"cascade": "claude_small", "claude_small": "claude-unheard-of"}, "red", "claude-unheard-of"),
    ],
)
def test_what_cannot_grade_is_refused(room: Callable[..., Room], changes: dict[str, Any], colour: str | None, message: str) -> None:
    with pytest.raises(WhetstoneError, match=message):
        open_annotators(room(colour, **changes))


def test_a_price_makes_a_further_model_usable(room: Callable[..., Room]) -> None:
    priced = room(cascade="claude_small", claude_small="claude-unheard-of", claude_prices={"claude-unheard-of": (3.0, 15.0)})
    opened: Any = open_annotators(priced)[0][0]
    assert tuple(opened.price)[:2] == (3.0, 15.0)


def test_the_demos_truth_knows_synthetic_queries_by_their_facts(room: Callable[..., Room]) -> None:
    facts = ['{"type": "Cordless Drill", "wanted": {"colour": "red"}}', '{"type": "Cordless Drill", "wanted": {}}']
    products = pd.DataFrame({"product_id": ["p"], "category_path": [["tools", "Cordless Drill"]], "attributes": [{"colour": "blue"}]})
    made = room()._replace(synthetic=pd.DataFrame({"query_id": ["s1", "s2"], "facts": facts}), products=lambda: products)
    large = open_annotators(made)[0][1]
    assert large.version == open_annotators(room())[0][1].version  # so its calibration holds
    assert [large.annotate(LAMPS.assign(query_id=query))["grade"].mode()[0] for query in ("s1", "s2")] == [2, 4]


@pytest.mark.parametrize(
    ("cascade", "key", "name", "why"),
    [
        ("cross_encoder,claude_large", "not-a-real-key", "claude_queries", None),
        ("claude_small", None, "claude_queries", NO_KEY),
        ("cross_encoder", "not-a-real-key", None, None),
        ("simulated_small,claude_large", "not-a-real-key", None, None),  # whose truth would need facts
    ],
)
def test_claude_writes_queries_where_a_stage_is_paid_and_none_simulated(
    room: Callable[..., Room], cascade: str, key: str | None, name: str | None, why: str | None
) -> None:
    writer = open_writer(room(cascade=cascade, anthropic_api_key=key))
    assert (writer and writer.name) == name
    if writer and why:
        assert writer.answer(LAMPS.head(2), lambda answers: None).startswith(why)
