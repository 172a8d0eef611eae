"""Local attention pooling: a pooling layer whose weights are an explanation (Ghavami Modegh et al. 2022, our reading).

Equations (1) to (5) are those of `docs/methods/lap.md`. Letters: B batch, C channels, K concepts, G groups of channels
that share weights, H x W input grid, h x w output grid, n cells of a window.
"""

import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfeedback.models.lap_options import PoolOptions
from xfeedback.models.scorers import build_scorer
from xfeedback.models.window import Window
from xfeedback.precision import widened

TINY = 1e-30
FLOOR = -80.0
"""Smallest exponent of the pooled form: keeps its denominator above 0 in float32."""


def window_cells(scores: Tensor, window: Window | None) -> tuple[Tensor, Tensor | None]:
    """Return scores by window ``(B, G, n, h, w)`` and which cells lie in the map ``(1, 1, n, h, w)``, None for all.

    Args:
        scores: ``(B, G, H, W)``.
        window: None: one window, the whole map (h = w = 1).
    """
    if window is None:
        return scores.flatten(2)[..., None, None], None
    cells = window.cells(scores)
    if window.padded(scores[:0]).shape[-2:] == scores.shape[-2:]:
        return cells, None
    inside = torch.ones((1, 1, *scores.shape[-2:]), dtype=torch.bool, device=scores.device)
    return cells, window.cells(inside)


def window_weights(
    scores: Tensor, alpha: Tensor | float, window: Window | None, *, p: int = 2, normalize: bool = True
) -> Tensor:
    """Return w = e / sum e with e = exp(-(alpha (m - S))^p) in each window; equations (2) to (4).

    Args:
        scores: S ``(B, G, H, W)``.
        alpha: sharpness, 0 or more; a scalar or ``(G,)``.
        window: None: one window, the whole map.
        p: 1 or 2.
        normalize: False: e / n.

    Returns:
        ``(B, G, n, h, w)``, 0 in cells outside of the map; sums to 1 over n when normalised.
    """
    cells, inside = window_cells(scores, window)
    shaped = alpha.view(1, -1, 1, 1, 1) if isinstance(alpha, Tensor) else alpha
    top = (cells if inside is None else cells.masked_fill(~inside, -torch.inf)).amax(2, keepdim=True)
    gap = top - cells
    gap = gap if inside is None else gap.masked_fill(~inside, 0.0)
    e = torch.exp(-((shaped * gap) ** p)) if p == 2 else torch.exp(-shaped * gap)
    e = e if inside is None else e * inside
    return e / e.sum(2, keepdim=True) if normalize else e / cells.shape[2]


def weighted_pool(x: Tensor, weights: Tensor, window: Window | None) -> Tensor:
    """Return Y_u = sum_i w_ui X_i ``(B, C, h, w)``; equation (5), without unfolding the features.

    Args:
        x: X ``(B, C, H, W)``.
        weights: ``(B, G, n, h, w)`` with G = 1 or C.
        window: None: one window, the whole map.
    """
    if window is None:
        return (x.flatten(2) * weights[..., 0, 0]).sum(2)[..., None, None]
    return cast(Tensor, _WeightedPool.apply(x, weights, window))


class _WeightedPool(torch.autograd.Function):
    """Add up the cells of every window, and hand gradients back, over strided views: no map of all windows is made.

    The backward pass is made of differentiable operations, so it can be differentiated again.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, window: Window) -> Tensor:
        """Return ``(B, C, h, w)``."""
        ctx.save_for_backward(x, weights)
        ctx.window = window
        total = torch.zeros_like(x[..., : weights.shape[3], : weights.shape[4]])
        for place, (out, cells) in enumerate(window.places(x.shape[2], x.shape[3])):
            total[..., *out].addcmul_(weights[:, :, place, *out], x[..., *cells])
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of ``x`` and ``weights``."""
        (x, weights), grad = ctx.saved_tensors, grads[0]
        to_x, to_weights = torch.zeros_like(x), torch.zeros_like(weights)
        for place, (out, cells) in enumerate(ctx.window.places(x.shape[2], x.shape[3])):
            to_x[..., *cells].addcmul_(weights[:, :, place, *out], grad[..., *out])
            product = x[..., *cells] * grad[..., *out]
            to_weights[:, :, place, *out] = product.sum(1, keepdim=True) if weights.shape[1] == 1 else product
        return to_x, to_weights, None


