"""What runs on data with decoys say about shortcuts: gates, controls, and which score of maps follows accuracy.

Gates, success and tables as in `docs/methods/xbl.md`; everything is made from the metrics of run folders.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xfeedback.report.cells import differing
from xfeedback.report.controls import EQUAL_TIME
from xfeedback.report.metrics import describe
from xfeedback.report.rows import Comparison, Group, Row
from xfeedback.report.stats import CONFIDENCE, Interval, Summary, paired_difference
from xfeedback.report.words import escape_markdown, fixed, mean_text, span

HEADLINE = "acc/random"
RELIANCE = "acc/reliance"
IN_WRONG = "explanation/wrong"
AREA = "explanation/area_wrong"
TOP_CLASS = "predicted/largest_share"
GATE = 20.0
"""Points that plain training must lose on random decoys for a decoy to count as a shortcut."""
CLEAN = "acc/clean"
BELOW_CEILING = 5.0
"""Points on images without decoys that success may cost beside plain training without decoys."""
GAIN = 10.0
"""Points over plain training that count as success."""
COLLAPSED = 99.0
"""Percent of the test set in one predicted class from which a run counts as collapsed."""
_RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Correlation:
    """How a metric follows accuracy over runs.

    Attributes:
        metric: its name.
        rho: Spearman's rank correlation.
        interval: its 95 % bootstrap interval over runs.
        n: number of runs.
    """

    metric: str
    rho: float
    interval: Interval
    n: int


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether the decoy fools one plain run, and whether its map shows it; None where it was not recorded.

    Attributes:
        seed: of the run.
        reliance: points lost when decoys are random instead of class-coded.
        wrong: mass of the map in the wrong region, in percent.
        area: the region's share of the image, in percent.
    """

    seed: int
    reliance: float
    wrong: float | None
    area: float | None

    @property
    def fooled(self) -> bool:
        """G1: the decoy is a shortcut for this run."""
        return self.reliance > GATE

    @property
    def shown(self) -> bool | None:
        """G2: the map has more mass in the wrong region than a uniform one."""
        return None if self.wrong is None or self.area is None else self.wrong > self.area


