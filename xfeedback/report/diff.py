"""Means over data sets of what maps are above random ones: Diff of saliency guided training (Ismail et al. 2021).

    python -m xfeedback.report.diff outputs/runs

Its exact definition is not in reach; ours is in `docs/methods/saliency_guided.md`, "Diff".
"""

import argparse
import csv
import io
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from xfeedback.errors import UserError, unknown
from xfeedback.files import write_text
from xfeedback.papers import everything
from xfeedback.report.collect import collect
from xfeedback.report.metrics import describe
from xfeedback.report.rows import PLAIN, Comparison, Group, Row, build
from xfeedback.report.stats import CONFIDENCE, Summary, holm, paired, summarise
from xfeedback.report.tables import warned
from xfeedback.report.words import escape_markdown, mean_text, probability, span

LEAST = 90.0
"""Test accuracy in percent below which a data set is left out, for all rows at that seed."""
ACCURACY = "acc/test"
SCORES = ("diff_aup", "diff_aur", "aupr", "masking_gain")
ALL = "all"
RANDOM = "random"
"""The explainer whose maps no training changes: it is shown and not compared."""
COLUMNS: tuple[str, ...] = (
    "model", "sets", "score", "explainer", "row", "mean", "ci_low", "ci_high", "n_seeds", "retained", "difference",
    "difference_low", "difference_high", "p", "published",
)  # fmt: skip
_PAPER = {"lstm_cell_attention": "lstm_ica"}
"""What the paper's table calls a network where its name is another one."""


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """One row's mean over data sets.

    Attributes:
        sets: which data sets: ``all``, or those of a process.
        score: one of :data:`SCORES`.
        row: its label.
        values: the mean over the retained data sets by seed.
        retained: how many these are by seed.
        pairs: by seed, what it is above the row compared with; empty for that one.
        p_value: of a two-sided t-test of ``pairs``, after Holm over the rows and explainers of one network and score.
        published: what the paper has, or None.
    """

    model: str
    sets: str
    score: str
    explainer: str
    row: str
    values: Mapping[int, float]
    retained: Mapping[int, int]
    pairs: Mapping[int, float]
    p_value: float | None = None
    published: float | None = None

    @property
    def summary(self) -> Summary:
        """Mean and interval over the seeds."""
        return summarise(list(self.values.values()))

    @property
    def difference(self) -> Summary | None:
        """Mean and interval of the pairs, or None."""
        return summarise(list(self.pairs.values())) if self.pairs else None


def retained(groups: Sequence[Group], arms: Iterable[str], least: float = LEAST) -> dict[int, list[Group]]:
    """Return by seed the data sets on which every one of ``arms`` (labels of rows) reaches ``least`` percent."""
    arms = list(arms)
    found: dict[int, list[Group]] = {}
    for group in groups:
        reached = {row.label: row.values.get(ACCURACY, {}) for row in group.rows}
        for seed in sorted({seed for values in reached.values() for seed in values}):
            enough = all(reached.get(arm, {}).get(seed, float("-inf")) >= least for arm in arms)
            found.setdefault(seed, []).extend([group] if enough else [])
    return found


def pooled(comparison: Comparison, *, least: float = LEAST, baseline: str = PLAIN) -> list[Pooled]:
    """Return every score of every row, explainer and network, over all data sets and over those of each process.

    Args:
        comparison: of runs with ``evaluation.faithfulness=[relevance]``.
        least: test accuracy in percent that every row must reach.
        baseline: label of the row that the others are compared with.

    Raises:
        UserError: no network has a row of that label.
    """
    labels = {row.label for row in comparison.rows}
    if baseline not in labels:
        raise unknown("baseline", baseline, labels)
    found: list[Pooled] = []
    for model in dict.fromkeys(group.model for group in comparison.groups):
        groups = [group for group in comparison.groups if group.model == model]
        arms = list(dict.fromkeys(row.label for g in groups for row in g.rows))
        kept = retained(groups, arms, least)
        for name in (ALL, *dict.fromkeys(_process(group) for group in groups)):
            chosen = {seed: [g for g in sets if name in (ALL, _process(g))] for seed, sets in kept.items()}
            for score in SCORES:
                found += _adjusted(list(_cells(_Chosen(model, name, chosen), score, arms, baseline)))
    return found


def _process(group: Group) -> str:
    return group.rows[0].options.get("dataset.process", "other")