def softmax_pool(x: Tensor, scores: Tensor, alpha: Tensor | float, window: Window) -> Tensor:
    """Return p = 1 pooling as avg_pool(x e^{alpha s}) / avg_pool(e^{alpha s}), which unfolds nothing.

    For scores of a known small range: where alpha times the distance to the image's largest score passes 80, a
    window's weights level out instead of its sum vanishing.

    Args:
        x: ``(B, C, H, W)``.
        scores: ``(B, G, H, W)``, G = 1 or C.
        alpha: scalar or ``(G,)``.
        window: of the pooling.
    """
    shaped = alpha.view(1, -1, 1, 1) if isinstance(alpha, Tensor) else alpha
    e = torch.exp((shaped * (scores - scores.detach().amax((2, 3), keepdim=True))).clamp_min(FLOOR))
    size = (window.kernel, window.stride, window.padding, window.ceil_mode)
    return F.avg_pool2d(x * e, *size) / F.avg_pool2d(e, *size)


@dataclass(frozen=True, kw_only=True)
class SiteMaps:
    """What one site did with a batch.

    Attributes:
        scores: S ``(B, K, H, W)``.
        weights: w ``(B, G, n, h, w)``.
        window: None for a global site.
        per_channel: there is a score map for each channel.
    """

    scores: Tensor
    weights: Tensor
    window: Window | None
    per_channel: bool = False


