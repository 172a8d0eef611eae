"""RRR-G: no Grad-CAM where a person says the evidence is wrong (Schramowski et al. 2020; Friedrich et al. 2023).

Equations (1) to (4): `docs/methods/rrr_g.md`.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from xfeedback.feedback import Feedback, PresetModule, Step, WeightedConfig
from xfeedback.feedback.cam import CamConfig, CamFeedback
from xfeedback.feedback.regions import wrong_region
from xfeedback.losses import min_max, right_reasons, upsampled


@dataclass(frozen=True, kw_only=True)
class RRRGConfig(CamConfig, WeightedConfig):
    """Options of RRR-G.

    Attributes:
        weight: factor of the penalty.
    """

    cam_class: Literal["label", "pred"] = "pred"


class RRRGFeedback(CamFeedback[RRRGConfig]):
    """Penalise the squared, rescaled, signed Grad-CAM inside the wrong region."""

    name = "rrr_g"
    stacks = True
    Config = RRRGConfig
    strength_option = "weight"
    annotation = "wrong"
    signed = True

    def penalty(self, step: Step) -> dict[str, Tensor]:
        """Return ``{"cam": weight * (1/B) sum (Wr * norm01(up(M)))^2}``; equations (2) to (4)."""
        wrong = wrong_region(step.batch, self.name)
        maps, _ = min_max(upsampled(self.cam(step), (wrong.shape[1], wrong.shape[2])))
        term = self.strength(step.epoch) * right_reasons(maps[:, None], wrong)
        self.report_ratio(step, term)
        return {"cam": term}


class RRRG(PresetModule):
    """LightningModule for RRR-G."""

    feedback_class: ClassVar[type[Feedback]] = RRRGFeedback
