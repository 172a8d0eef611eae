"""Explanations that average over noise or over random baselines: SmoothGrad and GradientSHAP.

Every draw comes from a generator that the caller keys, so an explanation is the same whenever it is computed.
"""

import torch
from torch import Generator, Tensor, nn

from xfeedback.explain.gradient import gradient
from xfeedback.explain.outputs import explained_output


def input_gradient(network: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """Return the gradient of the logit of ``target`` ``(B,)`` at ``x`` ``(B, ...)``, detached."""
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        return gradient(explained_output(network(point), target, "logit"), point).detach()


def smoothgrad(
    network: nn.Module,
    x: Tensor,
    target: Tensor,
    draws: Generator,
    *,
    copies: int,
    sd: Tensor | float,
    squared: bool,
    alike: bool = False,
) -> Tensor:
    """Return the mean over noisy copies of the input of the gradient, or of its square (Smilkov et al. 2017).

    Args:
        network: in evaluation mode; maps inputs ``(B, ...)`` to logits ``(B, N)``.
        x: ``(B, ...)``.
        target: explained class ``(B,)``.
        draws: of the noise, on the device of ``x``.
        copies: how many.
        sd: of the noise, a number or a tensor that broadcasts to ``x``.
        squared: average the squares.
        alike: the same noise for all inputs, and for the first positions ``(B, L, E)`` whatever follows them: a map
            then depends on its input alone, not on the batch or the padding.

    Returns:
        Same shape as ``x``; signed unless ``squared``.
    """
    total = torch.zeros_like(x)
    for noise in _by_position(x, draws, copies) if alike else (_normal(x, draws) for _ in range(copies)):
        found = input_gradient(network, x + sd * noise, target)
        total += found.square() if squared else found
    return total / copies


def gradient_shap(
    network: nn.Module, x: Tensor, target: Tensor, baselines: Tensor, draws: Generator, *, sd: Tensor | float
) -> Tensor:
    """Return expected gradients: the gradient at a random point between baseline and noisy input, times the way.

    Lundberg and Lee 2017 (GradientSHAP), Erion et al. 2021. Averaged over the baselines, one point each.

    Args:
        network: as in :func:`smoothgrad`.
        x: ``(B, ...)``.
        target: explained class ``(B,)``.
        baselines: ``(S, B, ...)``, drawn from a background.
        draws: of the noise and of the points, on the device of ``x``.
        sd: of the noise that is added to the input, as in :func:`smoothgrad`.

    Returns:
        Signed, same shape as ``x``.
    """
    total = torch.zeros_like(x)
    for baseline in baselines:
        way = x + sd * _normal(x, draws) - baseline
        share = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device, dtype=x.dtype, generator=draws)
        total += way * input_gradient(network, baseline + share * way, target)
    return total / len(baselines)


def _normal(x: Tensor, draws: Generator) -> Tensor:
    return torch.randn(x.shape, device=x.device, dtype=x.dtype, generator=draws)


def _by_position(x: Tensor, draws: Generator, copies: int) -> Tensor:
    """Return normal noise ``(copies, L, E)`` of which each position of ``x`` ``(B, L, E)`` is a draw of its own."""
    like = x.new_empty(copies, *x.shape[2:])
    return torch.stack([_normal(like, draws) for _ in range(x.shape[1])], 1)
