"""Fill removed pixels so that the shape of what was removed does not show: ROAD (Rong et al. 2022, ICML).

Each removed pixel is the weighted mean of its eight neighbours, removed ones included: a linear system for every image.
"""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

DIRECT, DIAGONAL, NOISE = 1 / 6, 1 / 12, 0.01
"""Weights of neighbours along the axes and across, and the sd of the noise that hides what is too smooth."""


def noisy_linear_imputation(
    x: Tensor, removed: Tensor, draws: Generator | None, *, sd: float = NOISE, tolerance: float = 1e-5, most: int = 500
) -> Tensor:
    """Return images with their removed pixels solved for, plus noise.

    With W the weights of the neighbours inside the image and D their sum for each pixel, the removed values u satisfy
    (D - W) u = W k, k the kept ones: symmetric and positive definite as soon as one pixel is kept. Conjugate gradients
    solve all images at once on their device.

    Args:
        x: ``(B, C, H, W)``.
        removed: bool ``(B, H, W)``; an image without a kept pixel becomes 0.
        draws: of the noise, on the device of ``x``; None: no noise.
        sd: of the noise.
        tolerance: of the residual, relative to its start.
        most: iterations at most.

    Returns:
        Same shape as ``x``; kept pixels as they were.
    """
    mask = removed[:, None].to(x.dtype)
    kept = x * (1 - mask)
    total = _neighbours(torch.ones_like(mask[:1]))
    solved = _conjugate_gradients(mask, total, mask * _neighbours(kept), tolerance, most)
    if draws is not None:
        solved = solved + sd * torch.randn(x.shape, device=x.device, dtype=x.dtype, generator=draws)
    return torch.where(removed[:, None], solved, x)


def _conjugate_gradients(mask: Tensor, total: Tensor, right: Tensor, tolerance: float, most: int) -> Tensor:
    """Solve mask (total u - W u) = right for each image and channel, preconditioned by the diagonal."""
    solution, residual = torch.zeros_like(right), right
    step = residual / total
    energy = _dot(residual, step)
    enough = tolerance**2 * energy
    for round_ in range(most):
        if round_ % 10 == 0 and bool((energy <= enough).all()):
            break
        image = mask * (total * step - _neighbours(step))
        share = energy / _dot(step, image).clamp_min(torch.finfo(right.dtype).tiny)
        solution = solution + share * step
        residual = residual - share * image
        new = _dot(residual, residual / total)
        step = residual / total + new / energy.clamp_min(torch.finfo(right.dtype).tiny) * step
        energy = new
    return solution


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((2, 3), keepdim=True)


def _neighbours(x: Tensor) -> Tensor:
    """Weighted sum of the neighbours inside the image, ``(B, C, H, W)``."""
    weights = [DIAGONAL, DIRECT, DIAGONAL, DIRECT, 0.0, DIRECT, DIAGONAL, DIRECT, DIAGONAL]
    kernel = torch.tensor(weights, device=x.device, dtype=x.dtype).view(1, 1, 3, 3)
    return F.conv2d(x.flatten(0, 1)[:, None], kernel, padding=1).view(x.shape)
