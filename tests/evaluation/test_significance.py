"""Intervals and tests: brute force, scipy as the reference, behaviour under the null, and the edges."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from whetstone.evaluation import significance
from whetstone.evaluation.significance import Difference, Interval, bootstrap_means

NAN = float("nan")
figures = st.lists(st.integers(-20, 20).map(lambda number: number / 20), min_size=1, max_size=8)


def paired(a: np.ndarray, b: np.ndarray, **options: int) -> Difference:
    return significance.paired(np.column_stack([a, b]), **options)


def bootstrap_mean(values: np.ndarray, seed: int, **options: int) -> Interval:
    (interval,) = bootstrap_means(values[:, None], seed, **options)
    return interval


@settings(deadline=None, max_examples=60)
@given(figures)
def test_small_samples_are_tested_exactly(differences):
    values = np.array(differences)
    sums = [abs(np.dot(signs, values)) for signs in product((1, -1), repeat=len(values))]
    expected = np.mean([each >= abs(values.sum()) - 1e-9 for each in sums])
    assert paired(values, np.zeros_like(values), seed=1).p == pytest.approx(expected, abs=1e-12)


def test_exact_test_agrees_with_scipy():
    rng = np.random.default_rng(3)
    a, b = rng.normal(0.5, 0.2, 12), rng.normal(0.4, 0.2, 12)
    reference = stats.permutation_test((a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=1e5)
    assert paired(a, b, seed=0).p == pytest.approx(reference.pvalue, abs=1e-12)


def test_sampled_test_comes_near_the_exact_one():
    rng = np.random.default_rng(4)
    a, b = rng.normal(0.5, 0.2, 13), rng.normal(0.42, 0.2, 13)
    exact = paired(a, b, seed=0).p
    sampled = paired(a, b, seed=0, sign_patterns=8_000).p
    assert exact != sampled
    assert sampled == pytest.approx(exact, abs=0.02)


def test_sampled_p_is_never_zero():
    values = np.linspace(0.5, 1.0, 60)
    assert paired(values, np.zeros(60), seed=0, sign_patterns=999).p == 1 / 1000


def test_p_is_uniform_when_there_is_no_difference():
    rng = np.random.default_rng(5)
    ps = [paired(rng.normal(size=30), rng.normal(size=30), seed=i, sign_patterns=400).p for i in range(400)]
    assert np.mean(np.array(ps) < 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(ps) == pytest.approx(0.5, abs=0.05)


def test_swapping_the_systems_mirrors_the_result():
    rng = np.random.default_rng(6)
    a, b = rng.random(40), rng.random(40)
    one, other = paired(a, b, seed=2), paired(b, a, seed=2)
    assert (other.mean, other.low, other.high) == pytest.approx((-one.mean, -one.high, -one.low))
    assert other.p == one.p


def test_pairing_sees_a_small_steady_gain_that_intervals_of_means_hide():
    rng = np.random.default_rng(7)
    base = rng.random(80)
    better = base + 0.01 + rng.normal(0, 0.01, 80)
    result = paired(better, base, seed=0)
    assert result.p < 0.001
    assert result.low > 0
    assert bootstrap_mean(better, 0).low < bootstrap_mean(base, 0).high


def test_only_queries_where_both_are_defined_count():
    result = paired(np.array([1.0, NAN, 0.5, 0.2]), np.array([0.5, 0.1, NAN, 0.1]), seed=0)
    assert result.count == 2
    assert result.mean == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("a", "b", "difference", "p", "count"),
    [
        ([], [], NAN, NAN, 0),
        ([NAN], [1.0], NAN, NAN, 0),
        ([0.7], [0.5], 0.2, 1.0, 1),
        ([0.5] * 40, [0.5] * 40, 0.0, 1.0, 40),
    ],
)
def test_edges_of_a_comparison(a, b, difference, p, count):
    result = paired(np.array(a, dtype=float), np.array(b, dtype=float), seed=0)
    assert (result.mean, result.p) == pytest.approx((difference, p), nan_ok=True)
    assert result.count == count
    if count < 2:
        assert np.isnan([result.low, result.high]).all()
    else:
        assert (result.low, result.high) == (difference, difference)


def test_a_constant_gain_ties_with_its_mirror_only():
    constant = np.full(10, 0.1)  # 0.1 ten times doesn't sum to 1.0 in floating point; ties must survive that
    assert paired(constant, np.zeros(10), seed=0).p == pytest.approx(2 / 2**10, abs=1e-15)


def test_thousands_of_queries_are_compared():
    rng = np.random.default_rng(12)
    noise = rng.normal(size=3_000)
    assert paired(noise, -noise, seed=0, sign_patterns=200).p > 0.05
    assert paired(noise + 0.2, noise, seed=0, sign_patterns=200).p == 1 / 201


def test_interval_agrees_with_scipy_s_percentile_bootstrap():
    values = np.random.default_rng(8).beta(0.5, 0.5, 90)
    reference = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=1).confidence_interval
    ours = bootstrap_mean(values, seed=1, resamples=20_000)
    assert ours.mean == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((reference.low, reference.high), abs=0.004)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(9)
    intervals = [bootstrap_mean(rng.random(50), seed=i, resamples=500) for i in range(300)]
    assert np.mean([each.low <= 0.5 <= each.high for each in intervals]) == pytest.approx(0.95, abs=0.04)


def test_undefined_values_are_skipped_and_counted():
    values = np.array([[0.2, NAN, NAN], [0.4, 0.5, NAN], [NAN, NAN, NAN], [0.9, NAN, NAN]])
    some, one, none = bootstrap_means(values, seed=0)
    assert (some.mean, some.count) == (pytest.approx(0.5), 3)
    assert 0.2 <= some.low < some.mean < some.high <= 0.9
    assert (one.mean, one.count) == (0.5, 1)
    assert np.isnan([one.low, one.high, none.mean, none.low, none.high]).all()
    assert none.count == 0


def test_constant_values_have_an_interval_of_width_zero():
    interval = bootstrap_mean(np.full(30, 0.3), seed=0)
    assert (interval.low, interval.high) == pytest.approx((0.3, 0.3), abs=1e-12)


def test_no_query_at_all_is_undefined():
    assert np.isnan([(each.mean, each.low, each.high) for each in bootstrap_means(np.empty((0, 2)), seed=0)]).all()


def test_same_seed_same_interval_and_other_seed_another():
    values = np.random.default_rng(10).random(40)
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values, seed=1) != bootstrap_mean(values, seed=2)
