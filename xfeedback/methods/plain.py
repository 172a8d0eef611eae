"""Plain training: cross-entropy alone, the baseline of every comparison."""

from dataclasses import dataclass

from xfeedback.feedback import Feedback, FeedbackConfig, PresetModule


@dataclass(frozen=True, kw_only=True)
class PlainConfig(FeedbackConfig):
    """No options of its own."""


class PlainFeedback(Feedback):
    """The empty feedback."""

    name = "plain"
    stacks = True
    compiles = True
    takes = ("image", "series", "text")
    Config = PlainConfig

    @property
    def full_strength(self) -> float:
        """Nothing to add."""
        return 0.0


class Plain(PresetModule):
    """LightningModule for plain training."""

    feedback_class = PlainFeedback
