"""Where maps look, at other resolutions and with other tolerances, and how much two maps of an input agree."""

import torch
import torch.nn.functional as F
from torch import Tensor

from xfeedback.metrics.localisation import EPS

MARGIN = 15 / 224
"""Zhang et al. 2018 (Excitation Backprop) let a peak lie 15 pixels outside, on images brought to 224."""
COARSE = 28
"""Cells a side of the common grid."""


def pointing_near(maps: Tensor, region: Tensor, margin: float = MARGIN) -> Tensor:
    """Return whether each map's largest value, the first of equal ones, lies within a margin of the region, ``(B,)``.

    Args:
        maps: ``(B, H, W)``.
        region: bool ``(B, H, W)``.
        margin: Euclidean distance, as a share of the longer side; 0 is :func:`~xfeedback.metrics.pointing`.
    """
    width = maps.shape[2]
    at = maps.flatten(1).argmax(1)
    rows, columns = (torch.arange(side, device=maps.device) for side in maps.shape[1:])
    row, column = (at // width)[:, None, None], (at % width)[:, None, None]
    squares = (rows[:, None] - row) ** 2 + (columns - column) ** 2
    reach = squares <= (margin * max(maps.shape[1:])) ** 2
    return (reach & region).flatten(1).any(1).to(maps.dtype)


def on_coarse_grid(maps: Tensor, region: Tensor, size: int = COARSE) -> tuple[Tensor, Tensor]:
    """Return maps and regions on a common grid, by area: fine maps then don't win by their resolution alone.

    Args:
        maps: ``(B, H, W)``.
        region: bool ``(B, H, W)``.
        size: cells a side.

    Returns:
        Means of the cells ``(B, size, size)``, and the cells of which at least half lies in the region, of smaller
        regions those with the largest part of it, bool.
    """
    both = torch.stack([maps, region.to(maps.dtype)], 1)
    cells, share = F.adaptive_avg_pool2d(both, size).unbind(1)
    most = share.amax((1, 2), keepdim=True)
    return cells, (share >= most.clamp_max(0.5) - EPS) & (share > 0)


def best_iou(maps: Tensor, region: Tensor) -> Tensor:
    """Return the largest intersection over union of the region and {m >= t} over all thresholds t, ``(B,)``.

    Args:
        maps: ``(B, H, W)``.
        region: bool ``(B, H, W)``.
    """
    ordered, order = maps.flatten(1).sort(1, descending=True)
    inside = region.flatten(1).gather(1, order)
    both = inside.double().cumsum(1)
    taken = torch.arange(1, both.shape[1] + 1, device=maps.device)
    iou = both / (taken + both[:, -1:] - both)
    ends = torch.cat([ordered[:, 1:] != ordered[:, :-1], torch.ones_like(inside[:, :1])], 1)
    return torch.where(ends, iou, 0.0).amax(1).to(maps.dtype)


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return Spearman's correlation of two maps ``(B,)``, equal values at their mean rank; NaN for constant maps.

    Args:
        first: ``(B, ...)``.
        second: the same shape.
    """
    one, other = (_ranks(m.flatten(1)) for m in (first, second))
    one, other = (r - r.mean(1, keepdim=True) for r in (one, other))
    return (one * other).sum(1) / (one.square().sum(1) * other.square().sum(1)).sqrt()


def _ranks(values: Tensor) -> Tensor:
    ranks = torch.empty(values.shape, dtype=torch.float64, device=values.device)
    for row, own in zip(ranks, values, strict=True):
        _, which, counts = own.unique(return_inverse=True, return_counts=True)
        row.copy_((counts.cumsum(0) - (counts - 1) / 2)[which])
    return ranks


def confidence_change(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Return average drop max(0, p - o) / p and increase 1[o > p] of each input, ``(B,)`` (Chattopadhay et al. 2018).

    Args:
        before: probability p of the explained class ``(B,)``.
        after: o, that of the input times its map in [0, 1].
    """
    return (before - after).clamp_min(0) / before.clamp_min(EPS), (after > before).to(before.dtype)
