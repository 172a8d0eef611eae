"""Metrics as pure functions on tensors."""

from xfeedback.metrics.groups import accuracy, balanced_accuracy, decoy_effect, worst_group
from xfeedback.metrics.localisation import (
    WrongReasons,
    expectation,
    half_height_iou,
    mass_inside,
    peak_precision_recall,
    pixel_distance,
    pointing,
)

__all__ = [
    "WrongReasons",
    "accuracy",
    "balanced_accuracy",
    "decoy_effect",
    "expectation",
    "half_height_iou",
    "mass_inside",
    "peak_precision_recall",
    "pixel_distance",
    "pointing",
    "worst_group",
]
