"""Figures as inline SVG: per-seed points with intervals, and learning curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import fmean

from xfeedback.report.evidence import Record
from xfeedback.report.metrics import describe
from xfeedback.report.rows import Group, Row
from xfeedback.report.stats import Summary
from xfeedback.report.svg import Scale, figure, line, path, shown, tag, text, ticks
from xfeedback.report.words import fixed, mean_text, probability, signed

WIDTH = 520
_NUMBERS, _LANE, _TOP, _LETTER = 92, 30, 8, 6.6
_CURVE_HEIGHT, _LEFT, _RIGHT, _BOTTOM = 230, 44, 12, 34
_MOST_POINTS = 150
_LONGEST_LABEL = 22
_LINE = 13  # between the lines of a label
_MOST_WITH_SEEDS = 16


@dataclass(frozen=True, slots=True)
class Lane:
    """One lane of a plot: a row's values by seed, their summary (None: nothing measured), and words at its end."""

    row: Row
    values: Mapping[int, float]
    summary: Summary | None
    said: str


def points(group: Group, metric: str, slots: Mapping[str, int]) -> str:
    """One lane a row: a dot for each seed, a band for the 95 % interval, a bar for the mean.

    Args:
        group: rows to draw; those without a value get an empty lane that says so.
        metric: name of the metric.
        slots: colour slot by row label.
    """
    lanes = [
        Lane(row, row.values.get(metric, {}), found := row.summaries.get(metric), _said(found, metric))
        for row in group.rows
    ]
    low, high = _ends(lanes)
    if describe(metric).unit == "%":
        least = min((value for lane in lanes for value in lane.values.values()), default=0.0)
        low, high = max(low, min(least, 0.0)), min(high, 100.0)
        low, high = (min(low, 0.0), 100.0) if high - low > 40 else (low, high)
    elif metric.startswith("cost/"):
        low = 0.0
    return _strips(lanes, ticks(low, high), slots, f"{describe(metric).title}: points for each seed and 95 % intervals")


def differences(group: Group, metric: str, slots: Mapping[str, int]) -> str:
    """As :func:`points`, of each row's differences from the baseline, seed by seed; empty without any.

    The interval is the difference's own; the words at the end of a lane say whether p, adjusted, calls it one.
    """
    lanes = [
        Lane(row, row.pairs[metric], row.differences[metric], _apart(row, metric))
        for row in group.rows
        if metric in row.pairs
    ]
    low, high = _ends(lanes)
    label = f"{describe(metric).title}: differences from the baseline, seed by seed, and 95 % intervals"
    return _strips(lanes, ticks(min(low, 0.0), max(high, 0.0)), slots, label) if lanes else ""


def _strips(lanes: Sequence[Lane], marks: Sequence[float], slots: Mapping[str, int], label: str) -> str:
    room = max(_NUMBERS, 14 + round(_LETTER * max(len(lane.said) for lane in lanes)))
    scale = Scale(marks[0], marks[-1], _gutter(lanes), WIDTH - room)
    bottom = _TOP + _LANE * len(lanes)
    parts = [
        line(scale(mark), _TOP, scale(mark), bottom, class_="zero" if mark == 0 and marks[0] < 0 else "grid")
        for mark in marks
    ]
    parts += [text(scale(mark), bottom + 17, shown(mark), class_="tick", text_anchor="middle") for mark in marks]
    parts += [_lane(lane, scale, _TOP + _LANE * (position + 0.5), slots) for position, lane in enumerate(lanes)]
    return figure(WIDTH, bottom + 24, "".join(parts), label)


