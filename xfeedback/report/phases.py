"""Phases of incremental training on the HTML page: accuracy after each, and what was forgotten, as a coloured table."""

from collections.abc import Mapping, Sequence
from html import escape
from statistics import fmean
from typing import Any

from xfeedback.report.collect import Run
from xfeedback.report.plots import curves
from xfeedback.report.rows import Group, Row
from xfeedback.report.svg import tag

KEY = "test accuracy"
"""What the curves show."""


def phase_curves(group: Group, slots: Mapping[str, int]) -> str:
    """Accuracy on the whole test set after each phase, a line for each row; empty without phases."""
    histories: dict[str, dict[int, list[dict[str, float]]]] = {}
    for row in group.rows:
        found = {run.seed: [{KEY: value} for value in after_phases(run)] for run in row.done}
        if any(found.values()):
            histories[row.label] = found
    return curves(histories, KEY, slots, axis="phase", first=0) if histories else ""


def after_phases(run: Run) -> list[float]:
    """Return the accuracy on the whole test set after each phase of a run."""
    values = []
    while (name := f"acc/phase_{len(values)}") in run.metrics:
        values.append(run.metrics[name])
    return values


def matrices(group: Group, slots: Mapping[str, int]) -> str:
    """A table for each row: accuracy on each test after each phase, mean over the seeds; empty without phases."""
    tables = [_table(row, slots) for row in group.rows]
    return tag("div", "".join(tables), class_="matrices") if any(tables) else ""


def mean_matrix(runs: Sequence[Run], name: str) -> list[list[float]]:
    """Return the mean over runs of a matrix of their results; runs of another shape than the first's are left out."""
    every = [run.matrices[name] for run in runs if isinstance(run.matrices.get(name), list)]
    every = [matrix for matrix in every if _shape(matrix) == _shape(every[0])]
    return [[fmean(values) for values in zip(*rows, strict=True)] for rows in zip(*every, strict=True)]


def learned_in(runs: Sequence[Run], matrix: Sequence[Sequence[float]]) -> list[int]:
    """Return by column of :func:`mean_matrix` which phase teaches its test, after which it is called."""
    first = next(run for run in runs if run.matrices)
    return [int(phase) for phase in first.matrices.get("learned", range(len(matrix[0])))]


def _shape(matrix: Sequence[Sequence[Any]]) -> list[int]:
    return [len(row) for row in matrix]


def _table(row: Row, slots: Mapping[str, int]) -> str:
    matrix = mean_matrix(row.done, "accuracy")
    if not matrix:
        return ""
    learned = learned_in(row.done, matrix)
    heads = tag("th", "after phase", scope="col")
    heads += "".join(tag("th", f"test {phase}", scope="col") for phase in learned)
    lines = [_line(str(i), values, i, learned) for i, values in enumerate(matrix)]
    before = [run.matrices["initial"] for run in row.done if run.matrices.get("initial")]
    if before:
        lines.insert(0, _line("untrained", [fmean(values) for values in zip(*before, strict=True)], -1, learned))
    lines.append(_forgotten(matrix, learned))
    caption = tag("caption", tag("i", class_=f"swatch s{slots[row.label]}") + escape(row.label))
    body = caption + tag("thead", tag("tr", heads)) + tag("tbody", "".join(lines))
    return tag("div", tag("table", body, class_="matrix", data_row=row.label), class_="scroll")


def _line(name: str, values: Sequence[float], phase: int, learned: Sequence[int]) -> str:
    cells = [tag("th", name, scope="row")]
    for value, since in zip(values, learned, strict=True):
        style = f"--a:{min(max(value, 0), 100):.0f}%"
        cells.append(tag("td", f"{value:.1f}", style=style, class_="before" if phase < since else None))
    return tag("tr", "".join(cells))


def _forgotten(matrix: Sequence[Sequence[float]], learned: Sequence[int]) -> str:
    last = len(matrix) - 1
    cells = [tag("th", "forgotten", scope="row")]
    for j, since in enumerate(learned):
        lost = max((row[j] for row in matrix[since:last]), default=None)
        cells.append(tag("td", "–" if lost is None else f"{lost - matrix[last][j]:.1f}", class_="lost"))
    return tag("tr", "".join(cells))
