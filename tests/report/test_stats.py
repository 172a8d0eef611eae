"""Statistics against scipy, and against the truth in a simulation."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from xfeedback.report.stats import (
    BOOTSTRAP_FROM,
    Interval,
    bootstrap,
    holm,
    mean_ranks,
    paired_difference,
    seeds_needed,
    summarise,
)

VALUES = [93.1, 94.7, 92.2, 93.9, 95.0]


@pytest.mark.parametrize("n", [2, 3, 5])
def test_summary_equals_scipy(n):
    values = VALUES[:n]
    found = summarise(values)
    low, high = scipy_stats.t.interval(0.95, n - 1, loc=np.mean(values), scale=scipy_stats.sem(values))
    assert found.interval is not None
    assert (found.mean, found.sd) == pytest.approx((np.mean(values), scipy_stats.tstd(values)), abs=1e-12)
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), abs=1e-9)


def test_one_value_has_no_interval():
    found = summarise([93.0])
    assert (found.mean, found.sd, found.interval, found.n) == (93.0, None, None, 1)
    assert found.p_value is None


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_nothing_is_averaged_over_what_is_no_number(values):
    with pytest.raises(ValueError, match="finite"):
        summarise(values)


def test_paired_difference_equals_scipy_and_uses_shared_seeds_only():
    ours, plain = {0: 93.0, 1: 94.0, 2: 91.0, 9: 0.0}, {2: 12.0, 1: 11.0, 0: 10.5, 7: 50.0}
    found = paired_difference(ours, plain)
    expected = scipy_stats.ttest_rel([93.0, 94.0, 91.0], [10.5, 11.0, 12.0])
    interval = expected.confidence_interval(0.95)
    assert found is not None
    assert found.interval is not None
    assert found.n == 3
    assert (found.interval.low, found.interval.high) == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


@pytest.mark.parametrize("n", [2, 3, 5])
def test_p_value_equals_scipy(n):
    values = [value - 93 for value in VALUES[:n]]
    assert summarise(values).p_value == pytest.approx(scipy_stats.ttest_1samp(values, 0).pvalue, rel=1e-9)


def test_p_value_of_values_that_are_all_alike():
    """There is no spread to test by: the exact sign test."""
    assert summarise([2.0, 2.0]).p_value == scipy_stats.binomtest(2, 2).pvalue
    assert summarise([90.3 - 90.2, 80.5 - 80.4, 70.7 - 70.6]).p_value == scipy_stats.binomtest(3, 3).pvalue
    assert summarise([0.0, 0.0]).p_value == 1
    assert summarise([2.0]).p_value is None
    assert [summarise(n * [2.0]).above_zero for n in (1, 2, 5, 6)] == [False, False, False, True]


@pytest.mark.parametrize("shift", [-2.0, 0.6, 0.8, 1.5])
def test_above_zero_is_what_the_interval_says(shift):
    found = summarise([shift + value - 93 for value in VALUES])
    assert found.interval is not None
    assert found.above_zero == (found.interval.low > 0)


def test_holm_rejects_what_the_step_down_procedure_rejects():
    """Step down by hand: compare the k-th smallest p with alpha / (m - k), stop at the first that is larger."""
    numbers = np.random.default_rng(5)
    for _ in range(200):
        p_values = {str(i): float(p) for i, p in enumerate(numbers.beta(0.3, 2, size=6))}
        rejected = set()
        for position, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
            if p_values[name] > 0.05 / (6 - position):
                break
            rejected.add(name)
        assert {name for name, p in holm(p_values).items() if p <= 0.05} == rejected


def test_seeds_needed_reach_the_power_in_a_simulation():
    difference = summarise([0.2, 1.0, 1.8, 0.4, 1.6])
    needed = seeds_needed(difference)
    assert needed is not None
    drawn = np.random.default_rng(1).normal(difference.mean, difference.sd, size=(20_000, needed))
    shown = scipy_stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05
    assert 0.8 - 0.01 < shown.mean() < 0.95
    fewer = drawn[:, : needed - 1]
    assert (scipy_stats.ttest_1samp(fewer, 0, axis=1).pvalue < 0.05).mean() < 0.8 + 0.01


def test_seeds_needed_of_nothing_to_go_by():
    assert seeds_needed(summarise([1.0])) is None
    assert seeds_needed(summarise([1.0, -1.0])) is None
    assert seeds_needed(summarise([1.0, 1.0])) == 6
    assert scipy_stats.binomtest(5, 5).pvalue > 0.05 > scipy_stats.binomtest(6, 6).pvalue
    assert seeds_needed(summarise([1.0, -0.999])) is None


def test_mean_ranks_equal_scipy():
    tables = [dict(zip("abcd", row, strict=True)) for row in [(1.0, 3.0, 3.0, 2.0), (5.0, 4.0, 2.0, 2.0)]]
    expected = np.mean([scipy_stats.rankdata([-v for v in table.values()]) for table in tables], axis=0)
    assert list(mean_ranks(tables).values()) == pytest.approx(expected)
    assert mean_ranks([]) == {}


def test_bootstrap_equals_a_plain_loop():
    """Resample by resample, with other random numbers: the ends agree as far as 8000 resamples tell."""
    values = np.random.default_rng(3).exponential(size=12)
    mean, error = values.mean(), scipy_stats.sem(values)
    numbers, found = np.random.default_rng(9), []
    for _ in range(8000):
        drawn = numbers.choice(values, size=12)
        found.append((drawn.mean() - mean) / (drawn.std(ddof=1) / 12**0.5))
    low, high = np.quantile(found, [0.025, 0.975])
    ours = bootstrap(values.tolist())
    assert ours is not None
    assert (ours.low, ours.high) == pytest.approx((mean - high * error, mean - low * error), abs=0.2 * error)
    assert ours == bootstrap(values.tolist())
    assert mean - ours.low < ours.high - mean  # longer towards the side where the tail is


def test_bootstrap_of_few_values_and_of_values_that_are_all_alike():
    assert bootstrap([float(n) for n in range(BOOTSTRAP_FROM - 1)]) is None
    assert bootstrap([2.0] * BOOTSTRAP_FROM) == Interval(2.0, 2.0)


@pytest.mark.parametrize("n", [3, 5])
def test_intervals_cover_the_truth(n):
    samples = np.random.default_rng(0).normal(70.0, 3.0, size=(4000, n))
    inside = [summarise(row).interval.contains(70.0) for row in samples.tolist()]
    assert 0.93 < np.mean(inside) < 0.97


@pytest.mark.parametrize("shape", ["normal", "exponential"])
def test_bootstrap_intervals_cover_the_truth_from_the_first_n_on(shape):
    """Within 95 +- 2 %, where the percentile interval of the same values is not."""
    samples = getattr(np.random.default_rng(4), f"standard_{shape}")(size=(2500, BOOTSTRAP_FROM))
    truth = float(shape == "exponential")
    inside = [bootstrap(row).contains(truth) for row in samples.tolist()]
    assert 0.93 < np.mean(inside) < 0.97
    resampled = np.random.default_rng(5).choice(BOOTSTRAP_FROM, size=(1000, BOOTSTRAP_FROM))
    low, high = np.quantile(samples[:800, resampled].mean(axis=2), [0.025, 0.975], axis=1)
    assert ((low <= truth) & (truth <= high)).mean() < 0.93