class _Chosen(NamedTuple):
    """Data sets of one network by seed, and what they have in common."""

    model: str
    sets: str
    by_seed: Mapping[int, list[Group]]


def _cells(chosen: _Chosen, score: str, arms: Sequence[str], baseline: str) -> Iterator[Pooled]:
    groups = [group for found in chosen.by_seed.values() for group in found]
    for explainer in dict.fromkeys(name for group in groups for name in _explainers(group, score)):
        metric = f"faithfulness/{score}_{explainer}"
        means = {arm: _means(chosen.by_seed, arm, metric) for arm in arms}
        for arm in arms:
            if means[arm]:
                yield Pooled(
                    model=chosen.model, sets=chosen.sets, score=score, explainer=explainer, row=arm, values=means[arm],
                    retained={seed: len(chosen.by_seed[seed]) for seed in means[arm]},
                    pairs={} if arm == baseline else paired(means[arm], means.get(baseline, {})),
                    published=_published(_row(groups[0], arm), score, explainer) if chosen.sets == ALL else None,
                )  # fmt: skip


def _explainers(group: Group, score: str) -> list[str]:
    start = f"faithfulness/{score}_"
    return [name.removeprefix(start) for name in group.metrics if name.startswith(start)]


def _row(group: Group, label: str) -> Row:
    return next(row for row in group.rows if row.label == label)


def _means(chosen: Mapping[int, list[Group]], arm: str, metric: str) -> dict[int, float]:
    """A seed's mean over its data sets; seeds without any, or with one that was not measured, have none."""
    values = {
        seed: [_row(group, arm).values.get(metric, {}).get(seed) for group in groups]
        for seed, groups in chosen.items()
        if groups
    }
    return {seed: fmean(v for v in found if v is not None) for seed, found in values.items() if None not in found}


def _published(row: Row, score: str, explainer: str) -> float | None:
    if row.is_control:
        return None
    name = f"faithfulness/{score}_{_PAPER.get(row.model, row.model)}_{explainer}"
    cells = [c for c in everything() if (c.dataset, c.method, c.metric) == ("synthetic_series", row.method, name)]
    return next((cell.value for cell in cells if isinstance(cell.value, float)), None)


def _adjusted(cells: Sequence[Pooled]) -> list[Pooled]:
    raw = {
        str(at): cell.difference.p_value
        for at, cell in enumerate(cells)
        if cell.difference is not None and cell.explainer != RANDOM
    }
    adjusted = holm({at: p for at, p in raw.items() if p is not None})
    return [replace(cell, p_value=adjusted.get(str(at))) for at, cell in enumerate(cells)]


