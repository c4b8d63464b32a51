"""Human judgments as answers."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from whetstone.grading.annotator import ANSWER_COLUMNS, check_answers
from whetstone.grading.guideline import Guideline
from whetstone.grading.human import human_answers
from whetstone.platform.errors import WhetstoneError


@pytest.fixture
def pairs(make_pairs: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    return make_pairs(4)


def judge(pairs: pd.DataFrame, grades: list[int]) -> pd.DataFrame:
    return pairs[["query_id", "product_id"]].assign(grade=grades, raters=1, source="survey")


def test_judged_pairs_are_sure_and_free(pairs: pd.DataFrame, esci: Guideline) -> None:
    judgments = judge(pairs, [4, 2, 1, 0]).iloc[[2, 0]]
    answers = human_answers(pairs, judgments, esci)
    assert answers["product_id"].tolist() == ["p0", "p2"]  # the order of the pairs
    assert answers["grade"].tolist() == [4, 1]
    assert answers["confidence"].eq(1.0).all()
    assert answers["cost_usd"].eq(0.0).all()
    assert answers["annotator"].eq("human").all()
    assert answers["annotator_version"].eq("survey").all()
    check_answers(pairs.iloc[[0, 2]], answers[ANSWER_COLUMNS], esci)


def test_judgments_of_other_pairs_do_not_matter(pairs: pd.DataFrame, esci: Guideline) -> None:
    crossed = judge(pairs, [4, 2, 1, 0]).assign(query_id="elsewhere")
    assert human_answers(pairs, crossed, esci).empty
    assert human_answers(pairs.iloc[:0], crossed, esci).empty


def test_a_pair_judged_twice_is_named(pairs: pd.DataFrame, esci: Guideline) -> None:
    judgments = judge(pairs, [4, 2, 1, 0])
    with pytest.raises(WhetstoneError, match="query 'q1', product 'p1' is judged more than once"):
        human_answers(pairs, pd.concat([judgments, judgments.iloc[[1]]]), esci)


def test_a_grade_of_another_guideline_is_named(pairs: pd.DataFrame, esci: Guideline) -> None:
    with pytest.raises(WhetstoneError, match="product 'p3' has grade 3"):
        human_answers(pairs, judge(pairs, [4, 2, 1, 3]), esci)
