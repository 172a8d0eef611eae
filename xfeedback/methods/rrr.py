"""RRR, right for the right reasons (Ross et al. 2017): no input gradient where a person says the evidence is wrong.

Equations (1) to (3): `docs/methods/rrr.md`.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from xfeedback.explain import Output
from xfeedback.feedback import Feedback, PresetModule, Step, WeightedConfig
from xfeedback.feedback.regions import wrong_region
from xfeedback.losses import right_reasons

TARGETS: dict[str, tuple[Output, str]] = {
    "sum_log_prob": ("sum_log_prob", "all"),
    "true_class": ("logit", "true"),
    "cross_entropy": ("log_prob", "true"),
}


@dataclass(frozen=True, kw_only=True)
class RRRConfig(WeightedConfig):
    """Options of RRR.

    Attributes:
        weight: factor of the penalty.
        target: what is differentiated: the summed log-probabilities (Ross et al. 2017), the label's logit, or the
            cross-entropy (the variants of Pahde et al. 2023).
    """

    weight: float = 10.0
    target: Literal["sum_log_prob", "true_class", "cross_entropy"] = "sum_log_prob"


class RRRFeedback(Feedback[RRRConfig]):
    """Penalise the squared input gradient inside the wrong region."""

    name = "rrr"
    stacks = True
    Config = RRRConfig
    strength_option = "weight"
    takes = ("image", "series", "text")
    annotation = "wrong"
    input_gradient = True

    def penalty(self, step: Step) -> dict[str, Tensor]:
        """Return ``{"gradient": weight * (1/B) sum (Wr * d/dx S)^2}``; equations (1) to (3)."""
        kind, name = TARGETS[self.config.target]
        grad = step.input_gradient(kind, step.batch.y, name, create_graph=True)
        return {"gradient": self.strength(step.epoch) * right_reasons(grad, wrong_region(step.batch, self.name))}


class RRR(PresetModule):
    """LightningModule for RRR."""

    feedback_class: ClassVar[type[Feedback]] = RRRFeedback