def long_csv(cells: Iterable[Pooled]) -> str:
    """All means with :data:`COLUMNS`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_line(cell) for cell in cells)
    return text.getvalue()


def _line(cell: Pooled) -> dict[str, str]:
    found = {name: str(getattr(cell, name)) for name in ("model", "sets", "score", "explainer", "row")}
    found |= {"n_seeds": str(len(cell.values)), "retained": " ".join(map(str, cell.retained.values()))}
    found |= _numbers(cell.summary, "mean", "ci_low", "ci_high")
    if cell.difference is not None:
        found |= _numbers(cell.difference, "difference", "difference_low", "difference_high")
    found |= {"p": "" if cell.p_value is None else f"{cell.p_value:.4g}"}
    return found | {"published": "" if cell.published is None else f"{cell.published:g}"}


def _numbers(summary: Summary, mean: str, low: str, high: str) -> dict[str, str]:
    found = {mean: f"{summary.mean:.6g}"}
    ends = summary.interval
    return found if ends is None else {**found, low: f"{ends.low:.6g}", high: f"{ends.high:.6g}"}


def markdown(cells: Sequence[Pooled], *, least: float = LEAST, baseline: str = PLAIN) -> str:
    """A table for each network and score over all data sets: a line a row, a column an explainer."""
    return "\n".join(["# Above random maps, means over data sets", "", note(least, baseline), "", *tables(cells, "##")])


def note(least: float = LEAST, baseline: str = PLAIN) -> str:
    """What the tables of :func:`markdown` hold."""
    return (
        f"Data sets count at a seed where every row reaches {least:g} % test accuracy. Mean over the seeds with half "
        f"its 95 % interval; * differs from {baseline} (p below 0.05 after Holm over the table). Published cells: the "
        "paper's data sets, masked share and definition of Diff are not in reach, so compare sign and order."
    )


def tables(cells: Sequence[Pooled], heading: str) -> list[str]:
    """Lines of the tables of :func:`markdown`, each below a heading of the level of ``heading``."""
    whole = [cell for cell in cells if cell.sets == ALL]
    parts = []
    for model, score in dict.fromkeys((cell.model, cell.score) for cell in whole):
        own = [cell for cell in whole if (cell.model, cell.score) == (model, score)]
        counts = ", ".join(f"seed {seed}: {n}" for seed, n in own[0].retained.items())
        title = f"{heading} {model}: {describe(f'faithfulness/{score}').short}"
        parts += [title, "", f"Data sets: {counts}.", "", *_table(own), ""]
    return parts


def differences(cells: Sequence[Pooled], row: str) -> list[str]:
    """Lines of a table of what ``row`` is above the row that ``cells`` are compared with, over all data sets.

    A line a network and score, a column an explainer; p is after Holm over the rows and explainers of a line.
    """
    own = [cell for cell in cells if cell.sets == ALL and cell.row == row and cell.explainer != RANDOM and cell.pairs]
    explainers = list(dict.fromkeys(cell.explainer for cell in own))
    lines = [["network", "score", *explainers], ["---", "---"] + ["---:"] * len(explainers)]
    for model, score in dict.fromkeys((cell.model, cell.score) for cell in own):
        found = {cell.explainer: cell for cell in own if (cell.model, cell.score) == (model, score)}
        title = describe(f"faithfulness/{score}").short
        lines.append([model, title, *(_difference(found.get(name)) for name in explainers)])
    return [f"| {' | '.join(line)} |" for line in lines]


def _difference(cell: Pooled | None) -> str:
    if cell is None or cell.difference is None:
        return "–"
    text = span(cell.difference, describe(f"faithfulness/{cell.score}").digits)
    return escape_markdown(text if cell.p_value is None else f"{text} ({probability(cell.p_value)})")


def _table(cells: Sequence[Pooled]) -> list[str]:
    explainers = list(dict.fromkeys(cell.explainer for cell in cells))
    lines = [["row", *explainers], ["---"] * (1 + len(explainers))]
    for row in dict.fromkeys(cell.row for cell in cells):
        own = {cell.explainer: cell for cell in cells if cell.row == row}
        lines.append([escape_markdown(row), *(_shown(own.get(name)) for name in explainers)])
        if any(cell.published is not None for cell in own.values()):
            numbers = [own[name].published if name in own else None for name in explainers]
            lines.append(["published", *("–" if number is None else f"{number:.3f}" for number in numbers)])
    return [f"| {' | '.join(line)} |" for line in lines]


def _shown(cell: Pooled | None) -> str:
    if cell is None:
        return "–"
    text = mean_text(cell.summary, describe(f"faithfulness/{cell.score}"))
    return f"{text} *" if cell.p_value is not None and cell.p_value < 1 - CONFIDENCE else text


def main(arguments: Sequence[str] | None = None) -> int:
    """Write ``diff.md`` and ``diff.csv``; returns the exit code (2 for a mistake in the request)."""
    parser = argparse.ArgumentParser(prog="python -m xfeedback.report.diff", description="Means over data sets.")
    parser.add_argument("runs", nargs="+", help="run folders, folders that hold some, or glob patterns")
    parser.add_argument("--out", type=Path, default=Path("outputs/diff"), help="folder (default: %(default)s)")
    parser.add_argument("--least", type=float, default=LEAST, help="test accuracy in percent (default: %(default)s)")
    parser.add_argument("--baseline", default=PLAIN, help="row to compare with (default: %(default)s)")
    asked = parser.parse_args(arguments)
    try:
        found = collect(asked.runs)
        series = [run for run in found.runs if any(name.startswith("faithfulness/aup_") for name in run.metrics)]
        if not series:
            raise UserError("no run measured AUP; add evaluation.faithfulness=[relevance] to runs on series")
        cells = pooled(warned(build(series, warnings=found.warnings)), least=asked.least, baseline=asked.baseline)
        if not cells:
            raise UserError(f"at no seed do all rows reach {asked.least:g} % on one data set; lower --least")
        write_text(asked.out / "diff.md", markdown(cells, least=asked.least, baseline=asked.baseline))
        write_text(asked.out / "diff.csv", long_csv(cells))
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(str(asked.out / f"diff.{suffix}") for suffix in ("md", "csv")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
