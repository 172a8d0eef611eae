"""Explanations of texts: agreement with the tokens that people marked, and what deleting tokens does (ERASER).

DeYoung et al. 2020, "ERASER: a benchmark to evaluate rationalized NLP models". Letters: B texts, L tokens.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from xfeedback.explain.tokens import deleted, real
from xfeedback.metrics.faithfulness import removal_ranks

BINS = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Shares of the tokens of a text that comprehensiveness and sufficiency take."""


class Aopc(NamedTuple):
    """Areas over the perturbation curve: one value a text and share, ``(B, T)``; a text's score is the mean over T.

    Attributes:
        comprehensiveness: fall of the probability without the most relevant tokens; higher is better.
        sufficiency: its fall with these tokens alone; lower is better.
    """

    comprehensiveness: Tensor
    sufficiency: Tensor


def top(scores: Tensor, valid: Tensor, share: float) -> Tensor:
    """Mark the ceil(share n) highest of the n valid tokens of each text, the first of equal ones, bool ``(B, L)``.

    A text that has a token has at least one marked.

    >>> top(torch.tensor([[0.1, 0.9, 0.5, 2.0]]), torch.tensor([[True, True, True, False]]), 0.5)
    tensor([[False,  True,  True, False]])
    """
    count = torch.ceil(share * valid.sum(1).double() - 1e-9).clamp_min(1)
    return (removal_ranks(scores, valid) < count[:, None]) & valid


def token_f1(scores: Tensor, rationale: Tensor, valid: Tensor, share: float) -> Tensor:
    """Return the F1 score of the :func:`top` tokens against the marked ones, ``(B,)``; 0 where none is marked.

    Args:
        scores: ``(B, L)``.
        rationale: marked by people, bool ``(B, L)``.
        valid: tokens that may be chosen, bool ``(B, L)``.
        share: of the tokens that are taken; ERASER takes the mean share that people mark.
    """
    chosen, marked = top(scores, valid, share), rationale & valid
    both = (chosen & marked).sum(1).double()
    return 2 * both / (chosen.sum(1) + marked.sum(1)).clamp_min(1)


def auprc(scores: Tensor, rationale: Tensor, valid: Tensor) -> Tensor:
    """Return the area under each text's curve of precision over recall, ``(B,)``; 0 where no token is marked.

    Trapezoids between the thresholds, from precision 1 at recall 0; tokens of equal score come in together.

    Args:
        scores: ``(B, L)``.
        rationale: marked by people, bool ``(B, L)``.
        valid: tokens that count, bool ``(B, L)``.
    """
    ordered, order = scores.double().masked_fill(~valid, -torch.inf).sort(dim=1, descending=True, stable=True)
    hits = (rationale & valid).gather(1, order).double().cumsum(1)
    place = torch.arange(scores.shape[1], device=scores.device).expand_as(order)
    precision, recall = hits / (place + 1), hits / hits[:, -1:].clamp_min(1)
    last = torch.cat([ordered[:, 1:] != ordered[:, :-1], torch.ones_like(valid[:, :1])], dim=1)
    ends = torch.where(last, place, -1).cummax(1).values
    before = torch.cat([torch.full_like(ends[:, :1], -1), ends[:, :-1]], dim=1)
    at = before.clamp_min(0)
    height = torch.where(before >= 0, precision.gather(1, at), 1.0) + precision
    width = recall - torch.where(before >= 0, recall.gather(1, at), 0.0)
    return torch.where(last, width * height / 2, 0.0).sum(1)


@torch.no_grad()
def aopc(
    network: Callable[[Tensor], Tensor],
    ids: Tensor,
    scores: Tensor,
    target: Tensor,
    bins: Sequence[float] = BINS,
    *,
    ranked: Tensor | None = None,
) -> Aopc:
    """Return comprehensiveness and sufficiency: p_c(x) - p_c(x without r_t) and p_c(x) - p_c(r_t alone).

    Tokens are deleted, so later ones move up; r_t are the :func:`top` tokens of share t. Separators stay.

    Args:
        network: maps ids ``(B, L)`` to logits ``(B, N)``.
        ids: texts ``(B, L)``, 0 = padding.
        scores: relevance of the tokens ``(B, L)``.
        target: c, as ERASER has it the class predicted on the full text, ``(B,)``.
        bins: the shares t.
        ranked: the tokens that may be chosen, bool ``(B, L)``; others, as the question of a pair, stay. None: all.
    """

    def probability(x: Tensor) -> Tensor:
        return network(x).double().softmax(1).gather(1, target[:, None])[:, 0]

    whole, valid = probability(ids), real(ids) if ranked is None else real(ids) & ranked
    falls: tuple[list[Tensor], list[Tensor]] = [], []
    for share in bins:
        chosen = top(scores, valid, share)
        for fall, gone in zip(falls, (chosen, valid & ~chosen), strict=True):
            fall.append(whole - probability(deleted(ids, gone)))
    return Aopc(*(torch.stack(fall, dim=1) for fall in falls))
