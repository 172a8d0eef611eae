"""XBL-D, distance-aware explanation based learning (Hagos et al. 2023): keep Grad-CAM near the annotated object.

Equations (1) to (8) and what is unknown of the paper: `docs/methods/xbl.md`.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from xfeedback.config import require
from xfeedback.errors import UserError
from xfeedback.explain import closed_form_grad_cam, explained_output, grad_cam
from xfeedback.feedback import Feedback, FeedbackConfig, PresetModule, Step
from xfeedback.losses import distance_aware, distance_to_region, pool_mask
from xfeedback.losses.distance import Metric, Norm
from xfeedback.models.layers import explained_layer, gap_head, get_layer


@dataclass(frozen=True, kw_only=True)
class XBLConfig(FeedbackConfig):
    """Options of XBL-D.

    Attributes:
        c_exp: weight of the explanation loss.
        target: explained output: softmax probability, logit, or logit minus the mean logit.
        cam_class: class that is explained: the label or the prediction.
        guided: Grad-CAM counts only cells with positive activation and positive gradient.
        second_order: train through the channel weights too.
        cam_mode: ``closed`` needs a head of global average pooling and one linear layer; ``auto`` takes it if possible.
        layer: explained layer by its dotted name, or ``auto``: the last map before global pooling.
        metric: distance between cells.
        norm_d: what distances are divided by.
        mask_to_grid: when a cell of the grid belongs to the object.
    """

    c_exp: float = 10.0
    target: Literal["prob", "logit", "centred"] = "prob"
    cam_class: Literal["label", "pred"] = "label"
    guided: bool = True
    second_order: bool = True
    cam_mode: Literal["auto", "autograd", "closed"] = "auto"
    layer: str = "auto"
    metric: Metric = "euclid"
    norm_d: Norm = "diag"
    mask_to_grid: Literal["any", "area50"] = "any"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.c_exp >= 0, "c_exp", self.c_exp, "0 or more")
        closed_first_order = self.cam_mode == "closed" and not self.second_order
        require(not closed_first_order, "second_order", self.second_order, "true when cam_mode=closed")


class XBLFeedback(Feedback):
    """Penalise the expected distance of Grad-CAM's mass from the annotated object."""

    name = "xbl"
    Config = XBLConfig
    strength_option = "c_exp"
    annotation = "mask"
    config: XBLConfig

    def __init__(self, config: XBLConfig | None = None) -> None:
        super().__init__(config)
        self._head: str | None = None

    def prepare(self, network: nn.Module, example: Tensor) -> nn.Module:
        """Find the explained layer, and the linear head when the closed form of Grad-CAM applies.

        Raises:
            UserError: the network has no such layer, or the closed form does not apply.
        """
        layer = self._layer(network, example)
        declared = layer == getattr(network, "explained_layer", None) and gap_head(network) is not None
        if self.config.cam_mode == "closed" and not declared:
            raise UserError(
                f"method.xbl.cam_mode=closed needs a network whose layer '{layer}' meets only global average pooling "
                "and one linear layer; choose method.xbl.cam_mode=autograd."
            )
        self.layers = (layer,)
        closed = declared and self.config.cam_mode != "autograd" and self.config.second_order
        self._head = str(network.gap_head) if closed else None
        return network

    def _layer(self, network: nn.Module, example: Tensor) -> str:
        if self.config.layer != "auto":
            get_layer(network, self.config.layer)
            return self.config.layer
        if example.numel() == 0 and getattr(network, "explained_layer", None) is None:
            raise UserError(
                f"xbl must look for the layer to explain in {type(network).__name__}: give example=, one input "
                "(1, C, H, W), or name the layer with layer=."
            )
        return explained_layer(network, example)

    def cam(self, step: Step) -> Tensor:
        """Return M ``(B, h, w)`` of the clean training pass with its graph; equations (2) to (5)."""
        features = step.features[self.layers[0]]
        target = step.batch.y if self.config.cam_class == "label" else step.logits.argmax(1)
        kind, guided, order = self.config.target, self.config.guided, self.config.second_order
        with torch.autocast(features.device.type, enabled=False):
            if self._head is None:
                output = explained_output(step.logits, target, kind)
                return grad_cam(output, features, guided=guided, create_graph=True, second_order=order)
            weight = cast(nn.Linear, step.network.get_submodule(self._head)).weight
            return closed_form_grad_cam(step.logits, features, weight, target, kind=kind, guided=guided)

    def penalty(self, step: Step) -> dict[str, Tensor]:
        """Return ``{"distance": c_exp * L_exp}``; equations (6) to (8)."""
        batch, cam = step.batch, self.cam(step)
        if batch.mask is None:
            raise UserError("method=xbl needs batches with a mask of the right region; give the data set annotations.")
        region = pool_mask(batch.mask, (cam.shape[1], cam.shape[2]), self.config.mask_to_grid)
        counts = region.flatten(1).any(1)
        if batch.annotated is not None:
            counts = counts & batch.annotated
        distance = distance_to_region(region, metric=self.config.metric, norm=self.config.norm_d)
        expected, alive = distance_aware(cam, distance, counts)
        step.reports["xbl/annotated_share"] = counts.float().mean()
        step.reports["xbl/dead_share"] = (counts & ~alive).float().mean()
        return {"distance": self.strength(step.epoch) * expected.sum() / alive.sum().clamp_min(1)}


class XBL(PresetModule):
    """LightningModule for XBL-D."""

    feedback_class: ClassVar[type[Feedback]] = XBLFeedback
