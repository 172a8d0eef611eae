"""Whether a method beats its controls: what is asked of a gain before it counts."""

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

    Paired by seed, 95 % intervals of each difference by itself; a method's controls are rows of the same method that
    are stamped as such, and plain training at equal time.
    """
    sentences = []
    for row in group.rows:
        controls = [other for other in group.rows if other.is_control and other.method in (row.method, EQUAL_TIME)]
        if row.is_baseline or row.is_control or not controls:
            continue
        won, lost = [], []
        for metric in deciding(group):
            nearest = _nearest(row, controls, metric)
            if nearest is None:
                continue
            control, difference = nearest
            text = f"{describe(metric).short} ({span(difference, describe(metric).digits)} from {control.label})"
            (won if difference.interval is not None and difference.interval.low > 0 else lost).append(text)
        if won or lost:
            sentences.append(_sentence(row.label, len(controls), won, lost))
    return sentences


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
            found.append((low, len(found), control, difference))
    if len(found) < len(controls):
        return None
    _, _, control, difference = min(found)
    return control, difference


def _sentence(label: str, count: int, won: list[str], lost: list[str]) -> str:
    whom = "its control" if count == 1 else f"each of its {count} controls"
    rest = f"; not in {', '.join(lost)}" if lost else ""
    return f"{label} is shown better than {whom} in {', '.join(won) or 'nothing'}{rest}."
