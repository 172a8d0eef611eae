"""Explanations of a trained network as maps over the input's positions, for scoring and for pictures.

Positions are the pixels of images, the cells of series, the tokens of texts. What each explainer does by default, and
where its numbers come from: `docs/methods/saliency_guided`, section "Explainers".
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from xfeedback.explain.attribution import enlarged, integrated_gradients, occlusion
from xfeedback.explain.deeplift import COMPLETE, ExplainerInvalid, deep_shap, deeplift, gap, refuse_unruled
from xfeedback.explain.grad_cam import grad_cam
from xfeedback.explain.gradient import gradient
from xfeedback.explain.lap_maps import METHODS, MapMethod, lap_map
from xfeedback.explain.lime_maps import lime_map
from xfeedback.explain.outputs import explained_output
from xfeedback.explain.sampled import gradient_shap, input_gradient, smoothgrad
from xfeedback.kinds import WORDS, Kind
from xfeedback.models.lap import sites
from xfeedback.models.running import tapped
from xfeedback.models.text_base import TextNetwork, real_tokens
from xfeedback.seeding import generator

SLOW = ("integrated_gradients", "occlusion", "lime")
"""Explainers that take dozens of passes."""
LAP: dict[str, MapMethod] = {f"lap_{method}": method for method in METHODS}
"""Explanations that a network carries; see :func:`xfeedback.explain.lap_maps.lap_map`."""
IMAGES_ONLY = ("grad_cam", "occlusion", "centre", *LAP)
WITH_BACKGROUND = ("gradient_shap", "deep_shap")
FLOORS = ("uniform", "random", "centre")
"""Maps that know nothing of the network."""
NOISY_COPIES = {"image": 5, "series": 5, "text": 25}
"""Copies of SmoothGrad; the sd of its noise is 1, of texts a tenth of the embeddings' sd."""
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
        layer: explained layer of Grad-CAM; its grid is that of the occlusion. None for series and texts.
        baseline: of integrated gradients and DeepLIFT, normalised as the inputs are, broadcasts to one input
            (of texts: its embeddings); None: a draw from U(0, 1) for each input.
        kind: of the inputs.
        background: inputs ``(M, ...)`` that GradientSHAP and DeepSHAP draw their baselines from, normalised; None:
            draws from U(0, 1).
        channels: magnitudes are taken before or after the mean over the channels of images.
        blank: what masked cells of series become, one series without evidence, normalised ``(T, F)``; or None.
    """

    network: nn.Module
    layer: str | None
    baseline: Tensor | None
    kind: Kind = "image"
    background: Tensor | None = None
    channels: Literal["abs_then_mean", "mean_then_abs"] = "abs_then_mean"
    blank: Tensor | None = None

    def entered(self, x: Tensor) -> Tensor:
        """Return what explanations are taken at, ``(B, ...)``: the input, of texts its embeddings, detached."""
        if self.kind != "text" or x.is_floating_point():
            return x.detach()
        with torch.no_grad():
            return cast(TextNetwork, self.network).embed(x)

    def maps(
        self, names: Iterable[str], x: Tensor, number: int = 0, target: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Explain the logit of a class; one forward pass serves Grad-CAM and gradient.

        Args:
            names: ``grad_cam`` (resized bilinearly to the input); magnitudes of ``gradient``, ``integrated_gradients``
                (50 steps), ``smoothgrad``, ``deeplift``, ``gradient_shap`` and ``deep_shap``; ``occlusion`` (a cell,
                by the mean colour; where the logit falls); ``lime`` (where segments speak for the class); and floors
                that know nothing of the network: ``uniform``, ``random``, ``centre`` (a Gaussian, sd a quarter of each
                side).
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
        if name not in ("grad_cam", "occlusion"):
            return self.reduced(self.attribution(name, x, seen.target, number), sized=name == "smoothgrad")
        size, features = (x.shape[2], x.shape[3]), cast(Tensor, seen.features)
        if name == "grad_cam":
            cam = grad_cam(seen.output, features)[:, None]
            return F.interpolate(cam, size, mode="bilinear", align_corners=False)[:, 0]
        falls = occlusion(self.network, x, seen.target, (features.shape[2], features.shape[3]))
        return enlarged(falls.relu(), size)

    def _of_class(self, name: str, x: Tensor, target: Tensor) -> Tensor:
        if name == "lime":
            return lime_map(self.network, x, target, text=self.kind == "text")
        return lap_map(self.network, x, LAP[name], target=target)

    def attribution(self, name: str, x: Tensor, target: Tensor, number: int = 0) -> Tensor:
        """Return what an explainer gives to each entry of the input, shape of ``x``.

        Args:
            name: ``integrated_gradients``, ``smoothgrad``, ``deeplift``, ``deeplift_functional``, ``gradient_shap`` or
                ``deep_shap``.
            x: as :meth:`entered` returns it.
            target: explained class ``(B,)``.
            number: of the batch, for draws.
        """
        draws = generator(x.device, 0, "explain", name, number)
        if name == "smoothgrad":
            sd = self._noise(x, 0.1 * x[real_tokens(x)].std()) if self.kind == "text" else 1.0
            copies, squared = NOISY_COPIES[self.kind], self.kind == "image"
            return smoothgrad(self.network, x, target, draws, sd=sd, copies=copies, squared=squared)
        if name == "integrated_gradients":
            return integrated_gradients(self.network, x, target, self._start(x, number))
        if name == "deeplift_functional":
            return (x - self._start(x, number)) * input_gradient(self.network, x, target)
        if name == "deeplift":
            return deeplift(self.network, x, target, self._start(x, number))
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
            x: a few inputs, which DeepLIFT and DeepSHAP are tried on.
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
        if name in ("grad_cam", "occlusion") and self.layer is None:
            raise ExplainerInvalid(f"{type(self.network).__name__} has no feature map that it could explain")
        if name in LAP and not sites(self.network):
            raise ExplainerInvalid(f"{type(self.network).__name__} has no attention pooling; method=lap puts it in")
        if name not in ("deeplift", "deep_shap"):
            return []
        x = self.entered(x)
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
