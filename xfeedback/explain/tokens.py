"""Choosing, replacing and deleting tokens of texts by their saliency (saliency guided training, Ismail et al. 2021).

Letters: B texts, L tokens. Ids 0, 1 and 2 are padding, the unknown token and the separator of two segments; only
tokens that are neither padding nor separators are ever chosen.
"""

from typing import Literal

import torch
from torch import Generator, Tensor

from xfeedback.data.text import PADDING, RESERVED, SEPARATOR, UNKNOWN
from xfeedback.explain.masking import Ties

Replacement = Literal["previous_kept", "unk", "pad", "delete", "random_vocab"]


def real(ids: Tensor) -> Tensor:
    """Return where the tokens are that may be chosen, bool ``(B, L)``: no padding, no separator."""
    return (ids != PADDING) & (ids != SEPARATOR)


def share(count: Tensor, fraction: float, *, at_least_one: bool) -> Tensor:
    """Return k = int(fraction n) of each text, or max(1, int(fraction n)), never more than n, ``(B,)`` int64.

    Args:
        count: n, ``(B,)`` int64.
        fraction: in [0, 1].
        at_least_one: whether k is at least 1 where n is.
    """
    k = (fraction * count.double()).long()
    return torch.minimum(k.clamp_min(1) if at_least_one else k, count)


def lowest_of(ranking: Tensor, allowed: Tensor, k: Tensor, *, ties: Ties = "exact") -> Tensor:
    """Mark the ``k[b]`` allowed positions with the smallest ranking of each text; equation (4) with k per text.

    Args:
        ranking: ``(B, L)``.
        allowed: bool ``(B, L)``; other positions are never marked.
        k: how many, ``(B,)`` int64, 0 <= k <= number of allowed positions.
        ties: ``exact``: the first of equal values win; ``threshold``: every position equal to the k-th smallest.

    Returns:
        bool ``(B, L)``.
    """
    ordered = torch.where(allowed, ranking, torch.inf).sort(dim=1, stable=True)
    if ties == "threshold":
        threshold = ordered.values.gather(1, (k - 1).clamp_min(0)[:, None])
        return (ranking <= threshold) & allowed & (k > 0)[:, None]
    place = torch.arange(ranking.shape[1], device=ranking.device).expand_as(ranking)
    marks = torch.zeros_like(allowed)
    return marks.scatter_(1, ordered.indices, place < k[:, None]) & allowed


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
