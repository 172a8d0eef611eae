"""Changing a tensor where it matters most: from relevance to weights, and from weights to a challenged tensor.

Equations (3) to (5) of `docs/methods/challenger.md`. Letters: B samples; h any tensor ``(B, ...)``; R its relevance and
r the weights made of it, of h's shape or, when summed over axes, with size 1 there.
"""

from typing import Literal

import torch
from torch import Generator, Tensor

Granularity = Literal["element", "position", "channel"]
Select = Literal["soft", "signed", "top_k", "quantile"]
Transform = Literal["attenuate", "amplify", "symmetric", "subtract", "top_k_zero", "top_k_noise", "mean", "swap"]
Strength = Literal["uniform", "fixed", "levels10", "ramp"]
Source = Literal["real", "shuffled", "shuffled_active", "random_place", "uniform", "other_sample", "init_frozen"]
EPS = 1e-9


def summed(relevance: Tensor, granularity: Granularity, axis: int) -> Tensor:
    """Return the relevance of single elements, of positions (pixels, tokens, time steps), or of channels.

    Args:
        relevance: R ``(B, ...)``.
        granularity: what gets one weight.
        axis: where the features of a position lie: 1 in images and maps of convolutions, -1 in sequences.
    """
    if granularity == "element" or relevance.ndim == 2:
        return relevance
    axis %= relevance.ndim
    axes = [axis] if granularity == "position" else [a for a in range(1, relevance.ndim) if a != axis]
    return relevance.sum(axes, keepdim=True)


def some(marked: Tensor, granularity: Granularity, axis: int) -> Tensor:
    """Return whether any element that shares a weight is marked, bool; arguments and shapes as in :func:`summed`."""
    return marked if granularity == "element" else summed(marked.long(), granularity, axis) > 0


def weights(relevance: Tensor, select: Select, share: float, valid: Tensor | None = None) -> Tensor:
    """Return r of each sample; equation (3) for ``soft``.

    Args:
        relevance: R, 0 where it does not count.
        select: ``soft`` r = R^+ / max R^+; ``signed`` r = R / max |R|; ``top_k`` 1 at the most relevant share, no more
            than are positive, the first of equal ones; ``quantile`` 1 where R is positive and above the sample's
            (1 - share) quantile.
        share: of the elements that count, for ``top_k`` and ``quantile``.
        valid: which elements count, of R's shape; None: all.

    Returns:
        In [0, 1], or [-1, 1] for ``signed``.

    >>> weights(torch.tensor([[2.0, 1.0, 0.0, -4.0]]), "soft", 0.1)
    tensor([[1.0000, 0.5000, 0.0000, 0.0000]])
    """
    flat = relevance.flatten(1)
    if select == "soft":
        positive = flat.clamp_min(0)
        return (positive / (positive.amax(1, keepdim=True) + EPS)).view_as(relevance)
    if select == "signed":
        return (flat / (flat.abs().amax(1, keepdim=True) + EPS)).view_as(relevance)
    counts = torch.ones_like(flat, dtype=torch.bool) if valid is None else valid.flatten(1)
    n = counts.sum(1, keepdim=True)
    if select == "top_k":
        most = max(1, int(share * flat.shape[1]))
        top, where = flat.topk(most, 1)
        kept = torch.arange(most, device=flat.device) < (share * n).long().clamp_min(1)
        chosen = torch.zeros_like(flat).scatter(1, where, ((top > 0) & kept).to(flat.dtype))
        return chosen.view_as(relevance)
    ranked = flat.masked_fill(~counts, torch.inf).sort(1).values
    place = (n - 1).clamp_min(0) * (1 - share)
    low, high = (ranked.gather(1, at.long()) for at in (place.floor(), place.ceil()))
    return ((flat > 0) & (flat > low + (high - low) * (place - place.floor()))).to(flat.dtype).view_as(relevance)


def strengths(u: Tensor, kind: Strength, s_min: float, s_max: float, risen: float) -> Tensor:
    """Return s of each sample; equation (4).

    Args:
        u: uniform draws in [0, 1) ``(B,)``.
        kind: ``uniform`` in [s_min, s_max]; ``levels10``: one of ten levels from 0 to s_max; ``fixed``: s_max;
            ``ramp``: the share ``risen`` of s_max.
        s_min: least.
        s_max: largest.
        risen: how far the ramp has come, in [0, 1].
    """
    if kind == "uniform":
        return s_min + (s_max - s_min) * u
    if kind == "levels10":
        return (10 * u).floor().clamp_max(9) * s_max / 9
    return torch.full_like(u, s_max * (risen if kind == "ramp" else 1.0))


def challenged(
    h: Tensor, r: Tensor, s: Tensor, transform: Transform, *, generator: Generator, valid: Tensor | None = None
) -> Tensor:
    """Return h'; equation (5) for ``attenuate``. Gradients flow through h, never through r or s.

    Args:
        h: ``(B, ...)``.
        r: weights, broadcast to h.
        s: strength of each sample ``(B,)``, not used by the hard transforms.
        transform: ``attenuate`` h (1 - s r); ``amplify`` h (1 + s r); ``symmetric`` either, at random for each sample;
            ``subtract`` h - 2 s sd r with the sample's standard deviation; where r is 1 ``top_k_zero`` puts 0, ``mean``
            the sample's mean (of the channel in maps), ``swap`` another sample's values, ``top_k_noise`` a uniform draw
            between the sample's extremes (of the channel in maps).
        generator: of all draws, on h's device.
        valid: which elements are no padding, broadcast to h; the rest stays as it is.
    """
    s = s.view(-1, *[1] * (h.ndim - 1)).to(h.dtype)
    r = r.to(h.dtype) if valid is None else r.to(h.dtype) * valid
    if transform == "attenuate":
        return h * (1 - s * r)
    if transform == "amplify":
        return h * (1 + s * r)
    if transform == "symmetric":
        sign = torch.randint(0, 2, s.shape, device=h.device, generator=generator) * 2 - 1
        return h * (1 + s * sign * r)
    if transform == "subtract":
        return h - 2 * s * _deviation(h.detach(), valid) * r
    return torch.where(r > 0, _replacement(h.detach(), transform, generator, valid), h)


