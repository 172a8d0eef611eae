"""Explanations of a trained network that need many passes: for scoring, not for training."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfeedback.explain.gradient import gradient
from xfeedback.explain.outputs import explained_output


def integrated_gradients(
    network: nn.Module, x: Tensor, target: Tensor, baseline: Tensor | float = 0.0, steps: int = 50
) -> Tensor:
    """Return the gradient of the logit averaged along the line from a baseline, times the way.

    Sundararajan et al. 2017. Midpoint rule; summed over the input it is the logit's rise from the baseline, up to the
    error of the rule.

    Args:
        network: in evaluation mode; maps inputs ``(B, ...)`` to logits ``(B, N)``.
        x: ``(B, ...)``.
        target: explained class ``(B,)``.
        baseline: where the line starts, a tensor that broadcasts to ``x`` or a number.
        steps: points on the line.

    Returns:
        Signed, same shape as ``x``.
    """
    way = x.detach() - baseline
    total = torch.zeros_like(way)
    with torch.enable_grad():
        for step in range(steps):
            point = (baseline + (step + 0.5) / steps * way).requires_grad_()
            total += gradient(explained_output(network(point), target, "logit"), point)
    return way * total / steps


@torch.no_grad()
def occlusion(network: nn.Module, x: Tensor, target: Tensor, grid: tuple[int, int], fill: float = 0.0) -> Tensor:
    """Return how far the logit falls when each cell of a grid is covered (Zeiler and Fergus 2014).

    Args:
        network: in evaluation mode; maps images to logits ``(B, N)``.
        x: images ``(B, C, H, W)``.
        target: explained class ``(B,)``.
        grid: rows and columns of cells.
        fill: value of the cover; 0 is the mean colour of normalised images.

    Returns:
        Signed ``(B, rows, columns)``.
    """
    whole = explained_output(network(x), target, "logit")
    rows, columns = (_edges(n, side) for n, side in zip(grid, x.shape[2:], strict=True))
    falls = []
    for top, bottom in rows:
        for left, right in columns:
            covered = x.clone()
            covered[:, :, top:bottom, left:right] = fill
            falls.append(whole - explained_output(network(covered), target, "logit"))
    return torch.stack(falls, 1).view(len(x), *grid)


def _edges(n: int, side: int) -> list[tuple[int, int]]:
    return [(i * side // n, (i + 1) * side // n) for i in range(n)]


def enlarged(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Return cells ``(B, h, w)`` as blocks of pixels ``(B, H, W)``."""
    return F.interpolate(cells[:, None], size, mode="nearest")[:, 0]
