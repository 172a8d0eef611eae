"""The comparison itself: runs grouped into rows (cells), rows into groups (data set and model)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from xfeedback.errors import unknown
from xfeedback.report.cells import cell_of, differing, fingerprint, flatten, labels
from xfeedback.report.collect import Run
from xfeedback.report.headline import headline_explainer, renamed
from xfeedback.report.metrics import STEP_RATIO, STEP_TIME, headline, ordered
from xfeedback.report.stats import CONFIDENCE, Summary, holm, mean_ranks, paired, summarise
from xfeedback.report.unsaid import completed

PLAIN = "plain"
_CONTROLS = ("annotation.control=", "annotation.noise=", "control")
_RANK = {"done": 2, "failed": 1, "unfinished": 0}
Values = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One cell: a data set, a model and a configured method, over all its seeds.

    Attributes:
        label: the method's name, with the differing options when several cells share it.
        runs: one run a seed, by seed, of any status.
        values: finished values by metric and seed.
        summaries: mean, sd and interval by metric.
        differences: paired difference to the baseline row by metric; empty without one and for the baseline itself.
        pairs: the same, seed by seed.
        p_values: of the differences' t-tests by metric, adjusted after Holm for the number of rows of the group.
        strangers: finished seeds that read other data than the first run of the baseline row did, by the fingerprint.
    """

    dataset: str
    model: str
    method: str
    label: str
    cell: str
    runs: tuple[Run, ...]
    is_baseline: bool
    options: Mapping[str, str] = field(default_factory=dict)
    values: Values = field(default_factory=dict)
    summaries: Mapping[str, Summary] = field(default_factory=dict)
    differences: Mapping[str, Summary] = field(default_factory=dict)
    pairs: Values = field(default_factory=dict)
    p_values: Mapping[str, float] = field(default_factory=dict)
    strangers: tuple[int, ...] = ()

    @property
    def done(self) -> tuple[Run, ...]:
        """Finished runs, by seed."""
        return tuple(run for run in self.runs if run.status == "done")

    @property
    def variant(self) -> str:
        """``clean`` or ``paper``; empty when its runs don't say."""
        return next((run.variant for run in self.runs), "")

    @property
    def stamps(self) -> tuple[str, ...]:
        """Stamps of any run of this row, without repeats."""
        return tuple(dict.fromkeys(stamp for run in self.runs for stamp in run.stamps))

    def differs(self, metric: str) -> bool:
        """Whether it differs from the baseline at 5 % after adjustment for the number of rows."""
        return self.p_values.get(metric, 1.0) < 1 - CONFIDENCE

    @property
    def is_control(self) -> bool:
        """Whether it stands here to be beaten: false annotations or explanations, or plain training at equal time."""
        return any(stamp.startswith(_CONTROLS) for stamp in self.stamps)

    @property
    def count(self) -> str:
        """Finished seeds, with the number asked for when some are missing: ``3`` or ``2/3``."""
        done, asked = len(self.done), len(self.runs)
        return str(done) if done == asked else f"{done}/{asked}"

    @property
    def problems(self) -> list[tuple[str, tuple[int, ...]]]:
        """Each distinct reason for missing seeds with those seeds: ``("failed: loss is nan", (2,))``."""
        seeds: dict[str, list[int]] = {}
        for run in self.runs:
            if run.status != "done":
                text = f"failed: {run.reason}" if run.status == "failed" else "unfinished"
                seeds.setdefault(text, []).append(run.seed)
        return [(text, tuple(found)) for text, found in seeds.items()]


