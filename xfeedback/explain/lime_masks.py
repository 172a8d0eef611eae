"""LIME's interpretable space: which segments are shown, how much each draw counts, and the linear surrogate.

Letters: n masks, S segments, Z masks, pi their weights, M outputs. Equations: `docs/methods/xai_increment.md`.
"""

from math import comb

import torch
from torch import Generator, Tensor


def exhaustive_masks(s: int) -> Tensor:
    """Return all 2^S masks, all segments shown first, ``(2^S, S)`` bool."""
    numbers = torch.arange(2**s - 1, -1, -1)
    return (numbers[:, None] >> torch.arange(s)) % 2 == 1


def bernoulli_masks(n: int, s: int, draws: Generator) -> Tensor:
    """Return n masks whose entries are fair coins, ``(n, S)`` bool on the CPU."""
    return torch.randint(2, (n, s), generator=draws).bool()


def antithetic_masks(n: int, s: int, draws: Generator) -> Tensor:
    """Return n masks in pairs of a draw and its complement, ``(n, S)`` bool on the CPU; an odd n ends on a draw."""
    half = bernoulli_masks((n + 1) // 2, s, draws)
    return torch.stack([half, ~half], 1).flatten(0, 1)[:n]


def cosine_kernel(masks: Tensor, width: float = 0.25) -> Tensor:
    """Return pi_r = sqrt(exp(-D_r^2 / width^2)) with D_r = 1 - sqrt(|z_r| / S); equations (1) and (2).

    Args:
        masks: ``(n, S)`` bool.
        width: of the kernel; 0.25 in the ``lime`` package for images.

    Returns:
        ``(n,)`` float64.
    """
    distance = 1 - masks.double().mean(1).sqrt()
    return (-(distance**2) / (2 * width**2)).exp()


def shapley_kernel(masks: Tensor, ends: float = 1e6) -> Tensor:
    """Return the weights of kernel SHAP, whose surrogate over all masks is the Shapley value (Lundberg and Lee 2017).

    Args:
        masks: ``(n, S)`` bool, each once.
        ends: weight of the two masks that show all and nothing; infinite in theory.

    Returns:
        ``(n,)`` float64.
    """
    s = masks.shape[1]
    by_size = [ends if k in (0, s) else (s - 1) / (comb(s, k) * k * (s - k)) for k in range(s + 1)]
    return torch.tensor(by_size, dtype=torch.float64)[masks.sum(1).cpu()].to(masks.device)


def surrogate(masks: Tensor, weights: Tensor, ridge: float = 0.0) -> Tensor:
    """Return the matrix that maps outputs ``(n, M)`` to a linear surrogate's coefficients ``(S, M)``; equation (3).

    The intercept is free and not shrunk: masks are centred by their weighted mean. The matrix depends on nothing but
    the masks, so one factorisation serves all samples and classes. Without ridge the solution of least norm is taken
    where masks do not determine one.

    Args:
        masks: ``(n, S)`` bool.
        weights: pi ``(n,)``, non-negative.
        ridge: factor of the coefficients' squared norm.

    Returns:
        ``(S, n)`` float64.
    """
    root = weights.double().sqrt()[:, None]
    z = masks.double()
    centred = root * (z - (root**2 * z).sum(0) / (root**2).sum())
    if ridge == 0:
        return torch.linalg.pinv(centred) * root.T
    gram = centred.T @ centred + ridge * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    return torch.linalg.solve(gram, (root * centred).T)
