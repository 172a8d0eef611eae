"""The algebra that every method is written in: a step, a feedback, and the LightningModule that hosts feedbacks.

Names are imported when first used: options alone need neither torch nor Lightning.
"""

from typing import TYPE_CHECKING

from xfeedback.feedback.options import FeedbackConfig, OptimiserConfig, WeightedConfig
from xfeedback.lazy import lazy

if TYPE_CHECKING:
    from xfeedback.feedback.base import Feedback, View
    from xfeedback.feedback.module import FeedbackModule, PresetModule
    from xfeedback.feedback.step import Step

__all__ = [
    "Feedback",
    "FeedbackConfig",
    "FeedbackModule",
    "OptimiserConfig",
    "PresetModule",
    "Step",
    "View",
    "WeightedConfig",
]

__getattr__, __dir__ = lazy(
    __name__,
    base=("Feedback", "View"),
    module=("FeedbackModule", "PresetModule"),
    step=("Step",),
)
