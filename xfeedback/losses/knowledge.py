"""Losses on score maps: what is known of them in general, and what an expert marks.

Equations (6) to (14) of `docs/methods/lap.md`. Letters: S scores in (0, 1), ``(B, K, h, w)``, one map a class where K
is the number of classes; S_y ``(B, h, w)`` the map of the label; y labels ``(B,)``. Each function returns one value a
sample ``(B,)``; the caller chooses who counts.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from xfeedback.precision import widened

Presence = Literal["top", "max", "noisy_or", "attention"]
EPS = 1e-6
MANY = 40
"""Above this many classes the absent ones together weigh as much as the present one."""


def top_mean(scores: Tensor, share: float = 0.05, region: Tensor | None = None) -> Tensor:
    """Return the mean of the largest ``share`` of the cells, at least one, of each map.

    Args:
        scores: ``(..., h, w)``.
        share: in (0, 1].
        region: bool, same shape: only these cells; a map without any gives 0.

    Returns:
        ``(...)``.
    """
    cells = scores.flatten(-2)
    inside = torch.ones_like(cells, dtype=torch.bool) if region is None else region.flatten(-2)
    count = inside.sum(-1, keepdim=True)
    kept = (share * count + EPS).floor().clamp_min(1)
    most = max(int(share * cells.shape[-1] + EPS), 1)
    largest = cells.masked_fill(~inside, -torch.inf).topk(most, -1).values
    chosen = torch.arange(most, device=cells.device) < torch.minimum(kept, count)
    return largest.masked_fill(~chosen, 0.0).sum(-1) / kept[..., 0]


def presence(scores: Tensor, rule: Presence = "top", share: float = 0.05) -> Tensor:
    """Return P ``(B, K)``, how surely a concept is somewhere in the image; equation (6).

    ``top``: mean of the largest cells; ``max``; ``noisy_or``: 1 - prod (1 - S); ``attention``: sum softmax(S) S.
    """
    cells = scores.flatten(2)
    if rule == "top":
        return top_mean(scores, share)
    if rule == "max":
        return cells.amax(2)
    if rule == "noisy_or":
        return -torch.expm1(torch.log1p(-cells.clamp_max(1 - EPS)).sum(2))
    return (cells.softmax(2) * cells).sum(2)


def clue_loss(found: Tensor, y: Tensor) -> Tensor:
    """Return sum_k BCE(P_k, 1[k = y]); absent classes weigh 1/K each when there are more than 40; equation (7).

    Args:
        found: P ``(B, K)``.
        y: ``(B,)``.
    """
    p = found.clamp(EPS, 1 - EPS)
    present = F.one_hot(y, p.shape[1]).to(p.dtype)
    absent = (1 - present) / (p.shape[1] if p.shape[1] > MANY else 1)
    return -(present * p.log() + absent * torch.log1p(-p)).sum(1)


def uniq_loss(scores: Tensor, y: Tensor) -> Tensor:
    """Return mean_i sum_{k != y} S_yi S_ki ``(B,)``: no other class claims the cells of the label; equation (8).

    Args:
        scores: S ``(B, K, h, w)``.
        y: ``(B,)``.

    >>> uniq_loss(torch.tensor([[[[0.5, 1.0]], [[1.0, 0.0]]]]), torch.tensor([0]))
    tensor([0.2500])
    """
    own = of_class(scores, y)
    others = scores.sum(1) - own
    return (own * others).mean((1, 2))


def ratio_loss(
    scores: Tensor, present: Tensor, bounds: tuple[float, float], *, threshold: float = 0.5, temperature: float = 0.1
) -> Tensor:
    """Return sum_k of how far the active share of each map lies from where it may lie; equation (9).

    r_k = mean_i sigm((S_ki - threshold) / temperature); present: relu(a - r)^2 + relu(r - b)^2; absent: r^2.

    Args:
        scores: ``(B, K, h, w)``.
        present: bool ``(B, K)``.
        bounds: (a, b), the least and the largest share of a present class.
        threshold: score of an active cell.
        temperature: softness of the threshold.
    """
    r = torch.sigmoid((scores - threshold) / temperature).mean((2, 3))
    low, high = bounds
    inside = (low - r).relu().square() + (r - high).relu().square()
    return torch.where(present, inside, r.square()).sum(1)


def white_loss(own: Tensor, region: Tensor, *, level: float = 0.7, share: float = 0.05) -> Tensor:
    """Return relu(level - top_{i in M} S_y)^2 + mean_{i not in M} S_yi^2; equation (10).

    Args:
        own: S_y ``(B, h, w)``.
        region: M, where the right evidence lies, bool ``(B, h, w)``.
        level: how high the evidence must score.
        share: of the region's cells that must.
    """
    outside = (~region).to(own.dtype)
    stray = (own.square() * outside).sum((1, 2)) / outside.sum((1, 2)).clamp_min(1)
    return (level - top_mean(own, share, region)).relu().square() + stray


def black_loss(scores: Tensor, forbidden: Tensor) -> Tensor:
    """Return mean_{i in F} max_k S_ki^2; equation (11).

    Args:
        scores: ``(B, K, h, w)``.
        forbidden: F, where evidence is wrong, bool ``(B, h, w)``.
    """
    inside = forbidden.to(scores.dtype)
    return (scores.amax(1).square() * inside).sum((1, 2)) / inside.sum((1, 2)).clamp_min(1)


def box_mil_loss(own: Tensor, region: Tensor) -> Tensor:
    """Return the tightness of a box as multiple-instance learning (after Hsu et al. 2019); equation (12).

    Each row and column that crosses the box of M holds an active cell in it, -log max S_y; outside there is none,
    -log (1 - S_y). Both are means.

    Args:
        own: S_y ``(B, h, w)``.
        region: M, bool ``(B, h, w)``; its bounding box counts.
    """
    rows, columns = region.any(2), region.any(1)
    box = _span(rows)[:, :, None] & _span(columns)[:, None, :]
    s = (own * box).clamp(EPS, 1 - EPS)
    lines = torch.cat([s.amax(2), s.amax(1)], 1)
    crossing = torch.cat([box.any(2), box.any(1)], 1).to(own.dtype)
    tight = -(lines.log() * crossing).sum(1) / crossing.sum(1).clamp_min(1)
    outside = (~box).to(own.dtype)
    stray = -(torch.log1p(-own.clamp_max(1 - EPS)) * outside).sum((1, 2)) / outside.sum((1, 2)).clamp_min(1)
    return tight + stray


def consistency_loss(finer: Tensor, coarser: Tensor) -> Tensor:
    """Return mean |avgpool(S^l) - S^{l+1}|: neighbouring sites agree; equation (13).

    Args:
        finer: S^l ``(B, K, H, W)``.
        coarser: S^{l+1} ``(B, K, h, w)``.
    """
    size = (coarser.shape[2], coarser.shape[3])
    return (F.adaptive_avg_pool2d(finer, size) - coarser).abs().mean((1, 2, 3))


def distillation_loss(logits: Tensor, reference: Tensor) -> Tensor:
    """Return KL(softmax(reference) || softmax(logits)), the reference a constant; equation (14).

    Args:
        logits: ``(B, N)``.
        reference: logits of the network before the change ``(B, N)``.
    """
    known = widened(reference).detach().log_softmax(1)
    return (known.exp() * (known - widened(logits).log_softmax(1))).sum(1)


def of_class(scores: Tensor, y: Tensor) -> Tensor:
    """Return S_y ``(B, h, w)``; the only map where there is but one."""
    if scores.shape[1] == 1:
        return scores[:, 0]
    return scores.gather(1, y[:, None, None, None].expand(-1, 1, *scores.shape[2:]))[:, 0]


def on_grid(mask: Tensor, size: tuple[int, int], rule: Literal["area50", "any"] = "area50") -> Tensor:
    """Bring a region to a site's grid: cells at least half covered, or touched at all.

    Args:
        mask: bool ``(B, H, W)``.
        size: ``(h, w)``.
        rule: which cells belong to it.

    Returns:
        Bool ``(B, h, w)``.
    """
    covered = F.adaptive_avg_pool2d(mask[:, None].float(), size)[:, 0]
    return covered >= 0.5 if rule == "area50" else covered > 0


def grown(mask: Tensor, margin: int) -> Tensor:
    """Widen a region by so many pixels to each side, corners too.

    Args:
        mask: bool ``(B, H, W)``.
        margin: pixels, 0 or more.

    Returns:
        Bool ``(B, H, W)``.
    """
    return F.max_pool2d(mask[:, None].float(), 2 * margin + 1, 1, margin)[:, 0] > 0 if margin else mask


def _span(marked: Tensor) -> Tensor:
    """Everything between the first and the last mark, ``(B, n)`` bool."""
    counts = marked.long().cumsum(1)
    after = marked.long().flip(1).cumsum(1).flip(1)
    return (counts > 0) & (after > 0)
