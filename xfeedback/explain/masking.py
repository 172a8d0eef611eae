"""Choosing and filling input positions by their saliency (saliency guided training, Ismail et al. 2021).

Letters: B samples, C channels, n positions (pixels, cells or tokens).
"""

from typing import Literal

import torch
from torch import Generator, Tensor

Fill = Literal["uniform_sample", "uniform_channel", "mean_channel", "gaussian"]
Ties = Literal["exact", "threshold"]


def lowest(ranking: Tensor, k: int, *, ties: Ties = "exact") -> Tensor:
    """Mark the k positions with the smallest ranking of each sample; equation (4).

    A threshold and a running count of ties give exactly k without sorting; the first of equal values win.

    Args:
        ranking: ``(B, n)``.
        k: how many, 0 <= k <= n.
        ties: ``threshold`` marks every position equal to the k-th smallest, so possibly more than k.

    Returns:
        bool ``(B, n)``.
    """
    if k == 0:
        return torch.zeros_like(ranking, dtype=torch.bool)
    threshold = ranking.kthvalue(k, dim=1, keepdim=True).values
    if ties == "threshold":
        return ranking <= threshold
    below, tied = ranking < threshold, ranking == threshold
    room = k - below.sum(1, keepdim=True)
    return below | (tied & (tied.cumsum(1) <= room))


def fill_values(x: Tensor, fill: Fill, generator: Generator) -> Tensor:
    """Draw a replacement for every entry of ``x``, on its device; the u of equation (5).

    Args:
        x: ``(B, C, n)``.
        fill: ``uniform_sample``: U(min, max) of the sample; ``uniform_channel``: of each channel of the sample;
            ``mean_channel``: the channel's mean; ``gaussian``: the channel's mean plus N(0, 1).
        generator: source of the draws, on the device of ``x``.

    Returns:
        ``(B, C, n)``.
    """
    if fill == "mean_channel":
        return x.mean(2, keepdim=True).expand_as(x)
    if fill == "gaussian":
        return x.mean(2, keepdim=True) + torch.randn(x.shape, device=x.device, dtype=x.dtype, generator=generator)
    axes = (1, 2) if fill == "uniform_sample" else (2,)
    low, high = x.amin(axes, keepdim=True), x.amax(axes, keepdim=True)
    return low + (high - low) * torch.rand(x.shape, device=x.device, dtype=x.dtype, generator=generator)
