"""Metrics as pure functions on tensors."""

from xfeedback.metrics.localisation import mass_inside

__all__ = ["mass_inside"]
