"""Engagement freed of position: how often a pair is clicked each time that a shopper really looks at it.

Position-based click model (Richardson et al. 2007; Craswell et al. 2008): a click needs the look and then the liking,
P(click) = P(look at rank r) * P(click | look), with P(look at rank r) = r^-eta. A pair that was shown n times at rank r was thus looked at
about n * r^-eta times, its exposure, and clicks / exposure is its inverse-propensity-weighted rate ([B] arXiv 2602.17654, audit).

The engine puts relevant products first, so clicks fall with rank faster than looks do; eta is therefore estimated within grades, where
grades are known. What is left: relevance that varies within a grade, and wrong grades, still push eta up a little; a log that keeps
only the mean rank of a product that moves about pulls it down a little (mean of r^-eta >= (mean of r)^-eta).

The event is the click: carts and purchases are rarer by an order of magnitude and depend on price and stock more than on the query.
"""

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from whetstone.grading.annotator import PAIR_ID

ETA_BOUNDS = (0.0, 3.0)  # 0: every rank is looked at; 3: rank 2 eight times less than rank 1
MAX_STANDARD_ERROR = 0.1  # of eta; some 150 clicks on graded pairs over ranks 1-24 reach it


def examination_exponent(engagement: pd.DataFrame, grades: pd.DataFrame) -> float | None:
    """Estimate eta by Poisson regression: log E[clicks] = log(impressions) + a_grade - eta * log(rank).

    With exp(a_g) = clicks_g / exposure_g the likelihood is concave in eta alone; its derivative is sum_g clicks_g * E_g[log rank] -
    sum_i clicks_i * log(rank_i), where E_g weighs the pairs of a grade by their exposure.

    `engagement` has query_id, product_id, impressions, clicks, mean_rank (from 1, may be null), one row a pair; `grades` those that count.
    Returns eta within `ETA_BOUNDS`, or None where the log can't tell it to `MAX_STANDARD_ERROR`: too few clicks, or ranks that don't vary.
    """
    log = _usable(engagement)[[*PAIR_ID, "impressions", "clicks", "mean_rank"]]
    log = log.merge(grades[[*PAIR_ID, "grade"]], on=PAIR_ID, validate="one_to_one")
    log_rank = np.log(log["mean_rank"].to_numpy(dtype=float))
    clicks, impressions = log["clicks"].to_numpy(dtype=float), log["impressions"].to_numpy(dtype=float)
    grade = log["grade"].factorize()[0]
    clicks_of_grade = np.bincount(grade, clicks)

    def expected(eta: float) -> tuple[float, float]:
        """Sum of log rank over the clicks as eta would have them, and its variance (the Fisher information of eta)."""
        exposure = impressions * np.exp(-eta * log_rank)
        of_grade = np.bincount(grade, exposure)
        mean = np.bincount(grade, exposure * log_rank) / of_grade
        variance = np.bincount(grade, exposure * (log_rank - mean[grade]) ** 2) / of_grade
        return float(clicks_of_grade @ mean), float(clicks_of_grade @ variance)

    def slope(eta: float) -> float:
        return expected(eta)[0] - float(clicks @ log_rank)

    low, high = ETA_BOUNDS
    eta = low if slope(low) <= 0 else high if slope(high) >= 0 else float(brentq(slope, low, high))
    return eta if expected(eta)[1] * MAX_STANDARD_ERROR**2 >= 1 else None


def debiased(engagement: pd.DataFrame, eta: float | None) -> pd.DataFrame:
    """Exposure and rate of each pair: query_id, product_id, exposure (impressions that were looked at), clicks, rate (clicks / exposure).

    Rows without an impression or a mean rank are left out; without eta all are: a raw rate would only repeat the engine's ranking.
    """
    log = _usable(engagement if eta is not None else engagement.iloc[:0])
    exposure = (log["impressions"] * log["mean_rank"].astype(float) ** -(eta or 0.0)).astype(float)
    return log[PAIR_ID].assign(exposure=exposure, clicks=log["clicks"], rate=log["clicks"] / exposure).reset_index(drop=True)


def _usable(engagement: pd.DataFrame) -> pd.DataFrame:
    return engagement[(engagement["impressions"] > 0) & engagement["mean_rank"].notna()]
