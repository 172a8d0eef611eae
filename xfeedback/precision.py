"""Explanations and losses are computed in float32 or wider, whatever precision the network runs in."""

import torch
from torch import Tensor


def widened(x: Tensor) -> Tensor:
    """Return ``x``, of any shape, in float32 when it is narrower, else as it is.

    >>> widened(torch.zeros(2, dtype=torch.bfloat16)).dtype, widened(torch.zeros(2, dtype=torch.float64)).dtype
    (torch.float32, torch.float64)
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))
