"""Explanations of a trained network that need many passes: for scoring, not for training."""

import torch
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
    rows, columns = (_cells(side, n, x.device) for side, n in zip(x.shape[2:], grid, strict=True))
    falls = []
    for row in range(grid[0]):
        for column in range(grid[1]):
            covered = x.masked_fill((rows == row)[:, None] & (columns == column), fill)
            falls.append(whole - explained_output(network(covered), target, "logit"))
    return torch.stack(falls, 1).view(len(x), *grid)


def enlarged(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Return cells ``(B, h, w)`` as the blocks of pixels ``(B, H, W)`` that :func:`occlusion` covers."""
    rows, columns = (_cells(side, n, cells.device) for side, n in zip(size, cells.shape[1:], strict=True))
    return cells[:, rows[:, None], columns]


def _cells(side: int, n: int, device: torch.device) -> Tensor:
    """Return which of n cells each pixel of a side lies in, ``(side,)``."""
    return torch.arange(side, device=device) * n // side