@dataclass(frozen=True, kw_only=True)
class Group:
    """All rows of one data set and model, the baseline first."""

    dataset: str
    model: str
    rows: tuple[Row, ...]

    @property
    def metrics(self) -> list[str]:
        """Every metric that some row has, in display order."""
        return ordered(name for row in self.rows for name in row.summaries)

    @property
    def headline(self) -> str | None:
        """The accuracy that decides this comparison, or None when no row has one."""
        return headline(self.metrics)

    @property
    def baseline(self) -> Row | None:
        """The first baseline row, or None."""
        return next((row for row in self.rows if row.is_baseline), None)

    @property
    def stamps(self) -> tuple[str, ...]:
        """Stamps of any row, without repeats."""
        return tuple(dict.fromkeys(stamp for row in self.rows for stamp in row.stamps))


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a set of run folders says.

    Attributes:
        groups: one for each data set and model, in the order found.
        baseline: name of the method that the others are compared with.
        warnings: one line for each folder or file that could not be used.
        files: what was written, in order; empty before :func:`xfeedback.report.compare` has written.
    """

    groups: tuple[Group, ...]
    baseline: str
    warnings: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def rows(self) -> list[Row]:
        """The rows of all groups."""
        return [row for group in self.groups for row in group.rows]

    @property
    def runs(self) -> list[Run]:
        """The runs of all rows."""
        return [run for row in self.rows for run in row.runs]

    @property
    def ranks(self) -> dict[str, float]:
        """Mean rank by label over the groups' headline accuracies (1 = best), of the rows that all groups have.

        Empty for a single group: there is nothing to rank over.
        """
        named = [(group, group.headline) for group in self.groups]
        tables = [
            {row.label: row.summaries[name].mean for row in group.rows if name in row.summaries}
            for group, name in named
            if name is not None
        ]
        ranks = mean_ranks(tables) if len(tables) > 1 else {}
        return dict(sorted(ranks.items(), key=lambda item: item[1])) if len(ranks) > 1 else {}


def build(runs: Sequence[Run], *, baseline: str = PLAIN, warnings: Iterable[str] = ()) -> Comparison:
    """Group ``runs`` and compute every summary and every difference to ``baseline``.

    Raises:
        UserError: ``baseline`` was chosen and no run has that method (a missing ``plain`` only leaves out differences).
    """
    methods = {run.method for run in runs}
    if baseline != PLAIN and baseline not in methods:
        raise unknown("baseline", baseline, methods)
    notes = list(warnings)
    known = {fingerprint(run): run.cell for run in runs if run.cell} if any(not run.cell for run in runs) else {}
    cells: dict[tuple[str, str], dict[tuple[str, str], list[Run]]] = {}
    for run in runs:
        cells.setdefault((run.dataset, run.model), {}).setdefault((run.method, cell_of(run, known)), []).append(run)
    groups = tuple(_group(dataset, model, found, baseline, notes) for (dataset, model), found in cells.items())
    return Comparison(groups=groups, baseline=baseline, warnings=tuple(notes))


def _group(
    dataset: str, model: str, cells: Mapping[tuple[str, str], list[Run]], baseline: str, notes: list[str]
) -> Group:
    options = completed({key: flatten(runs[0].config) for key, runs in cells.items()})
    names: dict[tuple[str, str], str] = {}
    title = {key: _title(key[0], options[key]) for key in cells}
    for kind in dict.fromkeys(title.values()):
        own = {key: options[key] for key in cells if title[key] == kind}
        found = labels(kind, {cell: flat for (_, cell), flat in own.items()})
        names |= {key: found[key[1]] for key in own}
    bases = {key for key in cells if key[0] == baseline}
    bases = {key for key in bases if title[key] == baseline} or bases
    rows = [
        Row(
            dataset=dataset, model=model, method=key[0], label=names[key], cell=key[1],
            runs=_one_per_seed(found, notes), is_baseline=key in bases, options=options[key],
        )
        for key, found in cells.items()
    ]  # fmt: skip
    rows = _of_one_explainer(sorted(rows, key=lambda row: not row.is_baseline))
    rows = [replace(row, values=_values(row)) for row in rows]
    return Group(dataset=dataset, model=model, rows=_adjusted([_finished(row, rows) for row in rows]))


def _title(method: str, options: Mapping[str, str]) -> str:
    """The method's name, and what holds its network near what it has learned: ``xbl with ewc``."""
    held = options.get("continual.name")
    return f"{method} with {held}" if held else method


