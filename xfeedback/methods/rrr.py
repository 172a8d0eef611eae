"""RRR, right for the right reasons (Ross et al. 2017): no input gradient where a person says the evidence is wrong.

Equations (1) to (3): `docs/methods/rrr.md`.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xfeedback.config import require
from xfeedback.errors import UserError
from xfeedback.feedback import Feedback, FeedbackConfig, PresetModule, Step
from xfeedback.losses import right_reasons
from xfeedback.types import Batch


@dataclass(frozen=True, kw_only=True)
class RRRConfig(FeedbackConfig):
    """Options of RRR.

    Attributes:
        weight: factor of the penalty.
    """

    weight: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.weight >= 0, "weight", self.weight, "0 or more")


class RRRFeedback(Feedback):
    """Penalise the squared input gradient of the summed log-probabilities inside the wrong region."""

    name = "rrr"
    Config = RRRConfig
    strength_option = "weight"
    annotation = "wrong"
    input_gradient = True
    config: RRRConfig

    def penalty(self, step: Step) -> dict[str, Tensor]:
        """Return ``{"gradient": weight * (1/B) sum (Wr * d/dx sum_k log p_k)^2}``; equations (1) to (3)."""
        grad = step.input_gradient("sum_log_prob", step.batch.y, "all", create_graph=True)
        return {"gradient": self.strength(step.epoch) * right_reasons(grad, wrong_region(step.batch))}


class RRR(PresetModule):
    """LightningModule for RRR."""

    feedback_class: ClassVar[type[Feedback]] = RRRFeedback


def wrong_region(batch: Batch) -> Tensor:
    """Return where evidence is wrong, bool ``(B, H, W)``: as annotated, else outside the right region; equation (2).

    Samples without annotation, or with an empty one, have none.

    Raises:
        UserError: the batch has neither a wrong nor a right region.
    """
    if batch.wrong is not None:
        wrong = batch.wrong
    elif batch.mask is not None:
        wrong = ~batch.mask & batch.mask.flatten(1).any(1)[:, None, None]
    else:
        raise UserError("method=rrr needs batches with a wrong or a right region; give the data set annotations.")
    return wrong if batch.annotated is None else wrong & batch.annotated[:, None, None]
