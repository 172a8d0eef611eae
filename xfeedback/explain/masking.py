"""Choosing and filling input positions by their saliency (saliency guided training, Ismail et al. 2021).

Letters: B samples, C channels, n positions (pixels, cells or tokens).
"""

from typing import Literal

import torch
from torch import Generator, Tensor

Fill = Literal[
    "uniform_sample",
    "uniform_channel",
    "uniform01",
    "mean_channel",
    "gaussian",
    "first_corner",
    "own_corner",
    "constant",
]
Ties = Literal["exact", "threshold"]


def lowest(ranking: Tensor, k: int | Tensor, *, ties: Ties = "exact") -> Tensor:
    """Mark the k positions with the smallest ranking of each sample; equation (4).

    A threshold and a running count of ties give exactly k without sorting; the first of equal values win.

    Args:
        ranking: ``(B, n)``.
        k: how many, 0 <= k <= n, of all samples or of each ``(B,)``.
        ties: ``threshold`` marks every position equal to the k-th smallest, so possibly more than k.

    Returns:
        bool ``(B, n)``.
    """
    if isinstance(k, Tensor):
        k = k[:, None]
        threshold = ranking.sort(1).values.gather(1, (k - 1).clamp_min(0)).where(k > 0, -torch.inf)
    elif k == 0:
        return torch.zeros_like(ranking, dtype=torch.bool)
    else:
        threshold = ranking.kthvalue(k, dim=1, keepdim=True).values
    if ties == "threshold":
        return ranking <= threshold
    below, tied = ranking < threshold, ranking == threshold
    room = k - below.sum(1, keepdim=True)
    return below | (tied & (tied.cumsum(1) <= room))


def fill_values(x: Tensor, fill: Fill, generator: Generator, valid: Tensor | None = None) -> Tensor:
    """Draw a replacement for every entry of ``x``, on its device; the u of equation (5).

    Args:
        x: ``(B, C, n)``.
        fill: ``uniform_sample``: U(min, max) of the sample; ``uniform_channel``: of each channel of the sample;
            ``uniform01``: U(0, 1), whatever the sample;
            ``mean_channel``: the channel's mean; ``gaussian``: the channel's mean plus N(0, 1); ``first_corner``: the
            first position of the batch's first sample; ``own_corner``: of each sample; ``constant``: 0.
        generator: source of the draws, on the device of ``x``.
        valid: which positions are real ``(B, n)``; ranges and means are theirs. None: all.

    Returns:
        ``(B, C, n)``.
    """
    if fill == "constant":
        return torch.zeros_like(x)
    if fill in ("first_corner", "own_corner"):
        return (x[:1, :, :1] if fill == "first_corner" else x[:, :, :1]).expand_as(x)
    if fill in ("mean_channel", "gaussian"):
        mean = x.mean(2, keepdim=True) if valid is None else _real_mean(x, valid[:, None])
        if fill == "mean_channel":
            return mean.expand_as(x)
        return mean + torch.randn(x.shape, device=x.device, dtype=x.dtype, generator=generator)
    if fill == "uniform01":
        return torch.rand(x.shape, device=x.device, dtype=x.dtype, generator=generator)
    axes = (1, 2) if fill == "uniform_sample" else (2,)
    below, above = (x, x) if valid is None else (x.where(valid[:, None], v) for v in (torch.inf, -torch.inf))
    low, high = below.amin(axes, keepdim=True), above.amax(axes, keepdim=True)
    return low + (high - low) * torch.rand(x.shape, device=x.device, dtype=x.dtype, generator=generator)


def _real_mean(x: Tensor, valid: Tensor) -> Tensor:
    return (x * valid).sum(2, keepdim=True) / valid.sum(2, keepdim=True).clamp_min(1)
