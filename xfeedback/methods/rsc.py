"""Representation Self-Challenging: mute the features that the label leans on most (Huang et al. 2020).

Equations (11) to (14): `docs/methods/peers.md`.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from xfeedback.config import require
from xfeedback.errors import UserError
from xfeedback.explain.masking import lowest
from xfeedback.feedback import Feedback, FeedbackConfig, PresetModule, Step, View
from xfeedback.models.stages import features_axis, last_features, runs_once, trace
from xfeedback.precision import widened

Kind = Literal["spatial", "channel"]


@dataclass(frozen=True, kw_only=True)
class RSCConfig(FeedbackConfig):
    """Options of Representation Self-Challenging.

    Attributes:
        kind: mute whole cells of the map, whole channels, or ``either``, drawn for each batch. Of a vector of features
            the entries are its channels, and ``either`` mutes these.
        drop: share of them that is muted.
        share: of the batch that is trained muted: those whose label loses most probability; 0 switches the method off.
        layer: whose output is muted; None: the explained layer of images, else the features that the head reads.
    """

    kind: Literal["either", "spatial", "channel"] = "either"
    drop: float = 1 / 3
    share: float = 1 / 3
    layer: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.drop < 1, "drop", self.drop, "between 0 and 1")
        require(0 <= self.share <= 1, "share", self.share, "from 0 to 1")


class RSCFeedback(Feedback[RSCConfig]):
    """Train those samples of a batch with muted features that these hurt most."""

    name = "rsc"
    Config = RSCConfig
    takes = ("image", "series", "text")
    _axis = 1
    _has_cells = True

    @property
    def full_strength(self) -> float:
        """The share of the batch after warm-up."""
        return self.config.share

    def prepare(self, network: nn.Module, example: Tensor) -> nn.Module:
        """Find the layer; the network stays as it is.

        Raises:
            UserError: there is no such layer, no feature map to explain, or the features have no cells to mute.
        """
        name, option = self.config.layer or last_features(network, example), f"method.{self.name}"
        found = trace(network, example)
        shape = runs_once(network, found, name, f"{option}.layer").shape
        self._axis = features_axis(network, found, name) % len(shape)
        self._has_cells = shape.numel() > shape[self._axis]
        if self.config.kind == "spatial" and not self._has_cells:
            raise UserError(f"{option}.kind=spatial: layer '{name}' gives a vector, without cells; choose channel.")
        self.layers = (name,)
        return network

    def view(self, step: Step) -> View:
        """Return the samples once more, to be run with muted features; equations (11) and (12)."""
        (layer,) = self.layers
        features = step.features[layer]
        evidence = step.logits.gather(1, step.batch.y[:, None]).sum()
        (gradient,) = torch.autograd.grad(evidence, features, retain_graph=True)
        stays = kept(gradient.detach(), self.kind(step), self.config.drop, self._axis)
        return View(x=step.batch.x, changes={layer: partial(_muted, stays=stays)})

    def kind(self, step: Step) -> Kind:
        """Return what is muted in this step."""
        if self.config.kind != "either":
            return self.config.kind
        if not self._has_cells:
            return "channel"
        return "spatial" if step.generator(self.name).initial_seed() % 2 else "channel"

    def penalty(self, step: Step) -> dict[str, Tensor]:
        """Return ``{"challenge": mean of chosen * (muted - clean cross-entropy)}``; equations (13) and (14)."""
        muted = step.views[self.name]
        chosen = hurt_most(step.logits, muted, step.batch.y, self.strength(step.epoch))
        return {"challenge": (chosen * (step.cross_entropy(muted) - step.losses)).mean()}


class RSC(PresetModule):
    """LightningModule for Representation Self-Challenging."""

    feedback_class: ClassVar[type[Feedback]] = RSCFeedback


def _muted(features: Tensor, stays: Tensor) -> Tensor:
    return features * stays.to(features.dtype)


def kept(gradient: Tensor, kind: Kind, drop: float, axis: int = 1) -> Tensor:
    """Return which entries of the features stay, bool of their shape but for 1 where all stay or go together.

    Equations (11) and (12); of a map ``(B, K, h, w)`` the result is ``(B, 1, h, w)`` or ``(B, K, 1, 1)``.

    Args:
        gradient: of the label's logit at the features ``(B, ...)``.
        kind: cells, by the mean over channels, or channels, by the mean over cells.
        drop: share of them with the highest mean that is muted, at least one.
        axis: that of the channels.
    """
    cells = [other for other in range(1, gradient.ndim) if other != axis]
    gone = [axis] if kind == "spatial" else cells
    means = gradient.mean(gone, keepdim=True) if gone else gradient
    flat = means.flatten(1)
    muted = lowest(-flat, max(1, round(drop * flat.shape[1])))
    return ~muted.reshape(means.shape)


@torch.no_grad()
def hurt_most(clean: Tensor, muted: Tensor, y: Tensor, share: float) -> Tensor:
    """Mark the samples whose label loses most probability, ``(B,)`` of 0 and 1; equation (13).

    Args:
        clean: logits ``(B, N)``.
        muted: logits ``(B, N)`` with muted features.
        y: labels ``(B,)``.
        share: of the batch that is marked, at least one sample.
    """
    before, after = (widened(logits).softmax(1).gather(1, y[:, None])[:, 0] for logits in (clean, muted))
    count = max(1, round(share * len(y)))
    return lowest((after - before)[None], count)[0].to(before.dtype)
