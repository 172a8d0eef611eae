"""Whether probabilities can be believed: calibration errors, Brier score, log loss, temperature scaling.

Probabilities are those of a float32 or wider softmax. Binned errors are biased upwards on small sets: of a perfectly
calibrated model with 200 samples, 15 bins show about 0.075.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

from xfeedback.precision import widened

BINS = 15
"""Bins of the headline errors."""
COARSEST, FINEST = 3.0, -3.0
"""Bounds of the logarithm of the temperature."""


@dataclass(frozen=True, kw_only=True)
class Bins:
    """Samples by their confidence: how many, how confident, how often right.

    Attributes:
        count: samples in each bin ``(M,)``, int64.
        confidence: mean confidence of each ``(M,)``; 0 where a bin is empty.
        accuracy: share of hits of each ``(M,)``; 0 where a bin is empty.
    """

    count: Tensor
    confidence: Tensor
    accuracy: Tensor

    @property
    def gaps(self) -> Tensor:
        """Distance of confidence from accuracy ``(M,)``."""
        return (self.accuracy - self.confidence).abs()


def binned(probabilities: Tensor, y: Tensor, bins: int = BINS, *, equal_mass: bool = False) -> Bins:
    """Sort samples into bins of their top probability.

    Args:
        probabilities: ``(N, K)``.
        y: labels ``(N,)``.
        bins: how many.
        equal_mass: bins hold equally many samples, to within one, in the order of confidence; otherwise they are
            equally wide, [0, 1/M), ..., [1 - 1/M, 1].

    Raises:
        ValueError: these are no probabilities.
    """
    confidence, predicted = _checked(probabilities).double().max(1)
    hits = (predicted == y).double()
    if equal_mass:
        rank = torch.empty_like(y).scatter(0, confidence.argsort(stable=True), torch.arange(len(y), device=y.device))
        sizes = torch.tensor([len(part) for part in np.array_split(np.arange(len(y)), bins)], device=y.device)
        where = torch.bucketize(rank, sizes.cumsum(0), right=True)
    else:
        where = (confidence * bins).floor().long().clamp_max(bins - 1)
    count = torch.bincount(where, minlength=bins)

    def mean(values: Tensor) -> Tensor:
        return torch.zeros(bins, dtype=torch.float64, device=y.device).index_add(0, where, values) / count.clamp_min(1)

    return Bins(count=count, confidence=mean(confidence), accuracy=mean(hits))


def calibration_error(probabilities: Tensor, y: Tensor, bins: int = BINS, *, equal_mass: bool = False) -> float:
    """Return the expected calibration error, sum_m n_m / N |accuracy_m - confidence_m|, in [0, 1].

    Arguments and their shapes as in :func:`binned`.

    >>> p = torch.tensor([[0.95, 0.05], [0.15, 0.85], [0.65, 0.35], [0.45, 0.55]])
    >>> round(calibration_error(p, torch.tensor([0, 0, 0, 1]), 10), 3)
    0.425
    """
    found = binned(probabilities, y, bins, equal_mass=equal_mass)
    return float((found.count * found.gaps).sum() / len(y))


def largest_calibration_error(probabilities: Tensor, y: Tensor, bins: int = BINS) -> float:
    """Return the largest gap of any equally wide bin that holds a sample; arguments, shapes as in :func:`binned`."""
    found = binned(probabilities, y, bins)
    return float(found.gaps[found.count > 0].max())


def brier(probabilities: Tensor, y: Tensor) -> float:
    """Return mean_i sum_k (p_ik - [y_i = k])^2, in [0, 2].

    Args:
        probabilities: ``(N, K)``.
        y: labels ``(N,)``.

    >>> brier(torch.tensor([[0.5, 0.5], [1.0, 0.0]]), torch.tensor([0, 0]))
    0.25
    """
    p = _checked(probabilities).double()
    return float((p - F.one_hot(y, p.shape[1])).square().sum(1).mean())


def log_loss(logits: Tensor, y: Tensor) -> float:
    """Return the mean negative logarithm of the label's probability, from logits: never of a clipped probability.

    Args:
        logits: ``(N, K)``.
        y: labels ``(N,)``.

    >>> round(log_loss(torch.zeros(3, 4), torch.tensor([0, 1, 2])), 4)
    1.3863
    """
    return float(F.cross_entropy(logits.double(), y))


def temperature(logits: Tensor, y: Tensor) -> float:
    """Return T that minimises the log loss of softmax(z / T), log T in [-3, 3] (Guo et al. 2017).

    Args:
        logits: of a validation set ``(N, K)``.
        y: labels ``(N,)``.
    """
    wide = logits.double().cpu()
    labels = y.cpu()

    def loss(t: float) -> float:
        return log_loss(wide / np.exp(t), labels)

    found = minimize_scalar(loss, bounds=(FINEST, COARSEST), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def probabilities_of(logits: Tensor, scale: float = 1.0) -> Tensor:
    """Return softmax(z / scale) ``(N, K)``, float32 or wider."""
    return (widened(logits) / scale).softmax(1)


def _checked(probabilities: Tensor) -> Tensor:
    inside = probabilities.min() >= 0 and bool(((probabilities.sum(1) - 1).abs() < 1e-3).all())
    if not inside:
        raise ValueError("calibration needs probabilities, rows that sum to 1, not logits")
    return probabilities