class LAP(nn.Module):
    """Pool by attention inside each window; equations (1) to (5) of `docs/methods/lap.md`.

    Args:
        channels: C of the input ``(B, C, H, W)``.
        options: form of the weights.
        concepts: K, how many score maps; C for ``merge=channel``.
        window: None: pool the whole map, output ``(B, C, 1, 1)``.
    """

    def __init__(
        self, channels: int, options: PoolOptions | None = None, *, concepts: int = 1, window: Window | None = None
    ) -> None:
        super().__init__()
        options = options or PoolOptions()
        self.channels, self.options, self.window = channels, options, window
        self.concepts = channels if options.merge == "channel" else concepts
        self.scorer = build_scorer(channels, self.concepts, options)
        sizes = {"layer": 1, "concept": self.concepts, "channel": channels}
        start = _inverse(options.alpha_init or 0.0, options.alpha_param or "square")
        raw = torch.full((sizes[options.alpha_scope],), start)
        if options.alpha_trainable:
            self.raw_alpha = nn.Parameter(raw)
        else:
            self.register_buffer("raw_alpha", raw)
        self.concat = _mean_of_concepts(channels, concepts) if options.merge == "per_concept_concat" else None
        if options.freeze_scorer and self.scorer is not None:
            self.scorer.requires_grad_(requires_grad=False)
        self.sink: Callable[[SiteMaps], None] | None = None
        self.kept: Tensor | None = None

    @property
    def alpha(self) -> Tensor:
        """Sharpness, 0 or more: ``(1,)``, ``(K,)`` or ``(C,)``."""
        raw = widened(cast(Tensor, self.raw_alpha))
        if self.options.alpha_param == "softplus":
            return F.softplus(raw)
        return raw.clamp_min(0) if self.options.alpha_param == "clamp" else raw.abs()

    def forward(self, x: Tensor) -> Tensor:
        """Return Y ``(B, C, h, w)``; weights are float32 or wider whatever the precision of ``x``."""
        scores = x if self.scorer is None else self.scorer(x)
        with torch.autocast(x.device.type, enabled=False):
            wide, s = widened(x), widened(scores.detach() if self.options.detach_scores else scores)
            y = self._pooled(wide, s)
            if self.sink is not None:
                self.sink(self._maps(widened(scores), self._weights(s)))
        return (y + self.options.eps_out if self.options.eps_out else y).to(x.dtype)

    def _maps(self, scores: Tensor, weights: Tensor) -> SiteMaps:
        per_channel = self.options.merge == "channel"
        return SiteMaps(scores=scores, weights=weights, window=self.window, per_channel=per_channel)

    def _pooled(self, x: Tensor, scores: Tensor) -> Tensor:
        options, window = self.options, self.window
        if options.channel_bug and window is not None:
            return self._with_channel_bug(x, window)
        bounded = self.scorer is not None and options.score_act == "sigmoid" and options.normalize
        pooled = options.p == 1 and bounded and window is not None and self.kept is None
        if pooled and options.merge in ("shared_max", "channel"):
            return softmax_pool(x, self._driving(scores), self.alpha, cast(Window, window))
        if self.concat is not None:
            weights = self._weights(scores)
            parts = [weighted_pool(x, weights[:, k : k + 1], window) for k in range(self.concepts)]
            return self.concat(torch.cat(parts, 1))
        weights = self._weights(scores)
        if options.merge == "per_concept_mean":
            weights = weights.mean(1, keepdim=True)
        elif options.merge == "channel_groups":
            weights = weights[:, torch.arange(self.channels, device=x.device) * self.concepts // self.channels]
        return weighted_pool(x, weights, window)

    def _weights(self, scores: Tensor) -> Tensor:
        p, normalize = self.options.p, self.options.normalize
        weights = window_weights(self._driving(scores), self.alpha, self.window, p=p, normalize=normalize)
        if self.kept is None:
            return weights
        left = weights * window_cells(self.kept.to(weights.dtype), self.window)[0]
        return left * (weights.sum(2, keepdim=True) / left.sum(2, keepdim=True).clamp_min(TINY))

    def _driving(self, scores: Tensor) -> Tensor:
        return scores.amax(1, keepdim=True) if self.options.merge == "shared_max" else scores

    def _with_channel_bug(self, x: Tensor, window: Window) -> Tensor:
        """Compare entry o C + c of a window with the maximum of channel floor((o C + c) / n)."""
        cells = window.cells(x)
        n, channels = cells.shape[2], torch.arange(self.channels, device=x.device)
        top = cells.amax(2)
        tops = torch.stack([top[:, (place * self.channels + channels) // n] for place in range(n)], 2)
        e = torch.exp(-((self.alpha.view(1, -1, 1, 1, 1) * (tops - cells)) ** 2))
        return (e * cells).mean(2)

    def extra_repr(self) -> str:
        """Say what the layer pools."""
        return f"{self.channels}, concepts={self.concepts}, window={self.window or 'global'}"


def sites(network: nn.Module) -> dict[str, LAP]:
    """Return the attention-pooling layers of a network by dotted name, in the order in which they are registered."""
    return {name: module for name, module in network.named_modules() if isinstance(module, LAP)}


@contextmanager
def returned_maps(network: nn.Module) -> Generator[dict[str, list[SiteMaps]]]:
    """Collect each site's scores and weights, one entry a call, during forwards inside the block; no hooks.

    Sites stand in the order in which they ran.
    """
    found: dict[str, list[SiteMaps]] = {}
    layers = sites(network)

    def keep(name: str) -> Callable[[SiteMaps], None]:
        return lambda maps: found.setdefault(name, []).append(maps)

    for name, layer in layers.items():
        layer.sink = keep(name)
    try:
        yield found
    finally:
        for layer in layers.values():
            layer.sink = None


@contextmanager
def only_cells(layer: LAP, kept: Tensor) -> Generator[None]:
    """Let a site pool only some cells inside the block; what its other cells weighed goes to these in proportion.

    Args:
        layer: the site.
        kept: cells of its input map, bool ``(B, 1, H, W)``; a window without any pools to 0.
    """
    layer.kept = kept
    try:
        yield
    finally:
        layer.kept = None


def _inverse(alpha: float, kind: str) -> float:
    return alpha + math.log(-math.expm1(-alpha)) if kind == "softplus" else alpha


def _mean_of_concepts(channels: int, concepts: int) -> nn.Conv2d:
    conv = nn.Conv2d(channels * concepts, channels, 1, bias=False)
    with torch.no_grad():
        conv.weight.copy_((torch.eye(channels) / concepts).repeat(1, concepts)[:, :, None, None])
    return conv