def curves(
    histories: Mapping[str, Mapping[int, Sequence[Record]]],
    key: str,
    slots: Mapping[str, int],
    *,
    axis: str = "epoch",
    first: int = 1,
) -> str:
    """Values of ``key`` over epochs: a strong line for the mean and, up to 16 rows, a thin one for each seed.

    Args:
        histories: epoch records by row label and seed.
        key: e.g. ``val/random`` or ``train/loss``.
        slots: colour slot by row label.
        axis: what a record stands for.
        first: the number of the first one.
    """
    lines = {
        label: {seed: _series(records, key, first) for seed, records in seeds.items()}
        for label, seeds in histories.items()
    }
    values = [value for seeds in lines.values() for series in seeds.values() for _, value in series]
    longest = max(
        (epoch for seeds in lines.values() for series in seeds.values() for epoch, _ in series), default=first
    )
    marks = ticks(min(values, default=0.0), max(values, default=1.0), 4)
    x = Scale(first, max(longest, first + 1), _LEFT, WIDTH - _RIGHT)
    y = Scale(marks[0], marks[-1], _CURVE_HEIGHT - _BOTTOM, _TOP)
    parts = [*_frame(marks, (first, longest), x, y, axis), *_phases(histories, x)]
    few = len(lines) <= _MOST_WITH_SEEDS
    parts += [_lines(label, seeds, x, y, slots[label], each=few) for label, seeds in lines.items()]
    return figure(WIDTH, _CURVE_HEIGHT, "".join(parts), f"{key} over {axis}s: mean and each seed")


def curve_keys(histories: Mapping[str, Mapping[int, Sequence[Record]]]) -> list[str]:
    """What to draw as curves: every validation accuracy, else training accuracy, and the classification loss."""
    keys = {key for seeds in histories.values() for records in seeds.values() for record in records for key in record}
    validation = sorted(key for key in keys if key.startswith("val/"))
    accuracy = validation or [key for key in ("train/acc",) if key in keys]
    losses = [key for key in ("train/ce", "train/loss") if key in keys][:1]
    return accuracy + losses


def _ends(lanes: Sequence[Lane]) -> tuple[float, float]:
    """The least and the largest of all values and ends of intervals."""
    values = [value for lane in lanes for value in lane.values.values()]
    intervals = [lane.summary.interval for lane in lanes if lane.summary and lane.summary.interval]
    values += [end for interval in intervals for end in (interval.low, interval.high)]
    return min(values, default=0.0), max(values, default=1.0)


def _lane(lane: Lane, scale: Scale, y: float, slots: Mapping[str, int]) -> str:
    row, summary = lane.row, lane.summary
    parts = [_name(row, y), line(scale.start, y, scale.end, y, class_="lane")]
    if summary is None:
        why = "not finished" if not row.done else "not measured"
        return "".join([*parts, text(scale.end + 10, y + 4, why, class_="tick")])
    if summary.interval is not None:
        low, high = scale(summary.interval.low), scale(summary.interval.high)
        parts.append(tag("rect", x=low, y=y - 7, width=round(max(high - low, 1), 2), height=14, rx=3, class_="band"))
    parts.append(line(scale(summary.mean), y - 9, scale(summary.mean), y + 9, class_="mean"))
    for seed, value in lane.values.items():
        hint = tag("title", f"seed {seed}: {fixed(value, 2)}")
        parts.append(tag("circle", hint, cx=scale(value), cy=y, r=3.6, class_="dot"))
    parts.append(text(scale.end + 10, y + 4, lane.said, class_="value"))
    return tag("g", "".join(parts), class_=f"s{slots[row.label]}", data_row=row.label)


def _said(summary: Summary | None, metric: str) -> str:
    return "" if summary is None else mean_text(summary, describe(metric))


def _apart(row: Row, metric: str) -> str:
    p_value = row.p_values.get(metric)
    return f"{signed(row.differences[metric].mean)}, {'one seed' if p_value is None else probability(p_value)}"


def _gutter(lanes: Sequence[Lane]) -> int:
    """Room for the longest line of a label, in pixels."""
    return 14 + round(_LETTER * max(len(line) for lane in lanes for line in name_lines(lane.row.label)))


def name_lines(label: str) -> list[str]:
    """A label as one line, or as two where its options make it too long for one; what is still too long is cut.

    >>> name_lines("xai_increment (mode=shuffled)")
    ['xai_increment', '(mode=shuffled)']
    """
    method, _, options = label.partition(" (")
    lines = [label] if len(label) <= _LONGEST_LABEL or not options else [method, f"({options}"]
    return [line if len(line) <= _LONGEST_LABEL else f"{line[: _LONGEST_LABEL - 1]}…" for line in lines]


