"""What speaks against a row's numbers: runs that are missing, that say one class to everything, or that are too few."""

from collections.abc import Sequence

from xfeedback.report.rows import Group, Row
from xfeedback.report.words import problems, some, status_verdict

FEWEST = 3
"""Seeds below which an interval says little: with two, Student's factor is 12.7."""
LARGEST_SHARE = "predicted/largest_share"
COLLAPSED = 99.0
"""Percent of the test samples with one predicted class from which on a run counts as collapsed."""


def doubts(row: Row) -> list[str]:
    """One line for each reason to mistrust ``row``, with the seeds: failed, unfinished, of other data, collapsed."""
    return [*problems(row), *_of_other_data(row), *_collapsed(row)]


def warnings(group: Group) -> list[str]:
    """Sentences on rows of other data, collapsed ones and ones of two seeds; a single seed is named with its number."""
    strange = [f"{row.label} ({line})" for row in group.rows for line in _of_other_data(row)]
    fallen = [f"{row.label} ({line})" for row in group.rows for line in _collapsed(row)]
    few = [row.label for row in group.rows if 1 < len(row.done) < FEWEST]
    return [
        *([f"Other data: {some(strange)}."] if strange else []),
        *([f"Collapsed: {some(fallen)}."] if fallen else []),
        *([f"Two seeds only, so intervals are wide and say little: {some(few)}."] if few else []),
    ]


def _collapsed(row: Row) -> list[str]:
    """One line where some runs of ``row`` predict a single class."""
    fallen = [seed for seed, share in row.values.get(LARGEST_SHARE, {}).items() if share >= COLLAPSED]
    return _named("predicts a single class", fallen, row)


def _of_other_data(row: Row) -> list[str]:
    """One line where some runs of ``row`` read other data than its baseline."""
    return _named("read other data than the baseline", row.strangers, row)


def _named(text: str, seeds: Sequence[int], row: Row) -> list[str]:
    return [f"{status_verdict(text, seeds, row)}: seed {', '.join(map(str, seeds))}"] if seeds else []
