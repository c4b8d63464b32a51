"""How sure a figure is: bootstrap intervals of means, and the paired randomisation test of a difference.

The query is the unit of sampling. Interval: percentile bootstrap (Efron & Tibshirani 1993, chapter 13), resampling
queries, undefined (NaN) ones included, and taking the mean of the defined. Test: under the null hypothesis the two
systems are exchangeable on every query, so each difference d_i may change its sign; p = share of sign patterns whose
|sum| reaches the observed one (two-sided; Smucker, Allan & Carterette 2007). All 2^n patterns where they are few,
otherwise a sample of them with (c + 1) / (B + 1).

Small p says "not by chance on these queries", nothing on size: read it beside the interval. No correction for many
comparisons is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from whetstone.platform.errors import WhetstoneError

RESAMPLES = 2_000  # of an interval: the Monte Carlo error of a bound is a third of a percentile point
SIGN_PATTERNS = 10_000  # of a test; up to 13 queries that differ, all patterns are fewer and the test is exact
LEVEL = 0.95
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
class Difference:
    """Mean of a - b over the `count` queries where both are defined, its interval, and the p of "no difference"."""

    difference: float
    low: float
    high: float
    p: float
    count: int


def bootstrap_means(values: Floats, seed: int, *, resamples: int = RESAMPLES, level: float = LEVEL) -> list[Interval]:
    """Percentile bootstrap of every column's mean; the columns share their resamples.

    Args:
        values: (n_queries, n_columns), NaN where undefined.
        seed: same seed and shape, same interval.
        resamples: bootstrap samples.
        level: share of the samples' means between the bounds.

    Returns:
        One interval per column.
    """
    n_queries, n_columns = values.shape
    defined = ~np.isnan(values)
    counts = defined.sum(axis=0)
    filled = np.where(defined, values, 0.0)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the mean of nothing: NaN
        means = filled.sum(axis=0) / counts
    if n_queries == 0:
        return [Interval(np.nan, np.nan, np.nan, 0) for _ in range(n_columns)]
    rng = np.random.default_rng(seed)
    samples = np.empty((resamples, n_columns))
    for rows in _chunks(resamples, n_queries):
        n_rows = rows.stop - rows.start
        drawn = rng.integers(n_queries, size=(n_rows, n_queries)) + np.arange(n_rows)[:, None] * n_queries
        times = np.bincount(drawn.ravel(), minlength=n_rows * n_queries).reshape(n_rows, n_queries).astype(float)
        with np.errstate(invalid="ignore"):
            samples[rows] = (times @ filled) / (times @ defined)
    low, high = np.full(n_columns, np.nan), np.full(n_columns, np.nan)
    enough = counts >= 2  # one query has no spread: an interval of width 0 would claim certainty
    if enough.any():
        tails = [(1 - level) / 2, (1 + level) / 2]
        low[enough], high[enough] = np.nanquantile(samples[:, enough], tails, axis=0)
    return [Interval(float(means[column]), float(low[column]), float(high[column]), int(counts[column])) for column in range(n_columns)]


def bootstrap_mean(values: Floats, seed: int, *, resamples: int = RESAMPLES, level: float = LEVEL) -> Interval:
    """`bootstrap_means` of a single column, (n_queries,)."""
    return bootstrap_means(values[:, None], seed, resamples=resamples, level=level)[0]


def paired(a: Floats, b: Floats, seed: int, *, sign_patterns: int = SIGN_PATTERNS) -> Difference:
    """Compare two systems on the same queries.

    Args:
        a: (n_queries,) a metric of one system, NaN where undefined.
        b: (n_queries,) the same metric of the other, in the same order of queries.
        seed: of the resamples and of the sampled sign patterns.
        sign_patterns: patterns to sample where all of them are more than this.

    Returns:
        Mean of a - b with its bootstrap interval and the two-sided p of the randomisation test; NaN where no query has
        both.

    Raises:
        WhetstoneError: the two don't have the same number of queries.
    """
    if a.shape != b.shape:
        raise WhetstoneError(f"paired comparison of {a.shape} with {b.shape} values: score both systems on the same queries")
    differences = a - b
    differences = differences[~np.isnan(differences)]
    interval = bootstrap_mean(differences, seed)
    p = _sign_flip_p(differences, np.random.default_rng(seed), sign_patterns)
    return Difference(interval.mean, interval.low, interval.high, p, interval.count)


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
