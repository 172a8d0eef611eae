import pytest
import torch

from xfeedback.feedback.meter import Meter


def test_means_are_weighted_by_samples_and_terms_may_come_and_go():
    meter = Meter()
    meter.add(3, {"a": torch.tensor(1.0), "b": torch.tensor(10.0)})
    meter.add(1, {"a": torch.tensor(5.0)})
    assert meter.read() == {"a": pytest.approx((3 * 1 + 5) / 4), "b": 10}
    assert meter.read() == {}


def test_sums_are_kept_in_float64_and_without_graph():
    """A million times 0.1 in float32 would drift by percents."""
    meter = Meter()
    value = torch.tensor(0.1, requires_grad=True)
    for _ in range(1000):
        meter.add(1000, {"a": value})
    assert meter.read()["a"] == pytest.approx(float(value.detach()), rel=1e-12)
    meter.add(1, {"a": value * 2})
    assert not next(iter(meter._sums.values())).requires_grad
