"""XBL-D, distance-aware explanation based learning (Hagos et al. 2023): keep Grad-CAM near the annotated object.

Equations (1) to (13), variants, and what is unknown of the paper: `docs/methods/xbl.md`.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from xfeedback.config import require
from xfeedback.errors import UserError
from xfeedback.explain.maps import evaluation_cam
from xfeedback.feedback import Feedback, PresetModule, Step
from xfeedback.feedback.cam import CamConfig, CamFeedback
from xfeedback.feedback.regions import right_region
from xfeedback.losses import (
    distance_aware,
    distance_to_region,
    gated_distance,
    max_normalised,
    mean_distance,
    pool_mask,
)
from xfeedback.losses.distance import EPS, Metric, Norm
from xfeedback.losses.released_distance import edge_distances, resized_mask, run_edges
from xfeedback.models.running import mode
from xfeedback.types import Batch, Phase

PRESETS: dict[str, dict[str, Any]] = {
    "clean": {"distance": "weighted_mean", "c_exp": 30.0, "c_cls": 1.0},
    "gated": {"distance": "gated", "c_exp": 10.0, "c_cls": 1.0},
    "released": {"distance": "released", "c_exp": 0.1, "c_cls": 2.7},
}
PRESETS["paper"] = PRESETS["released"]


@dataclass(frozen=True, kw_only=True)
class XBLConfig(CamConfig):
    """Options of XBL-D; None means: as the variant says.

    Attributes:
        variant: ``clean`` as we recommend; ``gated``: only attention in the wrong region counts; ``released`` (or
            ``paper``): as the released program computes, which trains nothing but the cross-entropy.
        distance: how distances become a loss: averaged over the attention (``weighted_mean``), over the wrong region
            (``gated``), over all cells (``sum``), the share of attention outside the object (``energy``, blind to
            distance), or ``released``.
        cam_norm: divide the map by its maximum; None: for ``gated`` and ``sum``.
        c_exp: weight of the explanation loss.
        c_cls: factor of the cross-entropy while the feedback acts.
        metric: distance between cells.
        norm_d: what distances are divided by.
        mask_to_grid: when a cell of the grid belongs to the object.
        scale: ``balanced``: c_exp is in units of the cross-entropy's sum over the explanation loss's sum, as both stand
            over the training set when training starts, or, in a ``Trainer.fit`` of one's own that announces no phase,
            over the first batch; c_exp is then 1 by default.
        edge_index: whose object edges ``released`` measures to: of the training image at the sample's position in the
            batch, as released, or its own.
    """

    variant: Literal["clean", "paper", "gated", "released"] = "clean"
    distance: Literal["weighted_mean", "gated", "energy", "sum", "released"] | None = None
    cam_norm: Literal["max", "none"] | None = None
    c_exp: float | None = None
    c_cls: float | None = None
    target: Literal["prob", "logit", "centred"] = "prob"
    guided: bool = True
    metric: Metric = "euclid"
    norm_d: Norm = "diag"
    mask_to_grid: Literal["any", "area50"] = "any"
    scale: Literal["fixed", "balanced"] = "fixed"
    edge_index: Literal["in_batch", "own"] = "in_batch"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale == "balanced" and self.c_exp is None:
            object.__setattr__(self, "c_exp", 1.0)
        for name, value in PRESETS[self.variant].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        scaled = self.distance in ("gated", "sum")
        if self.cam_norm is None:
            object.__setattr__(self, "cam_norm", "max" if scaled else "none")
        for name in ("c_exp", "c_cls"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(self.cam_norm == "none" or scaled, "cam_norm", self.cam_norm, f"none for distance={self.distance}")
        fixed = self.distance != "released" or self.scale == "fixed"
        require(fixed, "scale", self.scale, "fixed for distance=released")


class XBLFeedback(CamFeedback[XBLConfig]):
    """Penalise the expected distance of Grad-CAM's mass from the annotated object."""

    name = "xbl"
    stacks = True
    Config = XBLConfig
    strength_option = "c_exp"
    annotation = "mask"
    balance: Tensor
    _first: Tensor | None

    def __init__(self, config: XBLConfig | None = None) -> None:
        super().__init__(config)
        self.register_buffer("_first", None)
        if self.config.scale == "balanced":
            self.register_buffer("balance", torch.zeros(()))  # 0: not known yet
        if self.config.distance == "released":
            self.stamps = ("explanation_gradient: none",)

    def prepare(self, network: nn.Module, example: Tensor) -> nn.Module:
        """Find the explained layer, and the linear head when the closed form of Grad-CAM applies.

        Raises:
            UserError: the network has no such layer, the closed form does not apply, or OpenCV is missing.
        """
        if self.config.distance == "released" and find_spec("cv2") is None:
            raise UserError(
                "method.xbl.variant=released needs OpenCV: pip install opencv-python-headless; or choose variant=clean."
            )
        return super().prepare(network, example)

    def phase_start(self, network: nn.Module, phase: Phase) -> None:
        """Look at the training set: at both losses for ``scale=balanced``, at the first edges for ``in_batch``."""
        if self.config.scale == "balanced":
            self.balance.copy_(self._balanced(network, phase))
        if self.config.distance != "released" or self.config.edge_index == "own":
            return
        size, seen = 0, {}
        for batch in phase.train:
            size = max(size, len(batch))
            seen |= dict(zip(batch.index.tolist(), right_region(batch, self.name), strict=True))
        self._first = torch.stack([seen[index] for index in sorted(seen)[:size]])

    def sample_weights(self, step: Step) -> Tensor | None:
        """Return c_cls for every sample; None for 1."""
        return None if self.config.c_cls == 1 else torch.full_like(step.losses, self.config.c_cls or 0.0)

    def penalty(self, step: Step) -> dict[str, Tensor]:
        """Return ``{"distance": c_exp * L_exp}``; equations (6) to (8)."""
        if self.config.distance == "released":
            return {"distance": self.strength(step.epoch) * self._released(step)}
        values, counts, alive = self._values(step)
        step.reports["xbl/annotated_share"] = counts.float().mean()
        step.reports["xbl/dead_share"] = (counts & ~alive).float().mean()
        term = self.strength(step.epoch) * values.sum() / alive.sum().clamp_min(1)
        if self.config.scale == "balanced":
            term = term * self._known_balance(step.losses.detach(), values.detach())
        self.report_ratio(step, term)
        return {"distance": term}

    def _balanced(self, network: nn.Module, phase: Phase) -> Tensor:
        """Return the sum of the cross-entropy over the sum of l, over the training set in evaluation mode."""
        device = next(network.parameters()).device
        sums = torch.zeros(2, dtype=torch.float64, device=device)
        with mode(network, training=False):
            for number, batch in enumerate(phase.train):
                step = Step(network, batch.to(device), seed=0, position=(phase.name, 0, number), layers=self.layers)
                sums += torch.stack([step.losses.detach().sum(), self._values(step)[0].detach().sum()]).double()
        return _ratio(*sums)

    def _known_balance(self, losses: Tensor, values: Tensor) -> Tensor:
        """Return the balance; without :meth:`phase_start`, that of the first batch whose maps stray."""
        measured = _ratio(losses.sum(), values.sum()).where(values.sum() > 0, self.balance)
        self.balance.copy_(self.balance.where(self.balance > 0, measured))
        return self.balance.clone()

    def _values(self, step: Step) -> tuple[Tensor, Tensor, Tensor]:
        """Return l, whether the sample is annotated, and v, each ``(B,)``."""
        cam = self.cam(step)
        region = self._on_grid(right_region(step.batch, self.name), cam)
        counts = region.flatten(1).any(1)
        values, alive = self._losses(step.batch, cam, region, counts)
        return values, counts, alive

    def _losses(self, batch: Batch, cam: Tensor, region: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Return l and v of each sample; equations (7) and (9) to (11)."""
        if self.config.cam_norm == "max":
            cam = max_normalised(cam)
        if self.config.distance == "energy":
            return distance_aware(cam, (~region).to(cam.dtype), counts)
        distance = distance_to_region(region, metric=self.config.metric, norm=self.config.norm_d)
        if self.config.distance == "gated":
            return gated_distance(cam, distance, self._on_grid(self._wrong(batch), cam), counts)
        return (mean_distance if self.config.distance == "sum" else distance_aware)(cam, distance, counts)

    def _on_grid(self, mask: Tensor, cam: Tensor) -> Tensor:
        return pool_mask(mask, (cam.shape[1], cam.shape[2]), self.config.mask_to_grid)

    def _wrong(self, batch: Batch) -> Tensor:
        if batch.wrong is None:
            raise UserError(
                f"method.xbl.distance={self.config.distance} needs to know the wrong region too: plant decoys "
                "(decoy=corner) or choose method.xbl.variant=clean."
            )
        return batch.wrong

    def _released(self, step: Step) -> Tensor:
        """Return (1/B) sum_b d_b, a constant; equations (12) and (13)."""
        config, batch, layer = self.config, step.batch, self.layers[0]
        target = batch.y if config.cam_class == "label" else step.logits.argmax(1)
        cam = evaluation_cam(step.network, layer, batch.x, target, kind=config.target, guided=config.guided)
        size = (cam.shape[1], cam.shape[2])
        right, wrong = right_region(batch, self.name), self._wrong(batch)
        if config.edge_index == "in_batch":
            right = self._first_regions(len(batch))
        edges = [run_edges(region) for region in resized_mask(right, size).cpu().numpy()]
        return edge_distances(cam, resized_mask(wrong, size), edges).mean()

    def _first_regions(self, n: int) -> Tensor:
        if self._first is None or len(self._first) < n:
            raise UserError(
                "method.xbl.edge_index=in_batch looks into the training set when training starts (phase_start), which "
                "has not happened; choose method.xbl.edge_index=own."
            )
        return self._first[:n]


def _ratio(ce: Tensor, distance: Tensor) -> Tensor:
    return torch.where(distance > 0, ce / distance.clamp_min(EPS), 1.0)


class XBL(PresetModule):
    """LightningModule for XBL-D."""

    feedback_class: ClassVar[type[Feedback]] = XBLFeedback
