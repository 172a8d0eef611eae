"""Small pieces of SVG: scales, ticks, elements. Colours are CSS variables, so a figure follows light and dark."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10


@dataclass(frozen=True, slots=True)
class Scale:
    """Linear map from data ``[low, high]`` to pixels ``[start, end]``; values outside are drawn at the edge."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Pixels of ``value``."""
        width = self.high - self.low
        share = min(max((value - self.low) / width if width else 0.5, 0.0), 1.0)
        return round(self.start + share * (self.end - self.start), 2)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that cover ``[low, high]``, about ``count`` of them, first and last outside or on the ends.

    >>> ticks(0, 97)
    [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    """
    if high <= low:
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / count
    power = 10.0 ** floor(log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = floor(low / step + 1e-9), -floor(-high / step + 1e-9)
    return [round(position * step, 10) for position in range(first, last + 1)]


def tag(name: str, body: str = "", /, **attributes: object) -> str:
    """One element; ``class_`` gives ``class``, ``stroke_width`` gives ``stroke-width``; None leaves one out."""
    texts = [
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    ]
    return f"<{name}{''.join(texts)}>{body}</{name}>"


def text(x: float, y: float, content: str, **attributes: object) -> str:
    """Text at a place, escaped."""
    return tag("text", escape(content), x=x, y=y, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> str:
    """A straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, **attributes)


def path(points: Sequence[tuple[float, float]], **attributes: object) -> str:
    """A line through ``points``."""
    return tag("path", d="M" + "L".join(f"{x:g} {y:g}" for x, y in points), fill="none", **attributes)


def figure(width: float, height: float, body: str, label: str) -> str:
    """The outer element; ``label`` is what a screen reader says."""
    return tag("svg", body, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=label)


def shown(value: float) -> str:
    """A tick's label: no needless zeros."""
    return f"{value:g}"
