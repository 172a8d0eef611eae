"""GAIN, guided attention inference (Li et al. 2018): without its attended part an image should not be recognised.

Equations (1) to (6): `docs/methods/gain.md`.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, cast

from torch import Tensor

from xfeedback.config import require
from xfeedback.explain import explained_output
from xfeedback.feedback import Feedback, FeedbackConfig, PresetModule, Step, WeightedConfig
from xfeedback.feedback.cam import CamConfig, CamFeedback
from xfeedback.feedback.regions import right_region
from xfeedback.losses import disagreement, min_max, upsampled
from xfeedback.losses.attention_mining import erased, soft_mask


@dataclass(frozen=True, kw_only=True)
class GAINConfig(CamConfig, WeightedConfig):
    """Options of GAIN.

    Attributes:
        weight: factor of both terms; 0 switches GAIN off.
        mining_weight: factor of the score that is left.
        mask_weight: factor of the squared distance to the annotated region; 0: no annotations are needed.
        sigma: attention, rescaled to [0, 1], at which half is erased.
        omega: steepness of the erasing.
        score: what is left of the class: its probability, or its logit, which has no lower bound.
    """

    mining_weight: float = 1.0
    mask_weight: float = 0.0
    sigma: float = 0.5
    omega: float = 10.0
    score: Literal["prob", "logit"] = "prob"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("mining_weight", "mask_weight"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(self.omega > 0, "omega", self.omega, "above 0")


class GAINFeedback(CamFeedback[GAINConfig]):
    """Penalise the class score of the input without its attended part, and attention off the annotated region."""

    name = "gain"
    Config = GAINConfig
    strength_option = "weight"

    @classmethod
    def annotation_for(cls, config: FeedbackConfig) -> Literal["none", "mask", "wrong"]:
        """Return the right region where attention is compared with it, else none."""
        chosen = cast(GAINConfig, config)
        return "mask" if chosen.mask_weight and chosen.weight else "none"

    def penalty(self, step: Step) -> dict[str, Tensor]:
        """Return ``mining``, and ``mask`` where it is asked for; equations (2) to (6)."""
        config, x = self.config, step.batch.x
        maps, alive = min_max(upsampled(self.cam(step), (x.shape[2], x.shape[3])))
        factor = self.strength(step.epoch)
        terms: dict[str, Tensor] = {}
        if config.mining_weight:
            left = erased(x, soft_mask(maps, sigma=config.sigma, omega=config.omega))
            logits = step.forward(left, name=self.name, shared_noise=True, update_statistics=False)
            target = step.batch.y if config.cam_class == "label" else step.logits.argmax(1)
            score = explained_output(logits, target, config.score)
            terms["mining"] = factor * config.mining_weight * (score * alive).sum() / alive.sum().clamp_min(1)
        if config.mask_weight:
            region = right_region(step.batch, self.name)
            counts = (region.flatten(1).any(1) & alive).to(maps.dtype)
            values = disagreement(maps, region) * counts
            terms["mask"] = factor * config.mask_weight * values.sum() / counts.sum().clamp_min(1)
        step.reports["gain/dead_share"] = (~alive).float().mean()
        return terms


class GAIN(PresetModule):
    """LightningModule for GAIN."""

    feedback_class: ClassVar[type[Feedback]] = GAINFeedback