def _adjusted(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows with their p-values, adjusted over the rows metric by metric."""
    raw: dict[str, dict[str, float]] = {}
    for position, row in enumerate(rows):
        for metric, difference in row.differences.items():
            if difference.p_value is not None:
                raw.setdefault(metric, {})[str(position)] = difference.p_value
    adjusted = {metric: holm(p_values) for metric, p_values in raw.items()}
    return tuple(
        replace(row, p_values={metric: found[str(at)] for metric, found in adjusted.items() if str(at) in found})
        for at, row in enumerate(rows)
    )


def _one_per_seed(runs: Sequence[Run], notes: list[str]) -> tuple[Run, ...]:
    kept: dict[int, Run] = {}
    for run in runs:
        other = kept.get(run.seed)
        if other is not None and run.status == other.status == "done":
            notes.append(f"{other.folder} and {run.folder} are the same cell and seed; the first is used")
        if other is None or _RANK[run.status] > _RANK[other.status]:
            kept[run.seed] = run
    return tuple(kept[seed] for seed in sorted(kept))


def _of_one_explainer(rows: Sequence[Row]) -> list[Row]:
    """The rows, with scores of maps that have no ending all of one explainer, the baseline's where it has any."""
    own = {run.name: headline_explainer(run, row.options) for row in rows for run in row.done}
    shared = next((name for name in own.values() if name is not None), None)

    def called(run: Run) -> Run:
        other = own.get(run.name, shared)
        return run if other in (None, shared) else replace(run, metrics=renamed(run.metrics, other, shared))

    return [replace(row, runs=tuple(map(called, row.runs))) for row in rows]


def _values(row: Row) -> dict[str, dict[int, float]]:
    names = dict.fromkeys(name for run in row.done for name in run.metrics)
    return {name: {run.seed: run.metrics[name] for run in row.done if name in run.metrics} for name in names}


def _finished(row: Row, rows: Sequence[Row]) -> Row:
    """``row`` with its cost ratio, summaries, and how it differs from the baseline row nearest in its options."""
    base = row if row.is_baseline else _nearest_baseline(row, rows)
    values = dict(row.values)
    if base is not None and STEP_RATIO not in values and (ratio := _step_ratio(row, base)):
        values[STEP_RATIO] = ratio
    found = {}
    if base is not None and not row.is_baseline:
        found = {name: paired(values[name], base.values.get(name, {})) for name in values}
    pairs = {name: by_seed for name, by_seed in found.items() if by_seed}
    known = {run.seed: run.data for run in row.done if run.data}
    usual = next((run.data for run in (base or row).done if run.data), None)
    strangers = tuple(seed for seed, data in known.items() if usual not in (None, data))
    differences = _summaries(pairs)
    return replace(
        row, values=values, pairs=pairs, summaries=_summaries(values), differences=differences, strangers=strangers
    )


def _summaries(values: Values) -> dict[str, Summary]:
    return {name: summarise(list(by_seed.values())) for name, by_seed in values.items()}


def _nearest_baseline(row: Row, rows: Sequence[Row]) -> Row | None:
    """The baseline row that differs from ``row`` in the fewest options outside ``method``."""

    def distance(base: Row) -> int:
        return sum(not name.startswith("method.") for name in differing([row.options, base.options]))

    return min((base for base in rows if base.is_baseline), key=distance, default=None)


def _step_ratio(row: Row, base: Row) -> dict[int, float]:
    """Step time relative to the baseline's, seed by seed, for runs that did not measure the ratio themselves."""
    ours, theirs = row.values.get(STEP_TIME, {}), base.values.get(STEP_TIME, {})
    return {seed: ours[seed] / theirs[seed] for seed in ours if theirs.get(seed, 0) > 0}
