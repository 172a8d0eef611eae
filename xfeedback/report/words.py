"""Numbers and verdicts in words; every sentence is made from measured values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from xfeedback.papers import Published, published
from xfeedback.report.metrics import Metric, describe
from xfeedback.report.rows import Group, Row
from xfeedback.report.stats import CONFIDENCE, Summary

_SMALLEST_P = 0.001
_NEAR = 0.0005
"""Distance from 5 % within which a p-value is not rounded to two figures."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The published value beside a mean of ours, or None, and a verdict in words."""

    published: float | None
    verdict: str


def judge(row: Row, metric: str, baseline: str) -> Judgement:
    """Compare one mean with the paper's number, and an accuracy with the baseline's."""
    summary = row.summaries[metric]
    cell = published(row.dataset, row.method, metric, row.variant) or published(row.dataset, row.method, metric)
    if cell is None:
        value, verdict = None, "not published"
    elif why := comparable(cell, row, summary):
        value, verdict = cell.number, f"not comparable: {why}"
    else:
        inside = summary.interval is not None and summary.interval.contains(cell.number)
        value, verdict = cell.number, "reproduced (within interval)" if inside else "not reproduced"
    if describe(metric).is_accuracy and not row.is_baseline and row.differences:
        verdict = f"{verdict}; {against(row, metric, baseline)}"
    return Judgement(value, verdict)


def against(row: Row, metric: str, baseline: str) -> str:
    """A paired difference in words: ``+82.0 [79.9, 84.1] over plain, p 0.003``; p decides, adjusted after Holm."""
    difference = row.differences.get(metric)
    if difference is None:
        return f"{baseline} has no number with these seeds"
    if difference.interval is None:
        return f"{signed(difference.mean)} relative to {baseline} (1 seed, no interval)"
    p_value = probability(row.p_values[metric])
    common = in_common(row, metric)
    if not row.differs(metric):
        return f"no difference from {baseline} shown ({span(difference)}, {p_value}{common})"
    return f"{span(difference)} {'over' if difference.mean > 0 else 'relative to'} {baseline}, {p_value}{common}"


def in_common(row: Row, metric: str) -> str:
    """``, 3 seeds in common`` where the difference is of fewer seeds than the mean beside it; else empty."""
    pairs = row.differences[metric].n
    return f", {pairs} seeds in common" if 1 < pairs < row.summaries[metric].n else ""


def probability(p_value: float) -> str:
    """``p 0.034``, ``p 0.6``, ``p < 0.001``: never so short that it changes sides of 5 %.

    >>> [probability(p) for p in (0.0004, 0.0496, 0.0504, 0.0349, 0.31, 1.0)]
    ['p < 0.001', 'p 0.0496', 'p 0.0504', 'p 0.035', 'p 0.31', 'p 1']
    """
    if p_value < _SMALLEST_P:
        return f"p < {_SMALLEST_P}"
    near = abs(p_value - (1 - CONFIDENCE)) < _NEAR
    return f"p {p_value:.4f}" if near else f"p {float(f'{p_value:.2g}'):g}"


def span(difference: Summary, digits: int = 1) -> str:
    """A difference with its interval: ``+82.0 [79.9, 84.1]``."""
    text = signed(difference.mean, digits)
    if difference.interval is None:
        return text
    return f"{text} [{fixed(difference.interval.low, digits)}, {fixed(difference.interval.high, digits)}]"


def status_verdict(text: str, seeds: Iterable[int], row: Row) -> str:
    """``failed: loss is nan (1 of 3 seeds)``."""
    asked = len(row.runs)
    return f"{text} ({len(list(seeds))} of {asked} seed{'s' if asked > 1 else ''})"


def problems(row: Row) -> list[str]:
    """One line for each reason why seeds of ``row`` are missing, with the seeds."""
    return [f"{status_verdict(text, seeds, row)}: seed {', '.join(map(str, seeds))}" for text, seeds in row.problems]


def some(texts: Sequence[str], most: int = 6) -> str:
    """The first ``most`` of ``texts`` with commas between, and how many more there are."""
    more = [f"and {len(texts) - most} more"] if len(texts) > most else []
    return ", ".join([*texts[:most], *more])


def escape_markdown(text: str) -> str:
    """``text`` with the characters that Markdown would read as marks escaped."""
    for character in "\\|*_`[]<>":
        text = text.replace(character, f"\\{character}")
    return text


def fixed(value: float, digits: int = 1) -> str:
    """``value`` with so many decimals and no negative zero."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


def signed(value: float, digits: int = 1) -> str:
    """As :func:`fixed`, with a plus sign where it is not negative."""
    text = fixed(value, digits)
    return text if text.startswith("-") else f"+{text}"


def mean_text(summary: Summary, metric: Metric) -> str:
    """``93.1 ± 1.4``: the mean and half the width of its 95 % interval; the mean alone for one seed."""
    text = fixed(summary.mean, metric.digits)
    return text if summary.interval is None else f"{text} ± {fixed(summary.interval.half_width, metric.digits)}"


def row_text(row: Row, metric: str) -> str:
    """As :func:`mean_text`; where not all finished runs have the metric ``93.1 ± 1.4 (2 of 3)``."""
    summary, done = row.summaries[metric], len(row.done)
    text = mean_text(summary, describe(metric))
    return text if summary.n == done else f"{text} ({summary.n} of {done})"


def is_best(row: Row, group: Group, metric: str) -> bool:
    """Whether ``row`` leads in ``metric`` and differs from the baseline at 5 % after Holm's adjustment."""
    better = describe(metric).better
    difference = row.differences.get(metric)
    if better is None or metric.startswith("cost/") or difference is None or not row.differs(metric):
        return False
    sign = 1 if better == "higher" else -1
    means = [sign * other.summaries[metric].mean for other in group.rows if metric in other.summaries]
    return sign * difference.mean > 0 and sign * row.summaries[metric].mean >= max(means)


def comparable(cell: Published, row: Row, summary: Summary) -> str:
    """Return why ``row`` may not be judged against a published number; empty when it may."""
    if cell.not_comparable:
        return cell.not_comparable
    if cell.protocol and cell.protocol != row.variant:
        return f"published for variant={cell.protocol}, ours is {row.variant or 'not stated'}"
    if row.stamps:
        return f"ours is stamped {', '.join(row.stamps)}"
    return "one seed has no interval" if summary.interval is None else ""
