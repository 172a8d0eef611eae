"""FGSM training: train on each sample and on its step up the loss (Goodfellow et al. 2015).

Equations (9) and (10): `docs/methods/peers.md`.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xfeedback.config import require
from xfeedback.feedback import Feedback, FeedbackConfig, PresetModule, Step, View


@dataclass(frozen=True, kw_only=True)
class FGSMConfig(FeedbackConfig):
    """Options of FGSM training.

    Attributes:
        epsilon: length of the step in every entry, in units of the normalised input.
        share: of the adversarial samples in the loss; 0 switches the method off.
    """

    epsilon: float = 0.1
    share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.epsilon > 0, "epsilon", self.epsilon, "above 0")
        require(0 <= self.share <= 1, "share", self.share, "from 0 to 1")


class FGSMFeedback(Feedback[FGSMConfig]):
    """Train on adversarial samples beside the clean ones."""

    name = "fgsm"
    stacks = True
    compiles = True
    Config = FGSMConfig
    takes = ("image", "series")
    input_gradient = True

    @property
    def full_strength(self) -> float:
        """The share after warm-up."""
        return self.config.share

    def sample_weights(self, step: Step) -> Tensor:
        """Return 1 - share for each sample ``(B,)``; equation (10)."""
        return step.losses.new_full((len(step.batch),), 1 - self.strength(step.epoch))

    def view(self, step: Step) -> View:
        """Return the adversarial samples; equation (9). Padding stays as it is."""
        upwards = -step.input_gradient("log_prob", step.batch.y, "true").detach().sign()
        if step.batch.valid is not None:
            upwards = upwards * step.batch.valid[:, :, None]
        return View(x=step.x.detach() + self.config.epsilon * upwards)

    def penalty(self, step: Step) -> dict[str, Tensor]:
        """Return ``{"adversarial": share times their mean cross-entropy}``; equation (10)."""
        losses = step.cross_entropy(step.views[self.name])
        return {"adversarial": self.strength(step.epoch) * losses.mean()}


class FGSM(PresetModule):
    """LightningModule for FGSM training."""

    feedback_class: ClassVar[type[Feedback]] = FGSMFeedback
