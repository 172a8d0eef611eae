"""HINT, human importance-aware network tuning: Grad-CAM should equal the annotation (after Selvaraju et al. 2019).

Equations (1) to (4): `docs/methods/hint.md`.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xfeedback.feedback import Feedback, PresetModule, Step, WeightedConfig
from xfeedback.feedback.cam import CamConfig, CamFeedback
from xfeedback.feedback.regions import right_region
from xfeedback.losses import disagreement, min_max, upsampled


@dataclass(frozen=True, kw_only=True)
class HINTConfig(CamConfig, WeightedConfig):
    """Options of HINT.

    Attributes:
        weight: factor of the penalty.
    """


class HINTFeedback(CamFeedback[HINTConfig]):
    """Penalise the squared difference of the rescaled Grad-CAM and the right region."""

    name = "hint"
    stacks = True
    Config = HINTConfig
    strength_option = "weight"
    annotation = "mask"

    def penalty(self, step: Step) -> dict[str, Tensor]:
        """Return ``{"agreement": weight * mean (norm01(up(M)) - O)^2}``; equations (2) to (4)."""
        region = right_region(step.batch, self.name)
        maps, spread = min_max(upsampled(self.cam(step), (region.shape[1], region.shape[2])))
        counts = region.flatten(1).any(1)
        alive = (counts & spread).to(maps.dtype)
        step.reports["hint/dead_share"] = (counts & ~spread).float().mean()
        values = disagreement(maps, region) * alive
        term = self.strength(step.epoch) * values.sum() / alive.sum().clamp_min(1)
        self.report_ratio(step, term)
        return {"agreement": term}


class HINT(PresetModule):
    """LightningModule for HINT."""

    feedback_class: ClassVar[type[Feedback]] = HINTFeedback
