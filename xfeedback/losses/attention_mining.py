"""Losses of guided attention inference (Li et al. 2018, GAIN), equations (2) and (3) of `docs/methods/gain`."""

import torch
from torch import Tensor


def soft_mask(maps: Tensor, *, sigma: float = 0.5, omega: float = 10.0) -> Tensor:
    """Return T(A) = sigm(omega (A - sigma)), nearly 1 where attention is high and nearly 0 elsewhere; equation (2).

    Args:
        maps: A ``(B, H, W)``, in [0, 1].
        sigma: attention at which T is a half.
        omega: steepness.
    """
    return torch.sigmoid(omega * (maps - sigma))


def erased(x: Tensor, mask: Tensor) -> Tensor:
    """Return x* = x - T x: the input without what is attended to; equation (3).

    Args:
        x: images ``(B, C, H, W)``.
        mask: T ``(B, H, W)``.
    """
    return x * (1 - mask[:, None]).to(x.dtype)
