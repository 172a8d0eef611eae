"""Comparisons made from run folders alone: tables, statistics and one HTML page. Imports none of the training code."""

from xfeedback.report.compare import compare
from xfeedback.report.rows import Comparison
from xfeedback.report.tables import show

__all__ = ["Comparison", "compare", "show"]
