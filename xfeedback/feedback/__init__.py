"""The algebra that every method is written in: a step, a feedback, and the LightningModule that hosts feedbacks.

Names are imported when first used: options alone need neither torch nor Lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from xfeedback.feedback.options import FeedbackConfig, OptimiserConfig, WeightedConfig

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

_HOMES = {"Feedback": "base", "View": "base", "FeedbackModule": "module", "PresetModule": "module", "Step": "step"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
