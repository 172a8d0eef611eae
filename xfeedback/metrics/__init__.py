"""Metrics as pure functions on tensors; those that need more than torch are imported when first used.

>>> import torch
>>> accuracy(torch.tensor([0, 1, 1, 1]), torch.tensor([0, 1, 0, 1]))
75.0
"""

from typing import TYPE_CHECKING

from xfeedback.lazy import lazy
from xfeedback.metrics.groups import accuracy, balanced_accuracy, decoy_effect, largest_share, worst_group
from xfeedback.metrics.localisation import (
    WrongReasons,
    changed_cells,
    expectation,
    half_height_iou,
    mass_inside,
    peak_precision_recall,
    pixel_distance,
    pointing,
)

if TYPE_CHECKING:
    from xfeedback.metrics.calibration import brier, calibration_error, largest_calibration_error, log_loss
    from xfeedback.metrics.continual import average_accuracy, backward_transfer, forgetting, forward_transfer
    from xfeedback.metrics.faithfulness import area, removal_ranks
    from xfeedback.metrics.rationales import aopc, auprc, token_f1
    from xfeedback.metrics.relevance import relevance_areas, weighted_precision_recall
    from xfeedback.metrics.road import noisy_linear_imputation

__all__ = [
    "WrongReasons",
    "accuracy",
    "aopc",
    "area",
    "auprc",
    "average_accuracy",
    "backward_transfer",
    "balanced_accuracy",
    "brier",
    "calibration_error",
    "changed_cells",
    "decoy_effect",
    "expectation",
    "forgetting",
    "forward_transfer",
    "half_height_iou",
    "largest_calibration_error",
    "largest_share",
    "log_loss",
    "mass_inside",
    "noisy_linear_imputation",
    "peak_precision_recall",
    "pixel_distance",
    "pointing",
    "relevance_areas",
    "removal_ranks",
    "token_f1",
    "weighted_precision_recall",
    "worst_group",
]

__getattr__, __dir__ = lazy(
    __name__,
    calibration=("brier", "calibration_error", "largest_calibration_error", "log_loss"),
    continual=("average_accuracy", "backward_transfer", "forgetting", "forward_transfer"),
    faithfulness=("area", "removal_ranks"),
    rationales=("aopc", "auprc", "token_f1"),
    relevance=("relevance_areas", "weighted_precision_recall"),
    road=("noisy_linear_imputation",),
)