def spearman(x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """Return Spearman's rank correlation over the last axis; ties share their ranks' mean, NaN where all are tied.

    Args:
        x: ``(..., n)``.
        y: ``(..., n)``.

    >>> float(spearman([1, 2, 3], [10, 30, 20]))
    0.5
    """
    from scipy.stats import rankdata

    ranks = [rankdata(values, axis=-1) for values in (x, y)]
    one, two = (values - values.mean(-1, keepdims=True) for values in ranks)
    scale = np.sqrt((one**2).sum(-1) * (two**2).sum(-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(scale > 0, (one * two).sum(-1) / scale, np.nan)


def correlation(metric: str, values: Sequence[float], accuracies: Sequence[float]) -> Correlation | None:
    """Return how a metric follows accuracy over runs, with a percentile bootstrap interval (runs are drawn anew).

    None for fewer than four runs, or where all runs have the same value or accuracy.
    """
    x, y = np.asarray(values, dtype=np.float64), np.asarray(accuracies, dtype=np.float64)
    n = len(x)
    if n < 4 or np.isnan(rho := float(spearman(x, y))):
        return None
    drawn = np.random.default_rng(0).integers(0, n, (_RESAMPLES, n))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(spearman(x[drawn], y[drawn]), [tail, 1 - tail])
    return Correlation(metric, rho, Interval(float(low), float(high)), n)


def correlations(group: Group) -> list[Correlation]:
    """Return how each score of explanations follows accuracy on random decoys, the closest first."""
    runs = [run for row in group.rows for run in row.done if HEADLINE in run.metrics]
    names = [name for name in group.metrics if name.startswith("explanation/") and name != AREA]
    found = []
    for name in names:
        pairs = [(run.metrics[name], run.metrics[HEADLINE]) for run in runs if name in run.metrics]
        found.append(correlation(name, [x for x, _ in pairs], [y for _, y in pairs]))
    return sorted((one for one in found if one is not None), key=lambda one: -abs(one.rho))


def gates(row: Row) -> list[Gate]:
    """Return the gates of each finished seed of plain training."""
    return [
        Gate(run.seed, run.metrics[RELIANCE], run.metrics.get(IN_WRONG), run.metrics.get(AREA))
        for run in row.done
        if RELIANCE in run.metrics
    ]


def collapsed(row: Row) -> int | None:
    """Return how many finished runs put (nearly) the whole test set into one class; None where no run recorded it."""
    shares = row.values.get(TOP_CLASS, {})
    return sum(share >= COLLAPSED for share in shares.values()) if shares else None


def is_ceiling(row: Row) -> bool:
    """Return whether a row is plain training without decoys: what there is to gain at most."""
    return row.is_baseline and row.options.get("decoy.train") == "clean"


def controls_of(row: Row, group: Group) -> list[Row]:
    """Return the controls of a method's row: its own false annotations, and plain training at equal time.

    A false annotation belongs to the row of its method that differs from it in the fewest options.
    """
    methods = [other for other in group.rows if other.method == row.method and not other.is_control]

    def partner(control: Row) -> Row:
        return min(methods, key=lambda other: len(differing([control.options, other.options])))

    return [
        other
        for other in group.rows
        if other.is_control and (other.method == EQUAL_TIME or (other.method == row.method and partner(other) is row))
    ]


def difference(row: Row, other: Row) -> Summary | None:
    """Return the difference on random decoys, paired by seed."""
    return paired_difference(row.values.get(HEADLINE, {}), other.values.get(HEADLINE, {}))


def verdict(row: Row, group: Group) -> str:
    """Return in words whether a method's gain counts: over plain by more than 10 points, and over every control."""
    over, controls = row.differences.get(HEADLINE), controls_of(row, group)
    if over is None:
        return "not comparable: plain has no number with these seeds"
    short = []
    if not (over.mean > GAIN and _above(over)):
        short.append(f"not shown to gain {GAIN:.0f} points over plain ({span(over)})")
    lost = [control for control in controls if not _above(difference(row, control))]
    short += [f"not shown to beat {control.label}" for control in lost]
    if not controls:
        short.append("no control stands beside it")
    ceiling = next((other for other in group.rows if is_ceiling(other) and CLEAN in other.summaries), None)
    if ceiling is not None and CLEAN in row.summaries:
        missing = ceiling.summaries[CLEAN].mean - row.summaries[CLEAN].mean
        short += [f"{fixed(missing)} points below {ceiling.label} without decoys"] if missing > BELOW_CEILING else []
    for metric, sign in (("acc/worst_group", 1), ("explanation/decoy_effect", -1)):
        other = row.differences.get(metric)
        if other is not None and sign * other.mean <= 0:
            short.append(f"{describe(metric).short} disagrees")
    return "; ".join(short) or f"success: {span(over)} over plain, and beats {len(controls)} control(s)"


def _above(found: Summary | None) -> bool:
    return found is not None and found.above_zero


def markdown(comparison: Comparison) -> str:
    """Return the gates, controls and correlations of every group that was tested with random decoys."""
    parts = ["# Shortcuts", ""]
    for group in comparison.groups:
        if HEADLINE in group.metrics:
            parts += [f"## {group.dataset}, {group.model}", "", *_gates(group), *_controls(group), *_claim(group)]
    return "\n".join(parts if len(parts) > 2 else [*parts, "No run was tested with random decoys.", ""])


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    rule = ["---", *("---:" for _ in head[1:])]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *lines)] + [""]


def _gates(group: Group) -> list[str]:
    parts = []
    for row in (row for row in group.rows if row.is_baseline and not is_ceiling(row)):
        found = gates(row)
        if not found:
            continue
        one = sum(gate.fooled for gate in found)
        known = [gate for gate in found if gate.shown is not None]
        two = sum(bool(gate.shown) for gate in known)
        weak = "" if one == len(found) else ": strengthen the decoy"
        blind = "" if not known or two == len(known) else ": a loss on the map has nothing to push"
        head = ("seed", "as in training - random", "G1", "mass in wrong %", "its area %", "G2")
        parts += [f"Gates, {escape_markdown(row.label)}: G1 (fooled by more than {GATE:.0f} points) on {one} of "
                  f"{len(found)} seeds{weak}. G2 (map in the wrong region above its area) on {two} of "
                  f"{len(known)} seeds{blind}.", ""]  # fmt: skip
        parts += _table(head, (_gate_cells(gate) for gate in found))
    return parts


def _gate_cells(gate: Gate) -> list[str]:
    def yes(value: bool | None) -> str:
        return "not recorded" if value is None else "yes" if value else "no"

    shares = ["-" if value is None else fixed(value) for value in (gate.wrong, gate.area)]
    return [str(gate.seed), fixed(gate.reliance), yes(gate.fooled), *shares, yes(gate.shown)]


def _controls(group: Group) -> list[str]:
    lines = []
    for row in group.rows:
        if HEADLINE not in row.summaries:
            continue
        one_class = collapsed(row)
        count = "not recorded" if one_class is None else f"{one_class} of {len(row.done)}"
        seeds = " ".join(fixed(value) for value in row.values[HEADLINE].values())
        lines.append((escape_markdown(row.label), mean_text(row.summaries[HEADLINE], describe(HEADLINE)), seeds, count))
    methods = [row for row in group.rows if not row.is_baseline and not row.is_control]
    said = [f"- {escape_markdown(f'{row.label}: {verdict(row, group)}')}" for row in methods]
    return ["Controls: accuracy on random decoys, and runs that collapsed to one class.", "",
            *_table(("row", "mean %", "seeds", "collapsed"), lines), *said, *([""] if said else [])]  # fmt: skip


def _claim(group: Group) -> list[str]:
    found = correlations(group)
    if not found:
        return []
    lines = [
        (escape_markdown(describe(one.metric).title), fixed(one.rho, 2),
         f"[{fixed(one.interval.low, 2)}, {fixed(one.interval.high, 2)}]", str(one.n))
        for one in found
    ]  # fmt: skip
    return ["Spearman's correlation with accuracy on random decoys over all runs, 95 % bootstrap interval of runs.", "",
            *_table(("score", "rho", "interval", "runs"), lines)]  # fmt: skip
