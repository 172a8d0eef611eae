"""Losses as pure functions on tensors.

>>> import torch
>>> region = torch.tensor([[[True, False, False]]])
>>> distance_to_region(region, norm="none")
tensor([[[0., 1., 2.]]])
"""

from xfeedback.losses.agreement import disagreement, min_max, upsampled
from xfeedback.losses.consistency import kl_consistency
from xfeedback.losses.distance import (
    distance_aware,
    distance_to_region,
    gated_distance,
    max_normalised,
    mean_distance,
    pool_mask,
)
from xfeedback.losses.right_reasons import right_reasons

__all__ = [
    "disagreement",
    "distance_aware",
    "distance_to_region",
    "gated_distance",
    "kl_consistency",
    "max_normalised",
    "mean_distance",
    "min_max",
    "pool_mask",
    "right_reasons",
    "upsampled",
]
