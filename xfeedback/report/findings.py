"""What a comparison found, in plain sentences made from measured values only."""

from collections.abc import Callable
from functools import partial

from xfeedback.report.controls import against_controls
from xfeedback.report.doubts import warnings
from xfeedback.report.metrics import AVERAGE, Metric, describe
from xfeedback.report.rows import Group, Row
from xfeedback.report.stats import CONFIDENCE, Summary, paired_difference, seeds_needed
from xfeedback.report.words import fixed, in_common, probability, some, span

_READS_DECOY = 20.0
"""Points that accuracy must fall on every seed, from the decoys of training to random ones, to be called fooled."""


def findings(group: Group, baseline: str) -> list[str]:
    """Plain sentences on what ``group`` shows; empty when nothing was measured.

    The baseline first, then what speaks against the numbers (runs that are missing, collapsed, too few), then what they
    show.
    """
    name = group.headline
    if name is None:
        return [*_missing(group)]
    sentences = _baseline_sentences(group, name)
    sentences += [*_missing(group), *warnings(group)]
    others = [row for row in group.rows if name in row.summaries and not row.is_baseline]
    compared = [row for row in others if name in row.differences]
    apart = [row for row in compared if row.differs(name)]
    better = sorted((r for r in apart if r.differences[name].mean > 0), key=lambda r: -r.differences[name].mean)
    worse = [row for row in apart if row.differences[name].mean < 0]
    single = [row for row in compared if row.differences[name].interval is None]
    open_ = [row for row in compared if row not in apart and row not in single]
    title = _on(describe(name))
    tested = [row for row in compared if name in row.p_values]
    seeds_for = partial(_needed, rows=len(tested))
    methods, controls = ([row for row in better if row.is_control is kind] for kind in (False, True))
    sentences += [f"Better than {baseline} {title}: {_listed(methods, name)}."] if methods else []
    sentences += [f"Controls that are better than {baseline} too: {_listed(controls, name)}."] if controls else []
    sentences += [f"Worse than {baseline} {title}: {_listed(worse, name)}."] if worse else []
    unclear = f"{title}{_adjusted(tested)}: {_listed(open_, name, seeds_for)}"
    sentences += [f"No difference from {baseline} shown {unclear}."] if open_ else []
    lonely = f"One seed in common with {baseline} {title}, so no interval"
    sentences += [f"{lonely}: {_listed(single, name)}."] if single else []
    alone = [row for row in others if row not in compared]
    sentences += [f"{describe(name).title}: {_listed(alone, name)}; nothing to compare with."] if alone else []
    return [s for s in [*sentences, *_explanation_sentence(group, better), *against_controls(group)] if s]


def _baseline_sentences(group: Group, name: str) -> list[str]:
    bases = [row for row in group.rows if row.is_baseline]
    said = [_baseline_sentence(row, name) for row in bases]
    several = "Each other row is compared with the one of these whose options are nearest to its own."
    return [*said, *([several] if len(bases) > 1 else [])]


def _baseline_sentence(row: Row, name: str) -> str:
    if name not in row.summaries:
        return ""
    mean = f"{fixed(row.summaries[name].mean)} %"
    seen, shown = row.values.get("acc/random", {}), row.values.get("acc/correlated", {})
    gap = paired_difference(shown, seen)
    if gap is None or name != "acc/random":
        return f"{row.label} reaches {mean} {_on(describe(name))}."
    with_decoy = f"{fixed(row.summaries['acc/correlated'].mean)} %"
    falls = [shown[seed] - seen[seed] for seed in shown.keys() & seen.keys()]
    if min(falls) > _READS_DECOY:
        seen_as = f"{with_decoy} while the decoys agree with the class, {mean} once they are random"
        return f"{row.label} reads the decoy: {seen_as}."
    verb = "loses" if gap.mean > 0 else "gains"
    return f"{row.label} {verb} {fixed(abs(gap.mean))} points once decoys are random ({with_decoy} to {mean})."


def _explanation_sentence(group: Group, better: list[Row]) -> list[str]:
    base, name = group.baseline, "explanation/inside"
    if base is None or name not in base.summaries:
        return []
    rows = [row for row in better if row.differs(name)]
    if not rows:
        return []
    parts = [f"{row.label} {fixed(row.summaries[name].mean)} %" for row in rows]
    plain = f"{base.label} {fixed(base.summaries[name].mean)} %"
    return [f"Share of the explanation inside the annotation: {some(parts)}; {plain}."]


def _missing(group: Group) -> list[str]:
    lost = [(row.label, len(row.runs) - len(row.done)) for row in group.rows if len(row.done) < len(row.runs)]
    named = some([f"{label} ({count} seed{'s' if count > 1 else ''})" for label, count in lost])
    return [f"Not finished: {named}."] if lost else []


def _listed(rows: list[Row], name: str, more: Callable[[Summary], str] = lambda _: "") -> str:
    return some([_with_numbers(row, name, more) for row in rows])


def _adjusted(rows: list[Row]) -> str:
    """What the p-values allow for, where there is more than one row."""
    return f", p adjusted for {len(rows)} rows" if len(rows) > 1 else ""


def _needed(difference: Summary, rows: int) -> str:
    """How many seeds it would take among so many rows, where that is known and more than there are."""
    seeds = seeds_needed(difference, level=(1 - CONFIDENCE) / rows)
    return f"; about {seeds} seeds would show it" if seeds is not None and seeds > difference.n else ""


def _with_numbers(row: Row, name: str, more: Callable[[Summary], str]) -> str:
    difference = row.differences.get(name)
    text = f"{row.label} {fixed(row.summaries[name].mean)} %"
    if difference is None:
        return text
    p_value = f", {probability(row.p_values[name])}" if name in row.p_values else ""
    return f"{text} ({span(difference)}{p_value}{in_common(row, name)}{more(difference)})"


def _on(metric: Metric) -> str:
    if metric.name != metric.of_test:
        return f"{_on(describe(metric.of_test))}, of validation data"
    return {
        "acc/random": "on random decoys",
        "acc/conflict": "on conflicting decoys",
        "acc/clean": "without decoys",
        "acc/test": "on the test set",
        AVERAGE: "over the phases' tests",
    }.get(metric.name, f"on {metric.name}")
