"""Confusion matrices on the HTML page: which classes are taken for which, all seeds together."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from xfeedback.report.collect import Run
from xfeedback.report.rows import Group, Row
from xfeedback.report.svg import Scale, figure, tag, text

_SIDE, _LEFT, _TOP, _RIGHT, _BOTTOM = 220, 34, 6, 6, 34
_MOST_NAMED = 12
"""Classes whose names stand at the edges; of more only the first and the last."""
_MOST_NUMBERS = 10
"""Classes up to which each entry shows its percentage."""
_LONGEST = 5
"""Letters of a name at the edges."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often each class was taken for each.

    Attributes:
        classes: names of the K classes.
        counts: K lines of K; lines are true classes, columns predictions.
    """

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


def pooled(runs: Sequence[Run]) -> Confusion | None:
    """Return the sum of the matrices of ``runs`` in their first test view, the headline; None without any.

    Matrices over other classes than the first one's are left out.
    """
    every = [found for run in runs if (found := _read(run)) is not None]
    if not every:
        return None
    alike = [found.counts for found in every if found.classes == every[0].classes]
    counts = tuple(tuple(map(sum, zip(*lines, strict=True))) for lines in zip(*alike, strict=True))
    return Confusion(every[0].classes, counts)


def matrices(group: Group) -> str:
    """A picture for each row; empty where no run kept a matrix."""
    panels = [_panel(row) for row in group.rows]
    return tag("div", "".join(panels), class_="panels small") if any(panels) else ""


def drawing(found: Confusion, label: str) -> str:
    """The matrix as SVG: darkness is the share of the true class, a hover gives names and counts.

    Args:
        found: what to draw.
        label: what a screen reader says.
    """
    count = len(found.classes)
    x, y = Scale(0, count, _LEFT, _LEFT + _SIDE), Scale(0, count, _TOP, _TOP + _SIDE)
    parts = []
    for i, line in enumerate(found.counts):
        total = sum(line)
        for j, number in enumerate(line):
            if number:
                parts.append(_entry(found, (i, j), number / total, x, y))
    parts.append(tag("rect", x=_LEFT, y=_TOP, width=_SIDE, height=_SIDE, class_="frame"))
    shown = range(count) if count <= _MOST_NAMED else (0, count - 1)
    for k in shown:
        name, middle = found.classes[k][:_LONGEST], k + 0.5
        parts.append(text(_LEFT - 5, y(middle) + 4, name, class_="tick", text_anchor="end"))
        parts.append(text(x(middle), _TOP + _SIDE + 15, name, class_="tick", text_anchor="middle"))
    parts.append(text(_LEFT + _SIDE / 2, _TOP + _SIDE + 31, "predicted", class_="tick", text_anchor="middle"))
    return figure(_LEFT + _SIDE + _RIGHT, _TOP + _SIDE + _BOTTOM, "".join(parts), label)


def _entry(found: Confusion, place: tuple[int, int], share: float, x: Scale, y: Scale) -> str:
    i, j = place
    says = f"{found.classes[i]} taken for {found.classes[j]}: {found.counts[i][j]} ({100 * share:.1f} %)"
    side = round(x(1) - x(0), 2)
    size = {"x": x(j), "y": y(i), "width": side, "height": side}
    kind, shade = "hit" if i == j else "miss", f"opacity:{share:.2f}"
    parts = tag("rect", tag("title", escape(says)), **size, class_=kind, style=shade)
    if len(found.classes) <= _MOST_NUMBERS and share >= 0.005:
        middle = (x(j + 0.5), y(i + 0.5) + 3.5)
        parts += text(*middle, f"{100 * share:.0f}", class_="deep" if share > 0.6 else "entry", text_anchor="middle")
    return parts


def _panel(row: Row) -> str:
    found = pooled(row.done)
    if found is None:
        return ""
    total = sum(map(sum, found.counts))
    right = sum(found.counts[k][k] for k in range(len(found.classes)))
    words = f"{total} predictions, {100 * right / max(total, 1):.1f} % right"
    caption = tag("figcaption", tag("b", escape(row.label)) + tag("code", escape(words)))
    return tag("figure", caption + drawing(found, f"Confusion of {row.label}, {words}"), class_="panel")


def _read(run: Run) -> Confusion | None:
    """The matrix of one run, or None where it kept none of this form."""
    try:
        counts = run.confusion["counts"][run.confusion["views"][0]]
        names = tuple(str(name) for name in run.confusion["classes"])
        found = Confusion(names, tuple(tuple(int(number) for number in line) for line in counts))
    except (LookupError, TypeError, ValueError):
        return None
    return found if [len(line) for line in found.counts] == [len(names)] * len(names) else None
