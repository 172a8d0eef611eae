"""How regions and flags line up with inputs of every kind.

Images ``(B, C, H, W)`` have regions ``(B, H, W)``, series ``(B, T, F)`` regions of the same shape, and texts, as
embeddings ``(B, L, E)``, regions ``(B, L)``.
"""

from torch import Tensor


def over_input(region: Tensor, x: Tensor) -> Tensor:
    """Return a region in a shape that broadcasts to the input that it lies in.

    Args:
        region: one value a pixel, cell or token.
        x: images, series or embeddings, or an attribution of that shape.

    >>> import torch
    >>> over_input(torch.ones(2, 5), torch.ones(2, 5, 8)).shape
    torch.Size([2, 5, 1])
    """
    if region.ndim == x.ndim:
        return region
    return region[:, None] if x.ndim == 4 else region[..., None]


def per_sample(flags: Tensor, like: Tensor) -> Tensor:
    """Return flags ``(B,)`` in a shape that broadcasts to ``like`` ``(B, ...)``."""
    return flags.view(-1, *(1 for _ in like.shape[1:]))
