import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from xfeedback.feedback.meter import Accuracies, Meter


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


@pytest.mark.parametrize("balanced", [False, True])
def test_accuracies_are_those_of_all_batches_together(balanced):
    """Of one network and of three at once; the class 3 does not occur, and one batch lacks the class 0."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 50, 4, generator=generator)
    y = torch.cat([torch.ones(20, dtype=torch.int64), torch.randint(3, (30,), generator=generator)])
    score = balanced_accuracy_score if balanced else accuracy_score
    one, three = Accuracies(balanced=balanced), Accuracies(balanced=balanced)
    for rows in (slice(0, 20), slice(20, 50)):
        one.add("val", logits[0, rows], y[rows])
        three.add("val", logits[:, rows], y[rows].expand(3, -1))
    expected = [100 * score(y, own.argmax(1)) for own in logits]
    assert three.read()["val"].tolist() == pytest.approx(expected)
    assert one.read()["val"].item() == pytest.approx(expected[0])
    assert one.read() == {}
