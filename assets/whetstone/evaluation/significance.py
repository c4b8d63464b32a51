"""How sure a figure is: bootstrap intervals of means, and the paired randomisation test of a difference.

The query is the unit of sampling. Interval: percentile bootstrap (Efron & Tibshirani 1993, chapter 13), resampling queries, undefined
(NaN) ones included, and taking the mean of the defined. Test: under the null hypothesis the two systems are exchangeable on every
query, so each difference d_i may change its sign; p = share of sign patterns whose |sum| reaches the observed one (two-sided; Smucker,
Allan & Carterette 2007). All 2^n patterns where they are few, otherwise a sample of them with (c + 1) / (B + 1). (scipy's bootstrap
gives no interval where one resample is undefined, and its permutation test is eight times slower; they are the tests' oracles.)

Small p says "not by chance on these queries", nothing on size: read it beside the interval. No correction for many comparisons is made.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RESAMPLES = 2_000  # of an interval: the Monte Carlo error of a bound is a third of a percentile point
SIGN_PATTERNS = 10_000  # of a test; up to 13 queries that differ, all patterns are fewer and the test is exact
BOUNDS = (0.025, 0.975)  # 95 % of the resamples' means lie between
BATCH = 100  # sign patterns in floating point at once
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """Mean of the `count` defined values with its interval; bounds are NaN below two values, the mean below one."""

    mean: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Difference(Interval):
    """Mean of a - b over the `count` queries where both are defined, its interval, and the p of "no difference"."""

    p: float


def bootstrap_means(values: Floats, seed: int, *, resamples: int = RESAMPLES) -> list[Interval]:
    """Bootstrap of every column's mean over (n_queries, n_columns) values, NaN where undefined; the columns share their resamples."""
    n_queries, n_columns = values.shape
    defined = ~np.isnan(values)
    filled, counts = np.where(defined, values, 0.0), defined.sum(axis=0)
    bounds = np.full((2, n_columns), np.nan)
    enough = counts >= 2  # one query has no spread: an interval of width 0 would claim certainty
    with np.errstate(invalid="ignore"):  # 0 / 0 is the mean of nothing: NaN
        means = filled.sum(axis=0) / counts
        if enough.any():
            rng = np.random.default_rng(seed)
            times = (np.bincount(rng.integers(n_queries, size=n_queries), minlength=n_queries) for _ in range(resamples))
            samples = np.array([(drawn @ filled) / (drawn @ defined) for drawn in times])
            bounds[:, enough] = np.nanquantile(samples[:, enough], BOUNDS, axis=0)
    return [Interval(float(mean), float(low), float(high), int(n)) for mean, low, high, n in zip(means, *bounds, counts, strict=True)]


def paired(values: Floats, seed: int, *, sign_patterns: int = SIGN_PATTERNS) -> Difference:
    """Compare a metric of two systems a and b, (n_queries, 2), NaN where undefined; the figures are NaN where no query has both."""
    differences = values[:, 0] - values[:, 1]
    differences = differences[~np.isnan(differences)]
    (interval,) = bootstrap_means(differences[:, None], seed)
    return Difference(**vars(interval), p=_sign_flip_p(differences, seed, sign_patterns) if len(differences) else np.nan)


def _sign_flip_p(differences: Floats, seed: int, sign_patterns: int) -> float:
    moving = differences[differences != 0]  # a zero keeps its sum under either sign
    is_exact = 2 ** len(moving) <= sign_patterns
    if is_exact:
        minus = np.arange(2 ** len(moving))[:, None] >> np.arange(len(moving)) & 1
    else:
        minus = np.random.default_rng(seed).integers(0, 2, size=(sign_patterns, len(moving)), dtype=np.int8)
    sums = np.concatenate([(1.0 - 2.0 * part) @ moving for part in np.array_split(minus, len(minus) // BATCH + 1)])
    # Sums of the same numbers in another order differ by rounding: patterns that tie with the observed one must count.
    reached = np.abs(sums) >= abs(moving.sum()) - 1e-12 * np.abs(moving).sum()
    # The observed pattern is one of all patterns, but not of a sample: counting it in keeps the test valid.
    return float(reached.mean()) if is_exact else float(reached.sum() + 1) / (sign_patterns + 1)