def _name(row: Row, y: float) -> str:
    lines = name_lines(row.label)
    top = y + 4 - _LINE * (len(lines) - 1) / 2
    words = "".join(text(0, top + _LINE * number, words, class_="name") for number, words in enumerate(lines))
    return tag("g", tag("title", escape(row.label)) + words)


def _series(records: Sequence[Record], key: str, first: int) -> list[tuple[int, float]]:
    return [(epoch, float(r[key])) for epoch, r in enumerate(records, first) if isinstance(r.get(key), int | float)]


def _frame(marks: Sequence[float], ends: tuple[int, int], x: Scale, y: Scale, axis: str) -> list[str]:
    first, longest = ends
    parts = [line(_LEFT, y(mark), WIDTH - _RIGHT, y(mark), class_="grid") for mark in marks]
    parts += [text(_LEFT - 8, y(mark) + 4, shown(mark), class_="tick", text_anchor="end") for mark in marks]
    marks = [int(mark) for mark in ticks(first, max(longest, first + 1)) if mark == int(mark)]
    epochs = [first, *(mark for mark in marks if first < mark <= max(longest, first + 1))]
    base = _CURVE_HEIGHT - _BOTTOM + 18
    parts += [text(x(epoch), base, str(epoch), class_="tick", text_anchor="middle") for epoch in epochs]
    return [*parts, text(WIDTH - _RIGHT, _CURVE_HEIGHT - 2, axis, class_="tick", text_anchor="end")]


def _phases(histories: Mapping[str, Mapping[int, Sequence[Record]]], x: Scale) -> list[str]:
    """A dashed line where a new phase of incremental training begins, taken from the longest run."""
    every = [records for seeds in histories.values() for records in seeds.values()]
    records = max(every, key=len, default=[])
    starts = [n for n in range(1, len(records)) if records[n].get("phase") != records[n - 1].get("phase")]
    return [line(x(start + 0.5), _TOP, x(start + 0.5), _CURVE_HEIGHT - _BOTTOM, class_="phase") for start in starts]


def _lines(
    label: str, seeds: Mapping[int, Sequence[tuple[int, float]]], x: Scale, y: Scale, slot: int, *, each: bool
) -> str:
    filled = {seed: series for seed, series in seeds.items() if series}
    if not filled:
        return ""
    whole = _mean(list(filled.values()))
    parts = []
    if each and len(filled) > 1:
        parts = [_drawn(_pixels(series, x, y), "seed") for series in filled.values()]
    parts.append(tag("g", tag("title", escape(label)) + _drawn(_pixels(whole, x, y), "average")))
    return tag("g", "".join(parts), class_=f"s{slot}", data_row=label)


def _drawn(places: Sequence[tuple[float, float]], kind: str) -> str:
    """A line, or a dot where there is one place, which has no line."""
    if len(places) > 1:
        return path(places, class_=kind)
    ((x, y),) = places
    return tag("circle", cx=x, cy=y, r=3.6 if kind == "average" else 2, class_=f"{kind} dot")


def _mean(every: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[int, float]]:
    """Mean over the seeds that got furthest: one that died early neither bends nor cuts the line."""
    last = max(series[-1][0] for series in every)
    complete = [dict(series) for series in every if series[-1][0] == last]
    epochs = [epoch for epoch in complete[0] if all(epoch in series for series in complete)]
    return [(epoch, fmean(series[epoch] for series in complete)) for epoch in epochs]


def _pixels(series: Sequence[tuple[int, float]], x: Scale, y: Scale) -> list[tuple[float, float]]:
    stride = -(-len(series) // _MOST_POINTS)
    kept = list(series[::stride])
    if kept[-1] != series[-1]:
        kept.append(series[-1])
    return [(x(epoch), y(value)) for epoch, value in kept]
