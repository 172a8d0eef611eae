"""Statistics against scipy, and against the truth in a simulation."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from xfeedback.report.stats import bootstrap, paired_difference, summarise

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
    assert not found.apart_from_zero


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
    assert found.apart_from_zero == (expected.pvalue < 0.05)
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


def test_bootstrap_agrees_with_scipy():
    values = np.random.default_rng(3).exponential(size=40)
    ours = bootstrap(values.tolist(), resamples=20_000)
    theirs = scipy_stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)
    median = bootstrap(values.tolist(), lambda drawn: np.median(drawn, axis=1))
    assert median.contains(float(np.median(values)))
    assert median != ours
    with pytest.raises(ValueError, match="two values"):
        bootstrap([1.0])


@pytest.mark.parametrize("n", [3, 5])
def test_intervals_cover_the_truth(n):
    samples = np.random.default_rng(0).normal(70.0, 3.0, size=(4000, n))
    inside = [summarise(row).interval.contains(70.0) for row in samples.tolist()]
    assert 0.93 < np.mean(inside) < 0.97
