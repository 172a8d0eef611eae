"""Calibration against hand-worked numbers, torchmetrics, scikit-learn and simulated models that are calibrated."""

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss
from torch import Tensor
from torchmetrics.classification import MulticlassCalibrationError

from xfeedback.engine.calibrate import calibration
from xfeedback.metrics.calibration import (
    binned,
    brier,
    calibration_error,
    largest_calibration_error,
    log_loss,
    probabilities_of,
    temperature,
)


def four() -> tuple[Tensor, Tensor]:
    """Confidences .95, .85, .65, .55; right, wrong, right, right."""
    confidence = torch.tensor([0.95, 0.85, 0.65, 0.55], dtype=torch.float64)
    return torch.stack([confidence, 1 - confidence], 1), torch.tensor([0, 1, 0, 0])


def drawn(n: int, sharper: float = 1.0, seed: int = 0, classes: int = 5) -> tuple[Tensor, Tensor]:
    """Logits of a model whose labels are drawn from its own probabilities, times ``sharper``."""
    numbers = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, classes, generator=numbers, dtype=torch.float64)
    y = logits.softmax(1).multinomial(1, generator=numbers).squeeze(1)
    return logits * sharper, y


def test_by_hand():
    p, y = four()
    assert calibration_error(p, y, 10) == pytest.approx(0.425, abs=1e-12)
    assert calibration_error(p, y, 2, equal_mass=True) == pytest.approx(0.4, abs=1e-12)
    assert largest_calibration_error(p, y, 10) == pytest.approx(0.85, abs=1e-12)
    one = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64)
    assert brier(one, torch.tensor([0])) == pytest.approx(0.14, abs=1e-12)
    assert log_loss(one.log(), torch.tensor([0])) == pytest.approx(0.356675, abs=1e-6)


@pytest.mark.parametrize("bins", [10, 15])
def test_equal_width_is_torchmetrics(bins):
    logits, y = drawn(500)
    p = logits.softmax(1).float()
    expected = MulticlassCalibrationError(5, n_bins=bins, norm="l1")(p, y)
    assert calibration_error(p, y, bins) == pytest.approx(float(expected), abs=1e-6)
    largest = MulticlassCalibrationError(5, n_bins=bins, norm="max")(p, y)
    assert largest_calibration_error(p, y, bins) == pytest.approx(float(largest), abs=1e-6)


def test_equal_mass_is_a_loop_over_sorted_parts():
    logits, y = drawn(100)
    p = logits.softmax(1).numpy()
    confidence, hits = p.max(1), p.argmax(1) == y.numpy()
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, 15)
    expected = sum(len(part) / 100 * abs(hits[part].mean() - confidence[part].mean()) for part in parts)
    assert calibration_error(torch.from_numpy(p), y, equal_mass=True) == pytest.approx(expected, abs=1e-12)
    counts = binned(torch.from_numpy(p), y, equal_mass=True).count
    assert counts.tolist() == [len(part) for part in parts]
    few = binned(torch.from_numpy(p[:4]), y[:4], equal_mass=True)
    assert sorted(few.count.tolist()) == [0] * 11 + [1] * 4


def test_scores_are_scikit_learns():
    logits, y = drawn(200)
    p = logits.softmax(1)
    assert log_loss(logits, y) == pytest.approx(sklearn_log_loss(y, p.numpy()), rel=1e-9)
    each = sum(brier_score_loss(y.numpy() == k, p[:, k].numpy()) for k in range(5))
    assert brier(p, y) == pytest.approx(each, rel=1e-9)


def test_logits_are_refused():
    logits, y = drawn(20)
    for score in (calibration_error, brier):
        with pytest.raises(ValueError, match="needs probabilities, rows that sum to 1, not logits"):
            score(logits, y)
        with pytest.raises(ValueError, match="needs probabilities"):
            score(logits.sigmoid(), y)


def test_extreme_logits_have_a_finite_log_loss():
    logits, y = torch.tensor([[0.0, 800.0]]), torch.tensor([0])
    assert log_loss(logits, y) == pytest.approx(800)
    assert calibration_error(probabilities_of(logits), y) == pytest.approx(1)


def test_temperature_undoes_a_sharpened_model_and_leaves_its_accuracy():
    logits, y = drawn(20_000, sharper=3.0)
    t = temperature(logits, y)
    assert t == pytest.approx(3.0, abs=0.1)
    raw, scaled = probabilities_of(logits), probabilities_of(logits, t)
    assert torch.equal(raw.argmax(1), scaled.argmax(1))
    assert calibration_error(scaled, y) < 0.02 < calibration_error(raw, y)


def test_the_binned_error_of_a_calibrated_model_falls_with_the_number_of_samples():
    def error(n: int) -> float:
        return float(
            np.mean([calibration_error(drawn(n, seed=s)[0].softmax(1), drawn(n, seed=s)[1]) for s in range(5)])
        )

    assert error(20_000) < 0.4 * error(200)


def test_what_a_run_reports():
    logits, y = drawn(2000, sharper=2.0)
    alone = calibration(logits, y, None)
    assert set(alone.metrics) == {f"calibration/{name}" for name in ("ece", "ece_mass", "brier", "nll")}
    both = calibration(logits, y, drawn(2000, sharper=2.0, seed=1))
    assert both.metrics["calibration/temperature"] == pytest.approx(2.0, abs=0.2)
    for name in ("ece", "ece_mass", "brier", "nll"):
        assert both.metrics[f"calibration/{name}"] == alone.metrics[f"calibration/{name}"]
        assert both.metrics[f"calibration/{name}_scaled"] < both.metrics[f"calibration/{name}"]
    raw = both.reliability["raw"]
    assert sum(raw["count"]) == 2000
    gaps = [n * abs(a - c) for n, a, c in zip(raw["count"], raw["accuracy"], raw["confidence"], strict=True)]
    assert sum(gaps) / 20 == pytest.approx(both.metrics["calibration/ece"])
