"""Examination by rank: parity with a Poisson regression, recovery from the demo's click model, what can't be told; debiased rates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import PoissonRegressor

from whetstone.catalog.demo import engagement as demo
from whetstone.grading.engagement import debiased, examination_exponent

RANKS = np.arange(1, 25)


def pbm_log(
    eta: float, grade_of_rank: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator, impressions: int = 2000
) -> pd.DataFrame:
    """40 queries x 24 ranks, each product at one rank; `grade` beside the log."""
    log = pd.DataFrame({"query_id": np.repeat([f"q{n}" for n in range(40)], len(RANKS)), "mean_rank": np.tile(RANKS, 40).astype(float)})
    log["product_id"] = [f"p{n}" for n in range(len(log))]
    log["grade"] = grade_of_rank(log["mean_rank"].to_numpy())
    chance = demo.CLICK_CHANCE[log["grade"]] * log["mean_rank"] ** -eta
    return log.assign(impressions=impressions, clicks=rng.binomial(impressions, chance))


def by_rank(rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """Better products higher up: the correlation of every engine that is any good."""
    return lambda rank: np.array([4, 2, 1, 0])[np.clip((rank + rng.normal(0, 6, len(rank))) // 6, 0, 3).astype(int)]


def test_exponent_of_two_ranks_by_hand() -> None:
    # one grade, equal impressions: the rates' ratio 4000 / 1000 is 2^eta
    log = pd.DataFrame({"query_id": "q", "product_id": ["a", "b"], "impressions": 9000, "clicks": [4000, 1000], "mean_rank": [1.0, 2.0]})
    assert examination_exponent(log, log[["query_id", "product_id"]].assign(grade=4)) == pytest.approx(2.0)


def test_exponent_is_that_of_the_poisson_regression() -> None:
    rng = np.random.default_rng(3)
    log = pbm_log(1.1, by_rank(rng), rng).assign(impressions=lambda rows: rng.integers(500, 3000, len(rows)))
    features = np.column_stack([pd.get_dummies(log["grade"]).to_numpy(dtype=float), -np.log(log["mean_rank"])])
    regression = PoissonRegressor(alpha=0, fit_intercept=False, solver="newton-cholesky", tol=1e-10)
    # rates weighted by impressions: the same likelihood as clicks with the offset log(impressions)
    regression.fit(features, log["clicks"] / log["impressions"], sample_weight=log["impressions"])
    assert examination_exponent(log, log) == pytest.approx(regression.coef_[-1], abs=1e-5)


@pytest.mark.parametrize("eta", [0.0, 0.5, demo.EXAMINATION_ETA, 1.6])
def test_exponent_is_free_of_the_engines_merit_only_within_grades(eta: float) -> None:
    rng = np.random.default_rng(7)
    log = pbm_log(eta, by_rank(rng), rng)
    assert examination_exponent(log, log) == pytest.approx(eta, abs=0.03)
    naive = examination_exponent(log, log.assign(grade=0))  # the same regression without grades
    assert naive is not None and naive > eta + 0.2


def test_exponent_of_the_demo_log() -> None:
    rng = np.random.default_rng(1)
    pairs = pd.DataFrame({"query": np.repeat(np.arange(100), 40), "row": np.tile(np.arange(40), 100)})
    pairs["truth"] = rng.choice([4, 2, 1, 0], size=len(pairs), p=[0.2, 0.2, 0.2, 0.4])
    log = demo.simulate(pairs, rng.integers(50, 2000, 100), rng).merge(pairs)
    log = log.rename(columns={"query": "query_id", "row": "product_id", "truth": "grade"})
    found = examination_exponent(log, log)
    assert found == pytest.approx(demo.EXAMINATION_ETA, rel=0.06)  # three rankings known by their mean rank alone: a little low


def test_exponent_ignores_order_and_rows_that_say_nothing() -> None:
    rng = np.random.default_rng(5)
    log = pbm_log(0.9, by_rank(rng), rng)
    found = examination_exponent(log, log)
    assert examination_exponent(log.sample(frac=1, random_state=0), log.sample(frac=1, random_state=1)) == pytest.approx(found)
    ungraded = log.assign(product_id="other " + log["product_id"], clicks=2000)
    unplaced = log.assign(query_id="unplaced", mean_rank=np.nan)
    unseen = log.assign(query_id="unseen", impressions=0, clicks=0)
    grades = pd.concat([log, unplaced, unseen])
    assert examination_exponent(pd.concat([log, ungraded, unplaced, unseen]), grades) == pytest.approx(found)


def test_exponent_stays_within_its_bounds() -> None:
    log = pd.DataFrame({"query_id": "q", "product_id": ["a", "b"], "impressions": 10_000, "mean_rank": [1.0, 2.0], "grade": 4})
    assert examination_exponent(log.assign(clicks=[1000, 4000]), log) == 0.0
    assert examination_exponent(log.assign(clicks=[9000, 500]), log) == 3.0


def test_no_exponent_from_a_log_that_cannot_tell() -> None:
    rng = np.random.default_rng(2)
    rich = pbm_log(0.9, by_rank(rng), rng)
    assert examination_exponent(rich.assign(clicks=0), rich) is None
    assert examination_exponent(rich.assign(mean_rank=3.0), rich) is None  # one rank alone
    assert examination_exponent(rich, rich.iloc[:0]) is None  # nothing graded
    assert examination_exponent(rich.iloc[:0], rich) is None  # a shop without engagement
    # ranks 1 and 2, clicks 2:1, so eta 1: standard error 1 / (sqrt(clicks * 2/9) * log 2), below 0.1 from 937 clicks on
    two = pd.DataFrame({"query_id": "q", "product_id": ["a", "b"], "impressions": 9_000, "mean_rank": [1.0, 2.0], "grade": 4})
    assert examination_exponent(two.assign(clicks=[622, 311]), two) is None
    assert examination_exponent(two.assign(clicks=[626, 313]), two) == pytest.approx(1.0)


def test_debiased_by_hand() -> None:
    log = pd.DataFrame(
        {
            "query_id": ["q", "q", "q", "q"],
            "product_id": ["a", "b", "no rank", "not shown"],
            "impressions": [10, 90, 50, 0],
            "clicks": [5, 5, 1, 0],
            "mean_rank": [1.0, 9.0, np.nan, 2.0],
        },
        index=[7, 3, 1, 0],
    )
    expected = pd.DataFrame({"query_id": "q", "product_id": ["a", "b"], "exposure": 10.0, "clicks": 5, "rate": 0.5})
    pd.testing.assert_frame_equal(debiased(log, 1.0), expected)
    assert debiased(log, 0.0)["exposure"].tolist() == [10.0, 90.0]
    nothing = debiased(log, None)
    assert nothing.empty and list(nothing.columns) == list(expected.columns)


def test_debiased_rates_do_not_depend_on_rank() -> None:
    rng = np.random.default_rng(11)
    log = pbm_log(0.9, lambda rank: np.full(len(rank), 4), rng)
    rates = debiased(log, examination_exponent(log, log)).merge(log, on=["query_id", "product_id"])
    upper, lower = rates[rates["mean_rank"] <= 4], rates[rates["mean_rank"] > 16]
    assert upper["rate"].mean() == pytest.approx(demo.CLICK_CHANCE[4], rel=0.05)
    assert lower["rate"].mean() == pytest.approx(demo.CLICK_CHANCE[4], rel=0.05)
