"""How sure a figure is: bootstrap intervals of means, and the paired randomisation test of a difference.

The query is the unit of sampling. Interval: percentile bootstrap (Efron & Tibshirani 1993, chapter 13), resampling queries, undefined
(NaN) ones included, and taking the mean of the defined. Test: under the null hypothesis the two systems are exchangeable on every
query, so each difference d_i may change its sign; p = share of sign patterns whose |sum| reaches the observed one (two-sided; Smucker,
Allan & Carterette 2007). All 2^n patterns where they are few, otherwise a sample of them with (c + 1) / (B + 1). (scipy's bootstrap
resamples no columns together and knows no NaN; its sampled permutation test doubles a one-sided p.)

Small p says "not by chance on these queries", nothing on size: read it beside the interval. No correction for many comparisons is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from whetstone.platform.errors import WhetstoneError

RESAMPLES = 2_000  # of an interval: the Monte Carlo error of a bound is a third of a percentile point
SIGN_PATTERNS = 10_000  # of a test; up to 13 queries that differ, all patterns are fewer and the test is exact
BOUNDS = (0.025, 0.975)  # 95 % of the resamples' means lie between
CHUNK_CELLS = 4_000_000  # patterns x queries held at once: 32 MB
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

    @property
    def figures(self) -> dict[str, object]:
        """What a row of comparisons holds of it."""
        return {"difference": self.mean, "low": self.low, "high": self.high, "p": self.p}


def bootstrap_means(values: Floats, seed: int, *, resamples: int = RESAMPLES) -> list[Interval]:
    """Percentile bootstrap of every column's mean over (n_queries, n_columns) values, NaN where undefined.

    The columns share their resamples; same seed and shape, same resamples.
    """
    n_queries, n_columns = values.shape
    if n_queries == 0:
        return [Interval(np.nan, np.nan, np.nan, 0)] * n_columns
    defined = ~np.isnan(values)
    filled, counts = np.where(defined, values, 0.0), defined.sum(axis=0)
    rng = np.random.default_rng(seed)
    samples = np.empty((resamples, n_columns))
    with np.errstate(invalid="ignore"):  # 0 / 0 is the mean of nothing: NaN
        means = filled.sum(axis=0) / counts
        for rows in _chunks(resamples, n_queries):
            n_rows = rows.stop - rows.start
            drawn = rng.integers(n_queries, size=(n_rows, n_queries)) + np.arange(n_rows)[:, None] * n_queries
            times = np.bincount(drawn.ravel(), minlength=n_rows * n_queries).reshape(n_rows, n_queries).astype(float)
            samples[rows] = (times @ filled) / (times @ defined)
    bounds = np.full((2, n_columns), np.nan)
    enough = counts >= 2  # one query has no spread: an interval of width 0 would claim certainty
    bounds[:, enough] = np.nanquantile(samples[:, enough], BOUNDS, axis=0)
    return [Interval(float(mean), float(low), float(high), int(n)) for mean, low, high, n in zip(means, *bounds, counts, strict=True)]


def paired(a: Floats, b: Floats, seed: int, *, sign_patterns: int = SIGN_PATTERNS) -> Difference:
    """Compare a metric of two systems, (n_queries,) each in the same order of queries, NaN where undefined.

    The test takes `sign_patterns` patterns where all are more. Figures are NaN where no query has both; another number of queries on
    either side is a WhetstoneError.
    """
    if a.shape != b.shape:
        raise WhetstoneError(f"paired comparison of {a.shape} with {b.shape} values: score both systems on the same queries")
    differences = a - b
    differences = differences[~np.isnan(differences)]
    (interval,) = bootstrap_means(differences[:, None], seed)
    return Difference(**vars(interval), p=_sign_flip_p(differences, np.random.default_rng(seed), sign_patterns))


def _sign_flip_p(differences: Floats, rng: np.random.Generator, sign_patterns: int) -> float:
    """Two-sided p of the paired randomisation test on (n_queries,) differences."""
    if len(differences) == 0:
        return float("nan")
    moving = differences[differences != 0]  # a zero keeps its sum under either sign
    # Sums of the same numbers in another order differ by rounding: patterns that tie with the observed one must count.
    reached = abs(moving.sum()) - 1e-12 * np.abs(moving).sum()
    exact = 2.0 ** len(moving) <= sign_patterns
    n_patterns = 2 ** len(moving) if exact else sign_patterns
    count = 0
    for rows in _chunks(n_patterns, max(1, len(moving))):
        if exact:
            minus = np.arange(rows.start, rows.stop)[:, None] >> np.arange(len(moving)) & 1
        else:
            minus = rng.integers(0, 2, size=(rows.stop - rows.start, len(moving)), dtype=np.int8)
        count += int((np.abs((1.0 - 2.0 * minus) @ moving) >= reached).sum())
    # The observed pattern is one of all patterns, but not of a sample: counting it in keeps the test valid.
    return count / n_patterns if exact else (count + 1) / (n_patterns + 1)


def _chunks(n_rows: int, n_columns: int) -> Iterator[slice]:
    """Consecutive row slices of an (n_rows, n_columns) table that is too large to hold at once."""
    step = max(1, CHUNK_CELLS // n_columns)
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))
