"""Hydra finds the comparison sweeper here; the work is done in :mod:`xfeedback.engine.sweep`."""

from hydra_plugins.xfeedback_sweeper.sweeper import ComparisonSweeper

__all__ = ["ComparisonSweeper"]
