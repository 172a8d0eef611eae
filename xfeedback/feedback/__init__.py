"""The algebra that every method is written in: a step, a feedback, and the LightningModule that hosts feedbacks."""

from xfeedback.feedback.base import Feedback, FeedbackConfig, View
from xfeedback.feedback.module import FeedbackModule, PresetModule
from xfeedback.feedback.optimise import OptimiserConfig
from xfeedback.feedback.step import Step

__all__ = ["Feedback", "FeedbackConfig", "FeedbackModule", "OptimiserConfig", "PresetModule", "Step", "View"]
