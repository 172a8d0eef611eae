"""Weighted precision and recall of a map against known relevant cells, and areas under them.

Ismail et al. 2020 (arXiv 2010.13924), the benchmark of series: cells count by their share of the map's mass. Letters: s
map scaled to [0, 1] by sample, G relevant cells, S_d the smallest top set whose mass is at least d of the whole.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from xfeedback.metrics.faithfulness import removal_ranks

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class Relevance(NamedTuple):
    """Areas under precision over d, recall over d (each at most 0.8), and precision over recall."""

    aup: float
    aur: float
    aupr: float


def scaled(maps: Tensor) -> Tensor:
    """Return maps ``(B, n)`` with the lowest value of each at 0 and the highest at 1; constant ones become 0."""
    low, high = maps.amin(1, keepdim=True), maps.amax(1, keepdim=True)
    return (maps - low) / torch.where(high > low, high - low, 1.0)


def weighted_precision_recall(
    maps: Tensor, relevant: Tensor, shares: Sequence[float] = SHARES
) -> tuple[Tensor, Tensor]:
    """Return P(d) = sum_(S_d and G) s / sum_(S_d) s and R(d) = sum_(S_d and G) s / sum_G s, ``(B, len(shares))``.

    Args:
        maps: s, non-negative ``(B, n)``; the first of equal values comes first.
        relevant: G, bool ``(B, n)``.
        shares: d, of the map's mass.

    Returns:
        Two in float64, nan where the denominator is 0.
    """
    values, order = maps.double().sort(dim=1, descending=True, stable=True)
    whole = values.cumsum(1)
    inside = (values * relevant.gather(1, order)).cumsum(1)
    last = _last(whole, shares)
    hit = inside.gather(1, last)
    return hit / whole.gather(1, last), hit / inside[:, -1:]


def most_salient(maps: Tensor, shares: Sequence[float]) -> Tensor:
    """Mark S_d, bool ``(len(shares), B, n)``; nothing for d = 0, and nothing of a map without mass.

    Args:
        maps: s, non-negative ``(B, n)``; the first of equal values comes first.
        shares: d, of the map's mass.

    >>> most_salient(torch.tensor([[0.1, 0.6, 0.0, 0.3]]), (0.0, 0.5, 0.7, 1.0)).int().tolist()
    [[[0, 0, 0, 0]], [[0, 1, 0, 0]], [[0, 1, 0, 1]], [[1, 1, 0, 1]]]
    """
    whole = maps.double().sort(dim=1, descending=True, stable=True).values.cumsum(1)
    asked = torch.tensor(shares, device=maps.device, dtype=torch.float64) * whole[:, -1:]
    count = torch.where(asked > 0, _last(whole, shares) + 1, 0)
    return removal_ranks(maps) < count.T[:, :, None]


def _last(whole: Tensor, shares: Sequence[float]) -> Tensor:
    """Return at which place of the sorted map its running mass ``whole`` reaches each share, ``(B, len(shares))``."""
    wanted = torch.tensor(shares, device=whole.device, dtype=torch.float64) * whole[:, -1:]
    return torch.searchsorted(whole, wanted * (1 - 1e-12)).clamp_max(whole.shape[1] - 1)


def relevance_areas(precision: Tensor, recall: Tensor, shares: Sequence[float] = SHARES) -> Relevance:
    """Return the areas under the curves' means over the samples that have them.

    Args:
        precision: P(d) ``(B, len(shares))``, from :func:`weighted_precision_recall`.
        recall: R(d), same shape.
        shares: d.
    """
    d = torch.tensor(shares, dtype=torch.float64, device=precision.device)
    p, r = precision.nanmean(0), recall.nanmean(0)
    order = r.argsort(stable=True)
    areas = torch.trapezoid(p, d), torch.trapezoid(r, d), torch.trapezoid(p[order], r[order])
    return Relevance(*(float(value) for value in areas))