def _deviation(h: Tensor, valid: Tensor | None) -> Tensor:
    counts = torch.ones_like(h) if valid is None else valid.to(h.dtype).expand_as(h)
    axes = list(range(1, h.ndim))
    n = counts.sum(axes, keepdim=True).clamp_min(1)
    mean = (h * counts).sum(axes, keepdim=True) / n
    return (((h - mean) * counts).square().sum(axes, keepdim=True) / n).sqrt()


def _replacement(h: Tensor, transform: Transform, generator: Generator, valid: Tensor | None) -> Tensor:
    axes = list(range(2 if h.ndim == 4 else 1, h.ndim))
    if transform == "top_k_zero":
        return torch.zeros_like(h)
    if transform == "mean":
        return _mean(h, axes, valid).expand_as(h)
    if transform == "swap":
        return h[another(len(h), generator)]
    below, above = (h, h) if valid is None else (h.where(valid, end) for end in (torch.inf, -torch.inf))
    low, high = below.amin(axes, keepdim=True), above.amax(axes, keepdim=True)
    return low + (high - low) * torch.rand(h.shape, device=h.device, dtype=h.dtype, generator=generator)


def _mean(h: Tensor, axes: list[int], valid: Tensor | None) -> Tensor:
    if valid is None:
        return h.mean(axes, keepdim=True)
    counts = valid.to(h.dtype).expand_as(h)
    return (h * counts).sum(axes, keepdim=True) / counts.sum(axes, keepdim=True).clamp_min(1)


def another(n: int, generator: Generator) -> Tensor:
    """Return for each of ``n`` samples a random other one ``(n,)``; a single one has no other."""
    order = torch.randperm(n, device=generator.device, generator=generator)
    return torch.empty_like(order).scatter(0, order, order.roll(1))


def permuted(r: Tensor, among: Tensor, generator: Generator) -> Tensor:
    """Return r with its values permuted within each sample over the elements ``among``; the others stay.

    Args:
        r: ``(B, ...)``.
        among: bool, shape of r.
        generator: of the draws, on r's device.
    """
    flat, chosen = r.flatten(1), among.flatten(1)
    draws = torch.rand(flat.shape, device=r.device, generator=generator)
    places = torch.argsort((~chosen).to(torch.uint8), dim=1, stable=True)
    order = torch.argsort(draws + 2 * ~chosen, dim=1)
    inside = torch.arange(flat.shape[1], device=r.device) < chosen.sum(1, keepdim=True)
    return flat.scatter(1, places, flat.gather(1, torch.where(inside, order, places))).view_as(r)


def at_random(r: Tensor, among: Tensor, select: Select, generator: Generator) -> Tensor:
    """Return weights at random places: as many as r has where it is hard, else uniform draws in r's range.

    Args:
        r: the real weights ``(B, ...)``.
        among: where weights may fall, bool of r's shape.
        select: how r was made.
        generator: of the draws, on r's device.
    """
    if select in ("top_k", "quantile"):
        return permuted(r, among, generator)
    draws = torch.rand(r.shape, device=r.device, dtype=r.dtype, generator=generator)
    return (2 * draws - 1 if select == "signed" else draws) * among


def matched(h: Tensor, control: Tensor, real: Tensor) -> Tensor:
    """Return h + k (control - h), k such that each sample is moved as far as from h to ``real`` (Euclidean).

    Args:
        h: ``(B, ...)``.
        control: h changed by a control.
        real: h changed by the real weights, at the same strength.
    """
    far, wanted = (t.detach().sub(h.detach()).flatten(1).norm(dim=1) for t in (control, real))
    k = torch.where(far > 0, wanted / torch.where(far > 0, far, 1.0), 0.0)
    return h + k.view(-1, *[1] * (h.ndim - 1)) * (control - h)


def controlled(
    r: Tensor, source: Source, select: Select, active: Tensor, counts: Tensor, *, generator: Generator
) -> Tensor:
    """Return the weights that a control puts in the place of r.

    Args:
        r: the real weights ``(B, ...)``.
        source: ``shuffled`` within each sample; ``shuffled_active``: among elements that are not 0; ``random_place``:
            :func:`at_random` among these; ``uniform``: the sample's mean everywhere; ``other_sample``: another
            sample's; anything else: r itself.
        select: how r was made.
        active: elements that are not 0, bool of r's shape.
        counts: elements that are no padding, bool of r's shape.
        generator: of the draws, on r's device.
    """
    if source == "shuffled":
        return permuted(r, counts, generator)
    if source == "shuffled_active":
        return permuted(r, active, generator)
    if source == "random_place":
        return at_random(r, active, select, generator)
    if source == "other_sample":
        return r[another(len(r), generator)]
    if source == "uniform":
        axes = list(range(1, r.ndim))
        return (r * counts).sum(axes, keepdim=True) / counts.sum(axes, keepdim=True).clamp_min(1) * counts
    return r
