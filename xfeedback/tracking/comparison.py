"""A sweep's comparison at wandb: a run of its own with tables, charts, the page and the pictures of its runs."""

import csv
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xfeedback import files
from xfeedback.report.metrics import describe
from xfeedback.report.rows import Comparison, Group
from xfeedback.report.tables import cell, headline_metrics
from xfeedback.tracking import charts, wandb_run
from xfeedback.tracking.pictures import PICTURES
from xfeedback.tracking.words import note, one_line

if TYPE_CHECKING:
    from wandb import Table

JOB = "comparison"
SEEDS = ("dataset", "model", "method", "seed", "metric", "value", "run")
"""Columns of the table of single values."""
_TEXTS = ("dataset", "model", "method", "metric", "verdict")
_SENT = "sent.sha256"


def log_comparison(comparison: Comparison, about: wandb_run.About, *, charts_of: str | None = None) -> bool:
    """Send a comparison as a run of its own; one that has been sent as it is is left alone.

    Whatever fails is said in one line; the comparison's own files are there in any case.

    Args:
        comparison: with its files written to ``about.folder``.
        about: the run; its id follows from the cells, so that a comparison that grows stays one run.
        charts_of: at wandb, whose charts of ``scripts/wandb_dashboard.py`` are used; None: wandb's own.

    Returns:
        Whether it was sent.
    """
    digest = hashlib.sha256((about.folder / "comparison.csv").read_bytes()).hexdigest()
    mark = about.folder / "wandb" / _SENT
    if mark.exists() and mark.read_text().strip() == digest:
        return False
    try:
        _send(comparison, about, charts_of)
        files.write_text(mark, digest + "\n")
    except Exception as error:  # noqa: BLE001 - a tracker ends no sweep
        note(f"wandb: the comparison was not sent: {one_line(error)}. Its files are in {about.folder}.")
        return False
    return True


def _send(comparison: Comparison, about: wandb_run.About, charts_of: str | None) -> None:
    run = wandb_run.start(about)
    try:
        with wandb_run.kept_in(about.folder):
            run.log(contents(comparison, about.folder, charts_of))
        run.summary.update(dict(summary(comparison)))
    except BaseException:
        wandb_run.finish(run, "failed")
        raise
    wandb_run.finish(run, "done")


def contents(comparison: Comparison, folder: Path, charts_of: str | None = None) -> dict[str, Any]:
    """Return what the run shows, by name: ``comparison``, ``seeds``, a table and a chart for each data set, and so on.

    Args:
        comparison: what is shown.
        folder: with ``comparison.csv`` and ``comparison.html``.
        charts_of: as in :func:`log_comparison`.
    """
    import wandb

    columns, rows = long_rows(folder / "comparison.csv")
    seeds = seed_rows(comparison)
    shown: dict[str, Any] = {
        "comparison": _table(columns, rows),
        "seeds": _table(SEEDS, seeds),
        "report": wandb.Html((folder / "comparison.html").read_text(), inject=False),
    }
    for group in comparison.groups:
        shown[f"table/{group.dataset}-{group.model}"] = table(group)
        if group.headline is not None:
            means, values = _table(columns, _of(rows, columns, group)), _table(SEEDS, _of(seeds, SEEDS, group))
            shown |= charts.of_group(group, means, values, charts_of)
    return shown | pictures(comparison)


def pictures(comparison: Comparison) -> dict[str, Any]:
    """Return what the runs of the first seed have to show, side by side."""
    import wandb

    first = min(run.seed for run in comparison.runs)
    runs = [run for run in comparison.runs if run.seed == first]
    found = {name: [run for run in runs if (run.folder / file).exists()] for name, file in PICTURES.items()}
    return {
        name: [wandb.Image(str(run.folder / PICTURES[name]), caption=run.name) for run in having]
        for name, having in found.items()
        if having
    }


def _table(columns: Sequence[str], rows: list[list[Any]]) -> "Table":
    import wandb

    return wandb.Table(columns=[*columns], data=[[*row] for row in rows])


def _of(rows: list[list[Any]], columns: Sequence[str], group: Group) -> list[list[Any]]:
    """The lines of the headline of one data set and model."""
    places = [columns.index(name) for name in ("dataset", "model", "metric")]
    wanted = [group.dataset, group.model, group.headline]
    return [row for row in rows if [row[place] for place in places] == wanted]


def long_rows(path: Path) -> tuple[list[str], list[list[Any]]]:
    """Return columns and lines of ``comparison.csv``, with numbers as numbers and None where there is none."""
    with path.open(newline="") as file:
        columns, *lines = csv.reader(file)
    return columns, [[_value(name, text) for name, text in zip(columns, line, strict=True)] for line in lines]


def _value(column: str, text: str) -> Any:
    if column in _TEXTS:
        return text
    return float(text) if text else None


def seed_rows(comparison: Comparison) -> list[list[Any]]:
    """Return a line for each row, metric and seed, with the name of its run."""
    return [
        [row.dataset, row.model, row.label, seed, metric, value, names[seed]]
        for row in comparison.rows
        for names in [{run.seed: run.name for run in row.runs}]
        for metric, values in row.values.items()
        for seed, value in sorted(values.items())
    ]


def table(group: Group) -> "Table":
    """Return the table for people: a line for each method, means with half the width of their intervals."""
    metrics = headline_metrics(group)
    heads = [f"{describe(name).short} {describe(name).unit}".strip() for name in metrics]
    data = [
        [row.label, *(cell(row, name, position == 0) for position, name in enumerate(metrics)), row.count]
        for row in group.rows
    ]
    return _table(["method", *heads, "n"], data)


def summary(comparison: Comparison) -> Mapping[str, float]:
    """Return the headline means by data set, model and method, and how many cells are finished."""
    means = {
        f"{group.dataset}/{group.model}/{row.label}": row.summaries[name].mean
        for group in comparison.groups
        if (name := group.headline) is not None
        for row in group.rows
        if name in row.summaries
    }
    done = sum(run.status == "done" for run in comparison.runs)
    return {**means, "cells": len(comparison.runs), "cells_done": done}
