"""Plain training given as much time as another method takes: the control that a gain must beat.

How and when it is used: `docs/methods/saliency_guided.md`, section "Controls" (``method=plain_equal_time``).
"""

from dataclasses import dataclass
from typing import ClassVar

from xfeedback.config import require
from xfeedback.feedback import Feedback, FeedbackConfig, PresetModule


@dataclass(frozen=True, kw_only=True)
class PlainEqualTimeConfig(FeedbackConfig):
    """Options of plain training at equal time.

    Attributes:
        time_factor: how many times as many epochs as ``trainer.max_epochs`` says, with the schedule stretched alike:
            the step time of the method that it stands beside, relative to plain.
    """

    time_factor: float = 2.67

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.time_factor > 0, "time_factor", self.time_factor, "above 0")


class PlainEqualTimeFeedback(Feedback[PlainEqualTimeConfig]):
    """The empty feedback; :func:`xfeedback.engine.equal_time.lengthened` makes its training longer."""

    name = "plain_equal_time"
    stacks = True
    compiles = True
    Config = PlainEqualTimeConfig
    takes = ("image", "series", "text")
    stamps = ("control=equal_time",)

    @property
    def full_strength(self) -> float:
        """Nothing to add."""
        return 0.0


class PlainEqualTime(PresetModule):
    """LightningModule for plain training at equal time."""

    feedback_class: ClassVar[type[Feedback]] = PlainEqualTimeFeedback
