"""The dry run: free stages answer, known answers count, the rest is priced and not bought."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from tests.grading.claude.shop import SONNET, SONNET_PRICE, Shop, pairs_of
from tests.grading.stand_in import StandIn

from whetstone.grading.annotator import Local, make_answers
from whetstone.grading.calibration import NONE, Stage
from whetstone.grading.cascade import NEVER
from whetstone.grading.grade import grade_pairs
from whetstone.grading.plan import COLUMNS, Quote, plan_category, shares_that_go_on

PAIRS = pairs_of(20)
NOBODY_JUDGED = PAIRS.iloc[:0].assign(grade=0, source="")


class Free(Local):
    """Sure of the last five pairs."""

    name, version = "free", "v1"

    def annotate(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """Grade 4 for all."""
        is_last = pairs["product_id"].str[1:].astype(int).to_numpy() >= 15
        return make_answers(pairs, 4 * is_last, 0.9 * is_last)


def stage(annotator: Any, threshold: float) -> tuple[Any, Stage]:
    return annotator, Stage(annotator.name, annotator.version, NONE, threshold)


def test_a_plan_by_hand(server: StandIn, make_shop: Callable[..., Shop]) -> None:
    small, large = make_shop(), make_shop(model=SONNET, price=SONNET_PRICE, name="claude_large")
    small.grade(PAIRS.head(4))
    spent = len(server.bill)
    judged = PAIRS.iloc[[19]][["query_id", "product_id"]].assign(grade=4, source="survey")
    quotes = {each.annotator.name: Quote(each.annotator, 10) for each in (small, large)}
    cascade = [stage(Free(), 0.5), stage(quotes["claude_small"], NEVER), stage(quotes["claude_large"], 0.8)]
    graded = grade_pairs(PAIRS, judged, cascade, small.ledger, small.guideline, small.entry)
    rows = plan_category("garden", graded.stages, quotes, {"claude_small": 0.25})
    assert all(list(row) == COLUMNS for row in rows) and len(server.bill) == spent
    counts = [[row[name] for name in ("stage", "pairs", "known", "settled")] for row in rows]
    assert counts == [["human", 1, 1, 1], ["free", 19, 19, 4], ["claude_small", 15, 4, 0], ["claude_large", 15, 0, 0]]
    # of the 11 that the small model has not answered a quarter goes on; the 4 that it has, and was not sure of, do for certain
    assert [row["to_buy"] for row in rows] == [0, 0, 11, round(4 + 11 / 4)]
    whole = large.annotator.estimate(PAIRS.head(15), is_batch=True)
    assert rows[3]["at_most_usd"] == pytest.approx(whole.at_most_usd)
    assert rows[3]["usd"] == pytest.approx(whole.expected_usd * (4 + 11 / 4) / 15)
    assert small.rows()["annotator"].value_counts().to_dict() == {"free": 19, "claude_small": 4}  # what free stages said is kept


def test_without_known_shares_all_go_on_and_nothing_is_nothing(make_shop: Callable[..., Shop]) -> None:
    shop = make_shop()
    quotes = {"claude_small": Quote(shop.annotator, 10)}
    books = [stage(quotes["claude_small"], NEVER)], shop.ledger, shop.guideline, shop.entry
    (_, row) = plan_category("garden", grade_pairs(PAIRS, NOBODY_JUDGED, *books).stages, quotes, {})
    assert (row["to_buy"], row["usd"]) == (20, pytest.approx(shop.annotator.estimate(PAIRS, True).expected_usd))
    (_, row) = plan_category("garden", grade_pairs(PAIRS.iloc[:0], NOBODY_JUDGED, *books).stages, quotes, {})
    assert (row["pairs"], row["to_buy"], row["usd"]) == (0, 0, 0.0)


def test_shares_that_go_on_are_those_of_the_held_out_pairs() -> None:
    stages = [{"stage": name, "share": {"mean": share}} for name, share in (("a", 0.5), ("b", 0.25), ("c", 0.25), ("vote", 0.0))]
    assert shares_that_go_on({"report": {"stages": stages}}) == {"a": 0.5, "b": 0.5, "c": 0.0, "vote": 0.0}
    assert shares_that_go_on({"report": None}) == {}
