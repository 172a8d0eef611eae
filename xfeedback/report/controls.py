"""Whether a method beats its controls: what is asked of a gain before it counts."""

from collections.abc import Sequence

from xfeedback.report.cells import differing
from xfeedback.report.metrics import INSIDE, describe
from xfeedback.report.rows import Group, Row
from xfeedback.report.stats import Summary, paired_difference
from xfeedback.report.words import span

EQUAL_TIME = "plain_equal_time"
_DECIDING = tuple(
    f"faithfulness/{score}_" for score in ("drop_gain", "road", "comprehensiveness", "sufficiency", "diff_aup")
)
"""Scores of explanations that are judged, beside the headline accuracy and the share inside the annotation."""
_CHANCE = "_random"


def against_controls(group: Group) -> list[str]:
    """Return a sentence for each method with a control in ``group``: in what it is shown to beat every one of them.

    Paired by seed, 95 % intervals of each difference by itself; see :func:`controls_of`.
    """
    sentences = []
    for row in group.rows:
        controls = controls_of(row, group.rows)
        if row.is_baseline or row.is_control or not controls:
            continue
        won, lost = [], []
        for metric in deciding(group):
            nearest = _nearest(row, controls, metric)
            if nearest is None:
                continue
            control, difference = nearest
            whom = f" from {control.label}" if len(controls) > 1 else ""
            text = f"{describe(metric).short} ({span(difference, describe(metric).digits)}{whom})"
            (won if difference.above_zero else lost).append(text)
        if won or lost:
            sentences.append(_sentence(row.label, controls, won, lost))
    return sentences


def controls_of(row: Row, rows: Sequence[Row]) -> list[Row]:
    """Return which of ``rows`` stand there for ``row`` to beat: plain training at equal time, and its own controls.

    A control is that of the rows of its method that it differs from in the fewest options: of several weights, networks
    or losses each has its own.
    """
    siblings = [other for other in rows if other.method == row.method and not other.is_control]

    def apart(other: Row, control: Row) -> int:
        return len(differing([other.options, control.options]))

    def own(control: Row) -> bool:
        nearest = min((apart(other, control) for other in siblings), default=0)
        return control.method == row.method and apart(row, control) == nearest

    return [other for other in rows if other.is_control and (other.method == EQUAL_TIME or own(other))]


def deciding(group: Group) -> list[str]:
    """Return the metrics of a group that a gain is judged by."""
    names = [name for name in group.metrics if name.startswith(_DECIDING) and not name.endswith(_CHANCE)]
    shares = [INSIDE] if INSIDE in group.metrics else []
    return [*([group.headline] if group.headline else []), *shares, *names]


def _nearest(row: Row, controls: list[Row], metric: str) -> tuple[Row, Summary] | None:
    """The control that ``row`` is shown to beat by least, and by how much: one without an interval by nothing at all.

    Gains are positive whichever direction is better.
    """
    sign = -1 if describe(metric).better == "lower" else 1
    ours = {seed: sign * value for seed, value in row.values.get(metric, {}).items()}
    found = []
    for control in controls:
        theirs = {seed: sign * value for seed, value in control.values.get(metric, {}).items()}
        difference = paired_difference(ours, theirs)
        if difference is not None:
            low = float("-inf") if difference.interval is None else difference.interval.low
            found.append((difference.above_zero, low, len(found), control, difference))
    if len(found) < len(controls):
        return None
    *_, control, difference = min(found)
    return control, difference


def _sentence(label: str, controls: list[Row], won: list[str], lost: list[str]) -> str:
    whom = f"its control {controls[0].label}" if len(controls) == 1 else f"each of its {len(controls)} controls"
    rest = f"; not in {', '.join(lost)}" if lost else ""
    return f"{label} is shown better than {whom} in {', '.join(won) or 'nothing'}{rest}."
