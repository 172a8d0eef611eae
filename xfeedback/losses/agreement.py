"""Losses on maps brought to the range 0 to 1 and to the size of the image (HINT and RRR on Grad-CAM)."""

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-12


def upsampled(cam: Tensor, size: tuple[int, int]) -> Tensor:
    """Return maps ``(B, h, w)`` resized bilinearly to ``(B, *size)``, corners not aligned."""
    return F.interpolate(cam[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def min_max(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Scale each map to the range 0 to 1.

    Args:
        maps: ``(B, H, W)``, of any sign.

    Returns:
        ``(maps - min) / (max - min)`` ``(B, H, W)``, 0 for constant maps, and bool ``(B,)``: those that are not.
    """
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    spread = high - low
    alive = spread > EPS
    scaled = (maps - low) / torch.where(alive, spread, 1.0)
    return torch.where(alive, scaled, 0.0), alive[:, 0, 0]


def disagreement(maps: Tensor, region: Tensor) -> Tensor:
    """Return the mean squared difference of maps and regions over the pixels (HINT in the form of the XIL typology).

    Args:
        maps: in [0, 1] ``(B, H, W)``.
        region: bool ``(B, H, W)``.

    Returns:
        ``(B,)``.
    """
    return (maps - region.to(maps.dtype)).square().mean((1, 2))
