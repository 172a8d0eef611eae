"""RBR, right for better reasons: no influence of pixels where the evidence is wrong (Shao et al. 2021).

Equations (1) to (4): `docs/methods/rbr.md`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from xfeedback.feedback import Feedback, PresetModule, Step, WeightedConfig
from xfeedback.feedback.regions import wrong_region
from xfeedback.losses import right_reasons
from xfeedback.models.torch_bases import BatchNorm

WRONG_THIRD_DERIVATIVE = (BatchNorm, nn.LayerNorm)
"""Their saved statistics carry no graph: right twice, silently wrong from the third derivative on."""


@dataclass(frozen=True, kw_only=True)
class RBRConfig(WeightedConfig):
    """Options of RBR.

    Attributes:
        weight: factor of the penalty.
    """


class RBRFeedback(Feedback[RBRConfig]):
    """Penalise the squared product of influence and input gradient inside the wrong region."""

    name = "rbr"
    stacks = "without_batch_norm"
    Config = RBRConfig
    strength_option = "weight"
    takes = ("image", "series", "text")
    annotation = "wrong"
    input_gradient = True

    def prepare(self, network: nn.Module, example: Tensor) -> nn.Module:
        """Note layers whose third derivative torch gets wrong in training mode (pytorch issues 186256 and 175754)."""
        del example
        kinds = sorted(
            {type(layer).__name__ for layer in network.modules() if isinstance(layer, WRONG_THIRD_DERIVATIVE)}
        )
        if kinds:
            self.notes = (
                f"rbr: torch {torch.__version__} differentiates {', '.join(kinds)} wrongly the third time: the "
                "penalty is right, its gradient is not; choose a model without such layers.",
            )
        return network

    def penalty(self, step: Step) -> dict[str, Tensor]:
        """Return ``{"influence": weight * (1/B) sum (Wr * s * g)^2}``; equations (1) to (4)."""
        change = step.once("influence", _influence)
        gradient = step.input_gradient("sum_log_prob", step.batch.y, "all", create_graph=True)
        penalty = right_reasons(change * gradient, wrong_region(step.batch, self.name))
        return {"influence": self.strength(step.epoch) * penalty}


class RBR(PresetModule):
    """LightningModule for RBR."""

    feedback_class: ClassVar[type[Feedback]] = RBRFeedback


def _influence(step: Step) -> Tensor:
    return influence(step.losses, [p for p in step.network.parameters() if p.requires_grad], step.x)


def influence(losses: Tensor, weights: Sequence[Tensor], x: Tensor) -> Tensor:
    """Return s = d/dx sum_theta d(sum_b CE_b)/dtheta, shape of ``x``, with its graph; equation (1).

    How each pixel moves the sum of the weights' gradients: the influence function of Koh and Liang (2017) with the
    inverse Hessian replaced by the identity.

    Args:
        losses: cross-entropy of each sample ``(B,)``.
        weights: all trainable parameters; those the losses don't depend on count for nothing.
        x: the input, with ``requires_grad`` ``(B, ...)``.
    """
    found = torch.autograd.grad(losses.sum(), weights, create_graph=True, allow_unused=True)
    grads = cast("tuple[Tensor | None, ...]", found)  # torch's type leaves out that None is an unused weight's
    total = torch.stack([grad.sum() for grad in grads if grad is not None]).sum()
    return torch.autograd.grad(total, x, create_graph=True)[0]
