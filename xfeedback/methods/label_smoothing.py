"""Label smoothing: a part of each label is spread over all classes (Szegedy et al. 2016).

Equation (8): `docs/methods/peers.md`.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xfeedback.config import require
from xfeedback.continual.heads import OUT
from xfeedback.feedback import Feedback, FeedbackConfig, PresetModule, Step
from xfeedback.precision import widened


@dataclass(frozen=True, kw_only=True)
class LabelSmoothingConfig(FeedbackConfig):
    """Options of label smoothing.

    Attributes:
        epsilon: part of the label that all classes share; 0 switches the method off.
    """

    epsilon: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.epsilon < 1, "epsilon", self.epsilon, "at least 0 and below 1")


class LabelSmoothingFeedback(Feedback[LabelSmoothingConfig]):
    """Weigh the cross-entropy by 1 - epsilon, and add epsilon times that against equal shares of all classes."""

    name = "label_smoothing"
    stacks = True
    compiles = True
    Config = LabelSmoothingConfig
    takes = ("image", "series", "text")

    @property
    def full_strength(self) -> float:
        """Epsilon after warm-up."""
        return self.config.epsilon

    def sample_weights(self, step: Step) -> Tensor:
        """Return 1 - epsilon for each sample ``(B,)``; equation (8)."""
        return step.losses.new_full((len(step.batch),), 1 - self.strength(step.epoch))

    def penalty(self, step: Step) -> dict[str, Tensor]:
        """Return ``{"uniform": epsilon times the cross-entropy against equal shares}``; equation (8).

        Classes that do not compete in this phase have no share.
        """
        competes = step.logits > OUT / 2
        uniform = -widened(step.logits).log_softmax(1).where(competes, 0).sum() / competes.sum()
        return {"uniform": self.strength(step.epoch) * uniform}


class LabelSmoothing(PresetModule):
    """LightningModule for label smoothing."""

    feedback_class: ClassVar[type[Feedback]] = LabelSmoothingFeedback
