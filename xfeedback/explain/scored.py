"""Explanations of a trained network as maps over the input's positions, for scoring and for pictures.

Positions are the pixels of images, the cells of series, the tokens of texts. What each explainer does by default, and
where its numbers come from: `docs/explainers`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from xfeedback.errors import UserError
from xfeedback.explain.attribution import enlarged, integrated_gradients, occlusion
from xfeedback.explain.cams import CAMS, score_cam
from xfeedback.explain.deeplift import COMPLETE, ExplainerInvalid, deep_shap, deeplift, gap, refuse_unruled
from xfeedback.explain.gradient import gradient
from xfeedback.explain.guided import guided_backprop, refuse_unguided
from xfeedback.explain.lap_maps import METHODS, MapMethod, lap_map
from xfeedback.explain.lime_maps import lime_map
from xfeedback.explain.lrp import relevance
from xfeedback.explain.outputs import explained_output
from xfeedback.explain.sampled import gradient_shap, input_gradient, smoothgrad
from xfeedback.kinds import WORDS, Kind
from xfeedback.models.lap import sites
from xfeedback.models.running import tapped
from xfeedback.models.text_base import TextNetwork, real_tokens
from xfeedback.seeding import generator

SLOW = ("integrated_gradients", "occlusion", "lime", "score_cam")
"""Explainers that take dozens of passes."""
LAP: dict[str, MapMethod] = {f"lap_{method}": method for method in METHODS}
"""Explanations that a network carries; see :func:`xfeedback.explain.lap_maps.lap_map`."""
LRP = {f"lrp_{rules}": rules for rules in ("epsilon", "zplus", "gamma", "alpha_beta", "composite")}
"""Layer-wise relevance propagation by its rules; see :data:`xfeedback.explain.lrp.COMPOSITES`."""
PROPAGATED: dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    "guided_backprop": guided_backprop,
    **{name: partial(relevance, rules=rules) for name, rules in LRP.items()},
}
"""Explanations by another backward pass than the derivative's."""
NEED_LAYER = (*CAMS, "score_cam", "occlusion")
"""Explainers that look at a feature map, or take its grid."""
IMAGES_ONLY = (*NEED_LAYER, "centre", *LAP)
GRADIENTS = ("gradient", "smoothgrad", "guided_backprop")
"""Explainers whose sign means nothing across the dimensions of an embedding."""
WITH_BACKGROUND = ("gradient_shap", "deep_shap")
FLOORS = ("uniform", "random", "centre")
"""Maps that know nothing of the network."""
NOISY_COPIES = {"image": 5, "series": 5, "text": 25}
"""Copies of SmoothGrad; the sd of its noise is 1, of a text a tenth of its embeddings' sd."""
ANEW = 1 << 32
"""What the number of a batch rises by each time that its maps are drawn anew."""
SHAP_DRAWS, SHAP_NOISE = 5, 0.09
"""Baselines a sample of GradientSHAP and DeepSHAP, and the sd of the noise of the former."""


