"""Losses as pure functions on tensors."""

from xfeedback.losses.consistency import kl_consistency
from xfeedback.losses.distance import distance_aware, distance_to_region, pool_mask
from xfeedback.losses.right_reasons import right_reasons

__all__ = ["distance_aware", "distance_to_region", "kl_consistency", "pool_mask", "right_reasons"]
