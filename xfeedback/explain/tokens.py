"""Choosing, replacing and deleting tokens of texts by their saliency (saliency guided training, Ismail et al. 2021).

Letters: B texts, L tokens. Ids 0, 1 and 2 are padding, the unknown token and the separator of two segments; only
tokens that are neither padding nor separators are ever chosen.
"""

from typing import Literal

import torch
from torch import Generator, Tensor

from xfeedback.data.text import PADDING, RESERVED, SEPARATOR, UNKNOWN

Replacement = Literal["previous_kept", "unk", "pad", "delete", "random_vocab"]


def real(ids: Tensor) -> Tensor:
    """Return where the tokens are that may be chosen, bool ``(B, L)``: no padding, no separator."""
    return (ids != PADDING) & (ids != SEPARATOR)


def of_documents(ids: Tensor) -> Tensor:
    """Return which tokens stand after the first separator, in texts without one all, bool ``(B, L)``.

    Args:
        ids: ``(B, L)``, as ``query [SEP] document``.
    """
    separators = (ids == SEPARATOR).cumsum(1)
    return (separators > 0) | (separators[:, -1:] == 0)


def previous_kept(ids: Tensor, masked: Tensor) -> Tensor:
    """Replace each masked token by the nearest earlier kept one of its segment, else by the nearest later one.

    A segment ends at a separator; one without a kept token becomes unknown tokens.

    Args:
        ids: ``(B, L)`` int64.
        masked: bool ``(B, L)``, a part of :func:`real`.

    Returns:
        ``(B, L)`` int64.
    """
    kept = real(ids) & ~masked
    place = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    segment = (ids == SEPARATOR).cumsum(1)
    before = torch.where(kept, place, -1).cummax(1).values
    after = torch.where(kept, place, ids.shape[1]).flip(1).cummin(1).values.flip(1)
    result = torch.where(masked, UNKNOWN, ids)
    for source, exists in ((after, after < ids.shape[1]), (before, before >= 0)):
        at = source.clamp(0, ids.shape[1] - 1)
        usable = masked & exists & (segment.gather(1, at) == segment)
        result = torch.where(usable, ids.gather(1, at), result)
    return result


def deleted(ids: Tensor, masked: Tensor) -> Tensor:
    """Take the masked tokens out, so that later ones move up and padding follows, ``(B, L)`` int64.

    A text that loses all its tokens becomes one unknown token, as an empty text does.
    """
    gone = masked | (ids == PADDING)
    order = gone.to(torch.uint8).sort(dim=1, stable=True).indices
    moved = torch.where(gone, PADDING, ids).gather(1, order)
    moved[:, 0] = torch.where(moved[:, 0] == PADDING, UNKNOWN, moved[:, 0])
    return moved


def replaced(ids: Tensor, masked: Tensor, how: Replacement, n_ids: int, generator: Generator) -> Tensor:
    """Return the texts with their masked tokens replaced; the u of equation (5) for texts.

    Args:
        ids: ``(B, L)`` int64.
        masked: bool ``(B, L)``, a part of :func:`real`.
        how: ``previous_kept``: :func:`previous_kept`; ``unk``: the unknown token; ``pad``: padding; ``delete``:
            :func:`deleted`; ``random_vocab``: any token of the vocabulary but the reserved ones, each alike.
        n_ids: size of the vocabulary.
        generator: source of the draws, on the device of ``ids``.
    """
    if how == "previous_kept":
        return previous_kept(ids, masked)
    if how == "delete":
        return deleted(ids, masked)
    if how == "random_vocab":
        low = min(len(RESERVED), n_ids - 1)
        draws = torch.randint(low, n_ids, ids.shape, device=ids.device, generator=generator)
        return torch.where(masked, draws, ids)
    return torch.where(masked, UNKNOWN if how == "unk" else PADDING, ids)