class _Pass(NamedTuple):
    """One forward pass: its input, the explained class, its output ``(B,)`` and the features of the layer."""

    x: Tensor
    target: Tensor
    output: Tensor
    features: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What the maps are maps of.

    Attributes:
        network: in evaluation mode.
        layer: explained layer of class activation maps; its grid is that of the occlusion. None for series and texts.
        baseline: of integrated gradients and DeepLIFT, normalised as the inputs are, broadcasts to one input
            (of texts: its embeddings); None: a draw from U(0, 1) for each input.
        kind: of the inputs.
        background: inputs ``(M, ...)`` that GradientSHAP and DeepSHAP draw their baselines from, normalised; None:
            draws from U(0, 1).
        channels: magnitudes are taken before or after the mean over the channels of images.
        blank: what masked cells of series become, one series without evidence, normalised ``(T, F)``; or None.
        mean: what removed positions become where they take the mean, the mean training input, as ``baseline``; None:
            the baseline.
    """

    network: nn.Module
    layer: str | None
    baseline: Tensor | None
    kind: Kind = "image"
    background: Tensor | None = None
    channels: Literal["abs_then_mean", "mean_then_abs"] = "abs_then_mean"
    blank: Tensor | None = None
    mean: Tensor | None = None

    def entered(self, x: Tensor) -> Tensor:
        """Return what explanations are taken at, ``(B, ...)``: the input, of texts its embeddings, detached."""
        if self.kind != "text" or x.is_floating_point():
            return x.detach()
        with torch.no_grad():
            return cast(TextNetwork, self.network).embed(x)

    def maps(
        self, names: Iterable[str], x: Tensor, number: int = 0, target: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Explain the logit of a class; one forward pass serves class activation maps and gradient.

        Args:
            names: ``grad_cam``, ``grad_cam_plus_plus``, ``layer_cam``, ``hires_cam`` (where it is positive),
                ``score_cam`` and ``activation_norm`` (resized bilinearly to the input); magnitudes of ``gradient``,
                ``guided_backprop``, ``integrated_gradients`` (50 steps), ``smoothgrad``, ``deeplift``,
                ``gradient_shap``, ``deep_shap`` and ``lrp_<rules>``; ``occlusion`` (a cell, by the mean colour; where
                the logit falls); ``lime`` (where segments speak for the class); and floors that know nothing of the
                network: ``uniform``, ``random``, ``centre`` (a Gaussian, sd a quarter of each side).
            x: inputs ``(B, ...)``, of texts their ids.
            number: of the batch, for draws.
            target: explained class ``(B,)``; None: the predicted one.

        Returns:
            Maps by name, non-negative and detached, ``(B, H, W)``, ``(B, T, F)`` or ``(B, L)``, and logits ``(B, N)``.
        """
        layers = [] if self.layer is None else [self.layer]
        with torch.enable_grad(), tapped(self.network, layers) as features:
            x = self.entered(x).requires_grad_()
            logits = self.network(x)
            explained = logits.argmax(1) if target is None else target
            output = explained_output(logits, explained, "logit")
        seen = None if self.layer is None else features[self.layer]
        found = {name: self._map(name, _Pass(x, explained, output, seen), number).detach() for name in names}
        return found, logits.detach()

    def _map(self, name: str, seen: "_Pass", number: int) -> Tensor:
        if name == "gradient":
            return self.reduced(gradient(seen.output, seen.x), sized=True)
        x = seen.x.detach()
        if name in FLOORS:
            return floor_map(name, self.reduced(x), number)
        if name == "lime" or name in LAP:
            return self._of_class(name, x, seen.target)
        if name not in NEED_LAYER:
            return self.reduced(self.attribution(name, x, seen.target, number), sized=name in GRADIENTS)
        size, features = (x.shape[2], x.shape[3]), cast(Tensor, seen.features)
        if name == "occlusion":
            falls = occlusion(self.network, x, seen.target, (features.shape[2], features.shape[3]))
            return enlarged(falls.relu(), size)
        if name == "score_cam":
            cam = score_cam(self.network, x, seen.target, features.detach())
        else:
            cam = CAMS[name](seen.output, features)
        return F.interpolate(cam.relu()[:, None], size, mode="bilinear", align_corners=False)[:, 0]

    def _of_class(self, name: str, x: Tensor, target: Tensor) -> Tensor:
        if name == "lime":
            return lime_map(self.network, x, target, text=self.kind == "text")
        return lap_map(self.network, x, LAP[name], target=target)

    def attribution(self, name: str, x: Tensor, target: Tensor, number: int = 0) -> Tensor:
        """Return what an explainer gives to each entry of the input, shape of ``x``.

        Args:
            name: ``integrated_gradients``, ``smoothgrad``, ``deeplift``, ``deeplift_functional``, ``gradient_shap``,
                ``deep_shap``, ``guided_backprop`` or one of :data:`LRP`.
            x: as :meth:`entered` returns it.
            target: explained class ``(B,)``.
            number: of the batch, for draws.
        """
        if name in PROPAGATED:
            return PROPAGATED[name](self.network, x, target)
        alike = name == "smoothgrad" and self.kind == "text"
        draws = generator(x.device, 0, "explain", name, number // ANEW if alike else number)
        if name == "smoothgrad":
            return self._smoothgrad(x, target, draws)
        if name == "integrated_gradients":
            return integrated_gradients(self.network, x, target, self._start(x, number))
        if name == "deeplift_functional":
            return (x - self._start(x, number)) * input_gradient(self.network, x, target)
        if name == "deeplift":
            return deeplift(self.network, x, target, self._start(x, number))
        return self._shap(name, x, target, draws)

    def _smoothgrad(self, x: Tensor, target: Tensor, draws: Generator) -> Tensor:
        copies, text = NOISY_COPIES[self.kind], self.kind == "text"
        sd = self._noise(x, 0.1 * _deviations(x)) if text else 1.0
        squared = self.kind == "image"
        return smoothgrad(self.network, x, target, draws, sd=sd, copies=copies, squared=squared, alike=text)

    def _shap(self, name: str, x: Tensor, target: Tensor, draws: Generator) -> Tensor:
        baselines = torch.stack([self._drawn(x, draws) for _ in range(SHAP_DRAWS)])
        if name == "deep_shap":
            return deep_shap(self.network, x, target, baselines)
        return gradient_shap(self.network, x, target, baselines, draws, sd=self._noise(x, SHAP_NOISE))

    def reduced(self, values: Tensor, *, sized: bool = False) -> Tensor:
        """Return one magnitude a position from one value an entry ``(B, ...)``.

        Images: mean over the channels; texts: magnitude of the sum over the embedding, or where ``sized`` its
        Euclidean norm, as of gradients, whose sign means nothing across dimensions.
        """
        if self.kind == "series":
            return values.abs()
        if self.kind == "text":
            return values.norm(dim=-1) if sized else values.sum(-1).abs()
        return values.mean(1).abs() if self.channels == "mean_then_abs" and not sized else values.abs().mean(1)

    def usable(self, names: Iterable[str], x: Tensor) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the explainers that work here, and a note for each that doesn't or is approximate.

        Args:
            names: as in :meth:`maps`.
            x: a few inputs, which DeepLIFT, DeepSHAP, guided backprop and LRP are tried on.
        """
        kept, notes = [], []
        for name in names:
            try:
                notes += self._tried(name, x)
                kept.append(name)
            except ExplainerInvalid as error:
                notes.append(f"{name} was left out: {error}")
        return tuple(kept), tuple(notes)

    def _tried(self, name: str, x: Tensor) -> list[str]:
        if name in IMAGES_ONLY and self.kind != "image":
            raise ExplainerInvalid(f"it is for images, not for {WORDS[self.kind]}")
        if name in NEED_LAYER and self.layer is None:
            raise ExplainerInvalid(f"{type(self.network).__name__} has no feature map that it could explain")
        if name in LAP and not sites(self.network):
            raise ExplainerInvalid(f"{type(self.network).__name__} has no attention pooling; method=lap puts it in")
        x = self.entered(x)
        if name == "guided_backprop":
            refuse_unguided(self.network, x)
        elif name in LRP:
            self._refuse_lrp(LRP[name], x)
        return self._approximate(name, x) if name in ("deeplift", "deep_shap") else []

    def _refuse_lrp(self, rules: str, x: Tensor) -> None:
        try:
            relevance(self.network, x, torch.zeros(len(x), dtype=torch.int64, device=x.device), rules)
        except UserError as error:
            raise ExplainerInvalid(str(error)) from error

    def _approximate(self, name: str, x: Tensor) -> list[str]:
        refuse_unruled(self.network, x)
        with torch.no_grad():
            target, start = self.network(x).argmax(1), self._start(x, 0)
        missing = gap(self.network, x, target, start, deeplift(self.network, x, target, start))
        said = f"{name} is approximate: its parts miss the rise of the logit by {100 * missing:.0f} %"
        return [said] if missing > COMPLETE else []

    def _noise(self, x: Tensor, sd: Tensor | float) -> Tensor | float:
        """No noise on the padding of texts, which would make tokens of it."""
        return sd * real_tokens(x)[..., None].to(x.dtype) if self.kind == "text" else sd

    def _start(self, x: Tensor, number: int) -> Tensor:
        if self.baseline is None:
            return _uniform(x, generator(x.device, 0, "baseline", number))
        return self.baseline.to(x.dtype)

    def _drawn(self, x: Tensor, draws: Generator) -> Tensor:
        if self.background is None:
            return _uniform(x, draws)
        rows = torch.randint(len(self.background), (len(x),), device=x.device, generator=draws)
        return self.background[rows].to(x.dtype).expand_as(x)


def _uniform(x: Tensor, draws: Generator) -> Tensor:
    return torch.rand(x.shape, device=x.device, dtype=x.dtype, generator=draws)


def _deviations(x: Tensor) -> Tensor:
    """Return the sd of each text's embeddings ``(B, L, E)`` over its tokens and their entries, ``(B, 1, 1)``."""
    counts = real_tokens(x)[..., None].expand_as(x).to(x.dtype)
    n = counts.sum((1, 2), keepdim=True)
    mean = (x * counts).sum((1, 2), keepdim=True) / n.clamp_min(1)
    return (((x - mean) * counts).square().sum((1, 2), keepdim=True) / (n - 1).clamp_min(1)).sqrt()


def floor_map(name: str, like: Tensor, number: int = 0) -> Tensor:
    """Return a map that depends on nothing: what any score must beat.

    Args:
        name: ``random``, ``uniform`` or ``centre`` (images only).
        like: a map of the same shape, ``(B, H, W)``, ``(B, T, F)`` or ``(B, L)``.
        number: of the batch, for ``random``.
    """
    if name == "random":
        return torch.rand(like.shape, generator=generator(like.device, 0, "random map", number), device=like.device)
    if name == "uniform":
        return torch.ones(like.shape, device=like.device)
    rows, columns = (torch.linspace(-1, 1, side, device=like.device) for side in like.shape[1:])
    return torch.exp(-2 * (rows[:, None] ** 2 + columns**2)).expand(like.shape)
