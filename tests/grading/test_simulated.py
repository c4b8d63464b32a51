"""The simulated annotator errs as declared, the same way for the same pair, and for the demo alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from whetstone.grading.guideline import Guideline
from whetstone.grading.simulated import SimulatedAnnotator, confusion_of
from whetstone.platform.errors import WhetstoneError

GRADES = np.array([4, 2, 1, 0])


def truth(pairs: pd.DataFrame) -> np.ndarray:
    """The number at the end of the product's text chooses the grade."""
    return GRADES[pairs["text"].str.split().str[-1].astype(int).to_numpy() % 4]


def make(guideline: Guideline, confusion: np.ndarray | None = None, **changes: Any) -> SimulatedAnnotator:
    matrix = confusion_of(0.8, guideline) if confusion is None else confusion
    return SimulatedAnnotator(
        **{
            "name": "simulated_small",
            "truth": truth,
            "guideline": guideline,
            "confusion": matrix,
            "cost_usd": 0.25,
            "seed": 7,
            "truth_version": "t",
            **changes,
        }
    )


@pytest.fixture(scope="module")
def many(make_pairs: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    return make_pairs(20_000)


def test_errs_as_declared(many: pd.DataFrame, esci: Guideline) -> None:
    confusion = np.array([[0.7, 0.3, 0.0, 0.0], [0.05, 0.9, 0.05, 0.0], [0.0, 0.25, 0.5, 0.25], [0.0, 0.0, 0.4, 0.6]])
    answers = make(esci, confusion).annotate(many)
    seen = pd.crosstab(truth(many), answers["grade"].to_numpy(dtype=int), normalize="index").loc[GRADES, GRADES].to_numpy()
    # 5,000 pairs a row: four standard errors of a share are under 0.03
    np.testing.assert_allclose(seen, confusion, atol=0.03)
    assert (seen[confusion == 0] == 0).all()


def test_confidence_tells_right_from_wrong_in_part(many: pd.DataFrame, esci: Guideline) -> None:
    answers = make(esci).annotate(many)
    right = answers["grade"].to_numpy(dtype=int) == truth(many)
    assert answers.loc[right, "confidence"].mean() == pytest.approx(8 / 10, abs=0.01)
    assert answers.loc[~right, "confidence"].mean() == pytest.approx(4 / 6.5, abs=0.02)


def test_answers_do_not_depend_on_order_or_batch(many: pd.DataFrame, esci: Guideline) -> None:
    pairs = many.iloc[:200]
    whole = make(esci).annotate(pairs)
    shuffled = pairs.sample(frac=1, random_state=1)
    pieces = pd.concat([make(esci).annotate(shuffled.iloc[start : start + 17]) for start in range(0, 200, 17)])
    pd.testing.assert_frame_equal(pieces.sort_values("product_id", ignore_index=True), whole.sort_values("product_id", ignore_index=True))


def test_name_seed_matrix_and_truth_are_the_version(many: pd.DataFrame, esci: Guideline) -> None:
    others = [make(esci, seed=8), make(esci, confusion_of(0.9, esci)), make(esci, truth_version="u"), make(esci, name="simulated_large")]
    assert len({make(esci).version, *(other.version for other in others)}) == 5
    assert make(esci).version == make(esci).version
    assert not make(esci).annotate(many)["grade"].equals(make(esci, seed=8).annotate(many)["grade"])
    assert make(esci).name == "simulated_small"


def test_small_and_large_err_independently(many: pd.DataFrame, esci: Guideline) -> None:
    answers = [make(esci, name=name).annotate(many) for name in ("simulated_small", "simulated_large")]
    small, large = (answer["grade"].to_numpy(dtype=int) != truth(many) for answer in answers)
    # 0.2 of each are wrong, so 0.04 are by chance; four standard errors are 0.0055
    assert (small & large).mean() == pytest.approx(small.mean() * large.mean(), abs=0.0055)
    assert abs(np.corrcoef(*(answer["confidence"] for answer in answers))[0, 1]) < 0.03


def test_a_pair_costs_what_is_declared_and_no_tokens(many: pd.DataFrame, esci: Guideline) -> None:
    answers = make(esci, cost_usd=0.002).annotate(many.iloc[:5])
    assert answers["cost_usd"].tolist() == [0.002] * 5
    assert answers[["tokens_in", "tokens_out"]].to_numpy().sum() == 0


def test_refuses_a_truth_outside_the_guideline(many: pd.DataFrame, esci: Guideline) -> None:
    with pytest.raises(WhetstoneError, match=r"\[3\]"):
        make(esci, truth=lambda pairs: np.full(len(pairs), 3)).annotate(many)


def test_confusion_of_accuracy(esci: Guideline) -> None:
    matrix = confusion_of(0.6, esci)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0)
    np.testing.assert_allclose(np.diag(matrix), 0.6)
    # true level 1 has neighbours 0 and 2 at distance 1 and level 3 at distance 2: 0.4 falls as 2 : 2 : 1
    np.testing.assert_allclose(matrix[1], [0.16, 0.6, 0.16, 0.08])


def test_no_pairs(many: pd.DataFrame, esci: Guideline) -> None:
    assert make(esci).annotate(many.iloc[:0]).empty
