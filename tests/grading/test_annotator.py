"""The shape of answers that local annotators give."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from whetstone.grading.annotator import ANSWER, PAIR_ID, make_answers


def test_answers_stand_with_their_pairs_and_are_typed(make_pairs: Callable[..., pd.DataFrame]) -> None:
    pairs = make_pairs(3).iloc[::-1]
    answers = make_answers(pairs, np.array([4, 2, 0]), np.array([0.9, 0.5, 1.0]), cost_usd=0.25)
    assert list(answers) == [*PAIR_ID, *ANSWER]
    assert answers["product_id"].tolist() == ["p2", "p1", "p0"] and answers["grade"].tolist() == [4, 2, 0]
    assert str(answers["grade"].dtype) == "Int64" and answers["cost_usd"].tolist() == [0.25] * 3
    assert answers["failure"].tolist() == answers["rationale"].tolist() == [None] * 3
    assert make_answers(pairs.iloc[:0], np.array([]), np.array([])).empty
