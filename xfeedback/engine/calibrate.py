"""Calibration of a trained network on the headline view, as it is and with a temperature fitted on validation data."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from xfeedback.metrics.calibration import (
    binned,
    brier,
    calibration_error,
    log_loss,
    probabilities_of,
    temperature,
)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What was measured.

    Attributes:
        metrics: ``calibration/ece`` and ``ece_mass`` (15 bins of equal width and of equal mass, in percent), ``brier``
            (0 to 2), ``nll``; those after temperature scaling with ``_scaled`` behind, and ``temperature``.
        reliability: for each of ``raw`` and ``scaled`` ``count``, ``confidence`` and ``accuracy`` of the bins of equal
            width.
    """

    metrics: dict[str, float]
    reliability: dict[str, dict[str, list[Any]]]


def calibration(logits: Tensor, y: Tensor, fitted_on: tuple[Tensor, Tensor] | None) -> Calibration:
    """Measure calibration.

    Args:
        logits: of the test view ``(N, K)``.
        y: labels ``(N,)``.
        fitted_on: logits and labels of the validation set; None without one.
    """
    scales = {"raw": 1.0}
    if fitted_on is not None:
        scales["scaled"] = temperature(*fitted_on)
    metrics: dict[str, float] = {}
    reliability: dict[str, dict[str, list[Any]]] = {}
    for name, scale in scales.items():
        ending = "" if name == "raw" else f"_{name}"
        p = probabilities_of(logits, scale)
        metrics |= {
            f"calibration/ece{ending}": 100 * calibration_error(p, y),
            f"calibration/ece_mass{ending}": 100 * calibration_error(p, y, equal_mass=True),
            f"calibration/brier{ending}": brier(p, y),
            f"calibration/nll{ending}": log_loss(logits / scale, y),
        }
        bins = binned(p, y)
        reliability[name] = {part: getattr(bins, part).tolist() for part in ("count", "confidence", "accuracy")}
    if fitted_on is not None:
        metrics["calibration/temperature"] = scales["scaled"]
    return Calibration(metrics=metrics, reliability=reliability)
