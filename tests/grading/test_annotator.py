"""The shape of answers: what is passed through, and each way in which an annotator can go wrong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from whetstone.grading.annotator import ANSWER_COLUMNS, check_answers, check_pairs, make_answers
from whetstone.grading.guideline import Guideline
from whetstone.platform.errors import WhetstoneError


@pytest.fixture
def pairs(make_pairs: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    return make_pairs(3)


@pytest.fixture
def answers(pairs: pd.DataFrame) -> pd.DataFrame:
    made = make_answers(pairs, np.array([4, 2, 0]), np.array([0.9, 0.5, 1.0]))
    made.loc[1, ["grade", "failure"]] = [pd.NA, "refusal"]
    return made


def test_good_answers_come_back_typed_whatever_they_came_in(pairs: pd.DataFrame, answers: pd.DataFrame, esci: Guideline) -> None:
    loose = answers.astype(object).set_index(pd.Index([7, 7, 9]))[ANSWER_COLUMNS[::-1]].assign(extra=1)
    loose.loc[9, "failure"] = np.nan
    checked = check_answers(pairs, loose, esci)
    pd.testing.assert_frame_equal(checked, answers)
    assert str(checked["grade"].dtype) == "Int64"
    assert checked["failure"].tolist() == [None, "refusal", None]


BAD: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "order changed": (lambda a: a.iloc[::-1], "out of order.*'p1' .row 1, 2 in all"),
    "two rows swapped": (lambda a: a.iloc[[1, 0, 2]], "out of order.*'p0' .row 1"),
    "answered twice": (lambda a: a.iloc[[0, 0, 1]], "out of order.*'p0' .row 1, 1 in all"),
    "another pair": (lambda a: a.assign(product_id=["p0", "p1", "p9"]), "not asked.*'p9' .row 2, 1 in all"),
    "a pair of two others": (lambda a: a.assign(product_id=["p0", "p1", "p1"]), "not asked.*query 'q2', product 'p1'"),
    "column missing": (lambda a: a.drop(columns="tokens_in"), "tokens_in"),
    "unknown grade": (lambda a: a.assign(grade=[3, None, 0]), "'p0'"),
    "half a grade": (lambda a: a.assign(grade=[2.5, None, 0]), "wrong type"),
    "grade and failure": (lambda a: a.assign(grade=[4, 2, 0]), "both a grade and a failure"),
    "no grade, no failure": (lambda a: a.assign(failure=None), "both a grade and a failure, or neither"),
    "confidence above 1": (lambda a: a.assign(confidence=[0.9, 0.0, 90.0]), "confidence"),
    "confidence no number": (lambda a: a.assign(confidence=[0.9, 0.0, np.nan]), "confidence"),
    "negative cost": (lambda a: a.assign(cost_usd=-0.1), "cost_usd"),
    "endless cost": (lambda a: a.assign(cost_usd=np.inf), "cost_usd"),
    "tokens missing": (lambda a: a.assign(tokens_out=[1, None, 2]), "wrong type"),
    "negative tokens": (lambda a: a.assign(tokens_out=[1, 2, -3]), "tokens_out"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_answers_are_refused(pairs: pd.DataFrame, answers: pd.DataFrame, esci: Guideline, case: str) -> None:
    spoil, message = BAD[case]
    with pytest.raises(WhetstoneError, match=message):
        check_answers(pairs, spoil(answers), esci)


@pytest.mark.parametrize("rows", [[], [0], [1], [0, 2], [1, 2]])
def test_pairs_without_an_answer_are_just_not_there(pairs: pd.DataFrame, answers: pd.DataFrame, esci: Guideline, rows: list[int]) -> None:
    checked = check_answers(pairs, answers.iloc[rows], esci)
    assert checked["product_id"].tolist() == [f"p{row}" for row in rows]
    assert checked.index.tolist() == list(range(len(rows)))


def test_a_reason_is_kept_and_a_missing_one_is_none(pairs: pd.DataFrame, answers: pd.DataFrame, esci: Guideline) -> None:
    checked = check_answers(pairs, answers.assign(rationale=["same brand", np.nan, pd.NA]), esci)
    assert checked["rationale"].tolist() == ["same brand", None, None]


def test_no_pairs_no_answers(pairs: pd.DataFrame, answers: pd.DataFrame, esci: Guideline) -> None:
    assert check_answers(pairs.iloc[:0], answers.iloc[:0], esci).empty
    check_pairs(pairs.iloc[:0])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: p.drop(columns="text"), "text"),
        (lambda p: p.assign(query=["a", None, "b"]), "'p1'"),
        (lambda p: p.assign(query_id="q", product_id="p"), "twice"),
    ],
)
def test_bad_pairs_are_refused(pairs: pd.DataFrame, spoil: Callable[[pd.DataFrame], pd.DataFrame], message: str) -> None:
    with pytest.raises(WhetstoneError, match=message):
        check_pairs(spoil(pairs))
