"""Settling pairs: humans first, then the annotator, failures nowhere but in the counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from whetstone.grading.grade import GRADE_COLUMNS, grade_pairs
from whetstone.grading.guideline import Guideline
from whetstone.grading.ledger import Ledger
from whetstone.platform.errors import WhetstoneError


@pytest.fixture
def pairs(make_pairs: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    return make_pairs(12)


@pytest.fixture
def judgments(pairs: pd.DataFrame) -> pd.DataFrame:
    return pairs.iloc[[7, 2]][["query_id", "product_id"]].assign(grade=[0, 1], raters=3, source="survey")


def test_humans_settle_and_the_annotator_does_the_rest(
    pairs: pd.DataFrame, judgments: pd.DataFrame, ledger: Ledger, esci: Guideline, counting: Callable[..., Any]
) -> None:
    annotator = counting(esci)
    graded = grade_pairs(pairs, judgments, annotator, ledger, esci)
    assert graded.rows.columns.tolist() == GRADE_COLUMNS
    assert graded.rows["product_id"].tolist() == pairs["product_id"].tolist()
    by_product = graded.rows.set_index("product_id")
    assert by_product.loc[["p2", "p7"], "grade"].tolist() == [1, 0]
    assert by_product.loc[["p2", "p7"], "settled_by"].eq("human").all()
    assert by_product.loc[["p2", "p7"], "confidence"].eq(1.0).all()
    assert len(annotator.asked) == 10
    assert by_product.drop(["p2", "p7"])["settled_by"].eq("counting").all()
    assert graded.rows["label"].tolist() == [esci.labels[grade] for grade in graded.rows["grade"]]
    assert graded.counts == {"pairs": 12, "human": 2, "annotated": 10, "failed": 0, "new": 10, "new_cost_usd": 2.5}


def test_a_second_time_costs_nothing(
    pairs: pd.DataFrame, judgments: pd.DataFrame, ledger: Ledger, esci: Guideline, counting: Callable[..., Any]
) -> None:
    first = grade_pairs(pairs, judgments, counting(esci), ledger, esci)
    second = grade_pairs(pairs, judgments, counting(esci, break_at=0), ledger, esci)
    pd.testing.assert_frame_equal(first.rows, second.rows)
    assert second.counts["new"] == 0
    assert second.counts["new_cost_usd"] == 0.0


def test_a_failed_answer_is_no_grade(
    pairs: pd.DataFrame, judgments: pd.DataFrame, ledger: Ledger, esci: Guideline, counting: Callable[..., Any]
) -> None:
    graded = grade_pairs(pairs, judgments, counting(esci, fail_on="p product 5"), ledger, esci)
    assert graded.rows["product_id"].tolist() == [f"p{number}" for number in range(12) if number != 5]
    assert graded.counts["failed"] == 1
    assert graded.counts["annotated"] == 9
    assert graded.counts["new_cost_usd"] == 2.5  # it was paid for


def test_all_human_asks_nobody(pairs: pd.DataFrame, ledger: Ledger, esci: Guideline, counting: Callable[..., Any]) -> None:
    everything = pairs[["query_id", "product_id"]].assign(grade=4, raters=1, source="survey")
    graded = grade_pairs(pairs, everything, counting(esci, break_at=0), ledger, esci)
    assert graded.rows["settled_by"].eq("human").all()
    assert graded.rows["grade"].dtype == "int64"


def test_no_judgments_and_no_pairs(
    pairs: pd.DataFrame, judgments: pd.DataFrame, ledger: Ledger, esci: Guideline, counting: Callable[..., Any]
) -> None:
    assert len(grade_pairs(pairs, judgments.iloc[:0], counting(esci), ledger, esci).rows) == 12
    empty = grade_pairs(pairs.iloc[:0], judgments, counting(esci), ledger, esci)
    assert empty.rows.columns.tolist() == GRADE_COLUMNS
    assert empty.rows.empty


def test_the_same_pair_twice_is_refused(
    pairs: pd.DataFrame, judgments: pd.DataFrame, ledger: Ledger, esci: Guideline, counting: Callable[..., Any]
) -> None:
    with pytest.raises(WhetstoneError, match="twice"):
        grade_pairs(pd.concat([pairs, pairs.iloc[[3]]]), judgments, counting(esci), ledger, esci)
