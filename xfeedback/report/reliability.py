"""Reliability diagrams on the HTML page: how often predictions of a given confidence are right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import sqrt

from xfeedback.report.collect import Run
from xfeedback.report.rows import Group, Row
from xfeedback.report.svg import Scale, figure, line, shown, tag, text

_WIDTH, _LEFT, _RIGHT = 260, 34, 8
_TOP, _BASE, _COUNTS, _HEIGHT = 8, 200, 34, 264
_Z = 1.959964
"""Of a 95 % interval."""
_TITLES = {"raw": "as trained", "scaled": "after temperature scaling"}


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin of confidence, over all seeds.

    Attributes:
        count: predictions in it.
        confidence: their mean confidence.
        accuracy: share that is right.
    """

    count: int
    confidence: float
    accuracy: float

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        n, p = self.count, self.accuracy
        centre, half = p + _Z**2 / (2 * n), _Z * sqrt(p * (1 - p) / n + _Z**2 / (4 * n * n))
        return (centre - half) / (1 + _Z**2 / n), (centre + half) / (1 + _Z**2 / n)


def pooled(runs: Sequence[Run], kind: str) -> list[Bin]:
    """Return the bins of all runs together; runs with other bins than the first's are left out.

    Args:
        runs: finished runs of one row.
        kind: ``raw`` or ``scaled``.
    """
    every = [run.reliability[kind] for run in runs if kind in run.reliability]
    every = [bins for bins in every if len(bins["count"]) == len(every[0]["count"])]
    found = []
    for parts in zip(*(zip(b["count"], b["confidence"], b["accuracy"], strict=True) for b in every), strict=True):
        n = sum(count for count, _, _ in parts)
        means = (sum(part[0] * part[at] for part in parts) / max(n, 1) for at in (1, 2))
        found.append(Bin(n, *means))
    return found


def diagrams(group: Group, slots: Mapping[str, int]) -> str:
    """A diagram for each row, and another after temperature scaling where there is one; empty without bins."""
    panels = [_panel(row, kind, slots) for row in group.rows for kind in _TITLES]
    return tag("div", "".join(panels), class_="panels small") if any(panels) else ""


def _panel(row: Row, kind: str, slots: Mapping[str, int]) -> str:
    bins = pooled(row.done, kind)
    n = sum(b.count for b in bins)
    if n == 0:
        return ""
    error = 100 * sum(b.count * abs(b.accuracy - b.confidence) for b in bins) / n
    words = f"{_TITLES[kind]}; {n} predictions, ECE {error:.1f} %"
    caption = tag("figcaption", tag("b", escape(row.label)) + tag("code", escape(words)))
    return tag("figure", caption + diagram(bins, slots[row.label], f"{row.label}, {words}"), class_="panel")


def diagram(bins: Sequence[Bin], slot: int, label: str) -> str:
    """Bars of accuracy with intervals, a mark at each bin's confidence, and how many predictions each bin has.

    Args:
        bins: of equal width over [0, 1].
        slot: colour.
        label: what a screen reader says.
    """
    x, y = Scale(0, 1, _LEFT, _WIDTH - _RIGHT), Scale(0, 1, _BASE, _TOP)
    parts = [line(_LEFT, y(mark), _WIDTH - _RIGHT, y(mark), class_="grid") for mark in (0, 0.5, 1)]
    parts += [text(_LEFT - 6, y(mark) + 4, shown(mark), class_="tick", text_anchor="end") for mark in (0, 0.5, 1)]
    parts.append(line(x(0), y(0), x(1), y(1), class_="phase"))
    most, bottom = max(b.count for b in bins), _BASE + 8 + _COUNTS
    for at, b in enumerate(bins):
        if b.count:
            parts += _bar(b, x(at / len(bins)), x((at + 1) / len(bins)), y)
            height = round(_COUNTS * b.count / most, 2)
            place = {"x": x(at / len(bins)) + 1, "y": bottom - height, "height": height}
            parts.append(tag("rect", **place, width=_inner(x, len(bins)), class_="band"))
    parts += [text(x(mark), bottom + 16, shown(mark), class_="tick", text_anchor="middle") for mark in (0, 0.5, 1)]
    return figure(_WIDTH, _HEIGHT, tag("g", "".join(parts), class_=f"s{slot}"), f"Reliability of {label}")


def _inner(x: Scale, bins: int) -> float:
    return round(max(x(1 / bins) - x(0) - 2, 1), 2)


def _bar(b: Bin, start: float, end: float, y: Scale) -> list[str]:
    middle, (low, high) = (start + end) / 2, b.interval
    hint = tag("title", f"{b.count} predictions: confidence {b.confidence:.3f}, right {b.accuracy:.3f}")
    top = y(b.accuracy)
    size = {"width": round(end - start - 2, 2), "height": round(y(0) - top, 2)}
    return [
        tag("rect", hint, x=start + 1, y=top, **size, class_="band"),
        line(middle, y(low), middle, y(high), class_="mean"),
        line(start + 1, y(b.confidence), end - 1, y(b.confidence), class_="mean"),
    ]
