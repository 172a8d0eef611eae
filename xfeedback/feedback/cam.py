"""The common part of methods that steer Grad-CAM: which layer, which output, and the map of a step with its graph."""

from dataclasses import dataclass
from typing import ClassVar, Generic, Literal

import torch
from torch import Tensor, nn
from typing_extensions import TypeVar

from xfeedback.errors import UserError
from xfeedback.explain import closed_form_grad_cam, explained_output, grad_cam
from xfeedback.feedback.base import Feedback
from xfeedback.feedback.options import FeedbackConfig
from xfeedback.feedback.step import Step
from xfeedback.models.layers import dense_head, explained_layer, gap_head, get_layer
from xfeedback.models.stages import runs_once, trace

RATIO_EVERY = 100
"""Steps between two looks at the ratio of gradients."""
EPS = 1e-12


@dataclass(frozen=True, kw_only=True)
class CamConfig(FeedbackConfig):
    """Options of the explained map.

    Attributes:
        target: explained output: softmax probability, logit, or logit minus the mean logit.
        cam_class: class that is explained: the label or the prediction.
        guided: count only cells with positive activation and positive gradient.
        second_order: train through the channel weights too.
        cam_mode: ``closed`` needs a head of global average pooling and one linear layer; ``auto`` takes it if possible.
        layer: explained layer by its dotted name, or ``auto``: the last map before global pooling.
    """

    target: Literal["prob", "logit", "centred"] = "logit"
    cam_class: Literal["label", "pred"] = "label"
    guided: bool = False
    second_order: bool = True
    cam_mode: Literal["auto", "autograd", "closed"] = "auto"
    layer: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cam_mode == "closed" and not self.second_order:
            raise ValueError(f"second_order={self.second_order} must be true when cam_mode=closed")


Options_co = TypeVar("Options_co", bound=CamConfig, covariant=True, default=CamConfig)


class CamFeedback(Feedback[Options_co], Generic[Options_co]):
    """A feedback on Grad-CAM of one layer.

    Attributes:
        signed: keep what speaks against the class: the map without its ReLU.
    """

    Config = CamConfig
    signed: ClassVar[bool] = False

    def __init__(self, config: Options_co | None = None) -> None:
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
                f"method.{self.name}.cam_mode=closed needs a network whose layer '{layer}' meets only global average "
                f"pooling and one linear layer; choose method.{self.name}.cam_mode=autograd."
            )
        self.layers = (layer,)
        closed = declared and self.config.cam_mode != "autograd" and self.config.second_order
        self._head = str(network.gap_head) if closed else None
        dense = None if declared or example.numel() == 0 else dense_head(network, layer, example)
        if dense is not None:
            self.notes = (
                f"{self.name}: layer '{dense}' weighs each cell of the map '{layer}' on its own, so Grad-CAM shows "
                "little of what the network uses and steering it gains little; choose a model with global pooling.",
            )
        return network

    def _layer(self, network: nn.Module, example: Tensor) -> str:
        if self.config.layer != "auto":
            return self._named(network, example, self.config.layer)
        if example.numel() == 0 and getattr(network, "explained_layer", None) is None:
            raise UserError(
                f"{self.name} must look for the layer to explain in {type(network).__name__}: give example=, one input "
                "(1, C, H, W), or name the layer with layer=."
            )
        return explained_layer(network, example)

    def _named(self, network: nn.Module, example: Tensor, layer: str) -> str:
        """Return a layer that was asked for, once it is known that it gives a map; without an example it is trusted."""
        get_layer(network, layer)
        if example.numel():
            option = f"method.{self.name}.layer"
            shape = tuple(runs_once(network, trace(network, example), layer, option).shape)
            if len(shape) != 4:
                raise UserError(f"{option}: layer '{layer}' gives {shape}, no map (1, K, h, w); name one that does.")
        return layer

    def cam(self, step: Step) -> Tensor:
        """Return M ``(B, h, w)`` of the clean training pass with its graph; computed once for all who ask alike."""
        config = self.config
        key = ("cam", *self.layers, config.target, config.cam_class, config.guided, config.second_order)
        return step.once((*key, self._head, self.signed), self._cam)

    def _cam(self, step: Step) -> Tensor:
        features = step.features[self.layers[0]]
        target = step.batch.y if self.config.cam_class == "label" else step.logits.argmax(1)
        kind, guided, order = self.config.target, self.config.guided, self.config.second_order
        with torch.autocast(features.device.type, enabled=False):
            if self._head is None:
                output = explained_output(step.logits, target, kind)
                return grad_cam(
                    output, features, guided=guided, signed=self.signed, create_graph=True, second_order=order
                )

            def closed(weight: Tensor, logits: Tensor, features: Tensor, target: Tensor) -> Tensor:
                return closed_form_grad_cam(
                    logits, features, weight, target, kind=kind, guided=guided, signed=self.signed
                )

            return step.with_weight(self._head, closed, step.logits, features, target)

    def report_ratio(self, step: Step, term: Tensor) -> None:
        """Report ``grad_ratio``: how strongly ``term`` pulls at the explained map, relative to the cross-entropy.

        The ratio of the gradients' norms at the second step of an epoch in which the feedback acts, and every 100 such
        steps after it; the loss and its graph stay as they are, and nothing waits for the device. ``term`` is a scalar.
        """
        if self.turn(step) % RATIO_EVERY != 1:
            return
        pulls = [step.pull(loss, self.layers[0]) for loss in (term, step.losses.mean())]
        own, ce = (pull.float().norm() for pull in pulls)
        step.reports[f"{self.name}/grad_ratio"] = own / ce.clamp_min(EPS)
