"""Tables of the HTML page: results and missing runs."""

import re
from collections.abc import Mapping
from html import escape

from xfeedback.report.doubts import FEWEST, doubts
from xfeedback.report.metrics import describe
from xfeedback.report.rows import Group, Row
from xfeedback.report.stats import bootstrap
from xfeedback.report.svg import tag
from xfeedback.report.tables import cell, detail_metrics, headline_metrics
from xfeedback.report.words import fixed, is_best, judge, row_text, status_verdict

_TOGETHER = re.compile(r"\(?[+-]\S+ \[[^]]*\]|p (< )?[\d.]+")
"""What stands on one line of a verdict: a difference with its interval, and p."""


def results(group: Group, baseline: str, slots: Mapping[str, int]) -> str:
    """The sortable main table: means with intervals, seeds, and the verdict on the headline accuracy."""
    metrics, headline = headline_metrics(group), group.headline
    heads = [_heading("method", "", kind=None), *(_metric_head(name) for name in metrics), _heading("n", "seeds")]
    if headline:
        heads.append(_heading("verdict", describe(headline).title.lower(), kind="verdict"))
    body = "".join(_result_row(row, group, metrics, baseline, slots) for row in group.rows)
    table = tag("table", tag("thead", tag("tr", "".join(heads))) + tag("tbody", body), class_="results sortable")
    return tag("div", table, class_="scroll") + _details(group)


def _details(group: Group) -> str:
    """The metrics that the main table has no column for, a line each, folded away."""
    metrics = detail_metrics(group)
    if not metrics:
        return ""
    heads = "".join(tag("th", escape(text), scope="col") for text in ("metric", *(row.label for row in group.rows)))
    lines = []
    for name in metrics:
        title = tag("th", escape(describe(name).title) + tag("small", escape(name)), scope="row")
        lines.append(tag("tr", title + "".join(tag("td", _detail(row, group, name)) for row in group.rows)))
    table = tag("table", tag("thead", tag("tr", heads)) + tag("tbody", "".join(lines)), class_="metrics")
    return tag("details", tag("summary", "All metrics") + tag("div", table, class_="scroll"))


def _detail(row: Row, group: Group, name: str) -> str:
    text = escape(cell(row, name, first=False))
    return tag("strong", text) if is_best(row, group, name) else text


def missing(group: Group) -> str:
    """Failed and unfinished runs with reason and folder; empty when everything finished."""
    lines = []
    for row in group.rows:
        for run in row.runs:
            if run.status != "done":
                why = run.reason or "killed, or still running"
                cells = [escape(row.label), str(run.seed), run.status, escape(why), tag("code", escape(run.name))]
                lines.append(tag("tr", "".join(tag("td", cell) for cell in cells)))
    if not lines:
        return ""
    head = tag(
        "thead",
        tag("tr", "".join(tag("th", name, scope="col") for name in ("method", "seed", "status", "reason", "run"))),
    )
    table = tag("div", tag("table", head + tag("tbody", "".join(lines)), class_="sortable"), class_="scroll")
    return tag("section", tag("h3", "Missing runs") + table, class_="missing")


def _heading(name: str, small: str, hint: str | None = None, kind: str | None = "num") -> str:
    label = escape(name) + (tag("small", escape(small)) if small else "")
    return tag("th", label, scope="col", class_=kind, title=hint)


def _metric_head(name: str) -> str:
    metric = describe(name)
    return _heading(metric.title, metric.unit, hint=name)


def _result_row(row: Row, group: Group, metrics: list[str], baseline: str, slots: Mapping[str, int]) -> str:
    lines = doubts(row) if row.done else []
    trouble = tag("small", escape("; ".join(lines)), class_="trouble") if lines else ""
    swatch = tag("i", class_=f"swatch s{slots[row.label]}")
    head = tag("th", swatch + escape(row.label) + trouble, scope="row", data_v=row.label)
    if not row.done:
        why = "; ".join(status_verdict(text, seeds, row) for text, seeds in row.problems)
        cells = tag("td", escape(why), colspan=max(len(metrics), 1), class_="trouble") + tag(
            "td", row.count, class_="num"
        )
        cells += tag("td", "–", class_="verdict") if group.headline else ""
        return tag("tr", head + cells, data_row=row.label)
    cells = "".join(_result_cell(row, group, name) for name in metrics)
    few = len(row.done) < FEWEST
    hint = f"fewer than {FEWEST} seeds: hardly an interval" if few else None
    cells += tag("td", row.count, class_="num trouble" if few else "num", data_v=len(row.done), title=hint)
    return tag(
        "tr", head + cells + (_verdict(row, group.headline, baseline) if group.headline else ""), data_row=row.label
    )


def _verdict(row: Row, metric: str, baseline: str) -> str:
    if metric not in row.summaries:
        return tag("td", "not measured", class_="verdict")
    published, _, difference = judge(row, metric, baseline).verdict.partition("; ")
    large = difference or ("baseline" if row.is_baseline else published)
    small = tag("small", escape(published)) if published != large else ""
    place = row.differences[metric].mean if metric in row.differences else 0.0 if row.is_baseline else None
    unbroken = _TOGETHER.sub(lambda match: match.group().replace(" ", "\N{NO-BREAK SPACE}"), large)
    return tag("td", escape(unbroken) + small, class_="verdict", data_v=place)


def _result_cell(row: Row, group: Group, name: str) -> str:
    summary = row.summaries.get(name)
    if summary is None:
        return tag("td", "–", class_="num")
    mean, _, half = row_text(row, name).partition(" ")
    shown = tag("b", mean) if is_best(row, group, name) else tag("span", mean)
    hint = f"{name}. {_seeds(row, name)}"
    return tag("td", shown + (tag("small", half) if half else ""), class_="num", data_v=summary.mean, title=hint)


def _seeds(row: Row, name: str) -> str:
    """Each seed's value, and the bootstrap interval where there are enough of them."""
    values, digits = row.values[name], describe(name).digits + 1
    found = bootstrap(list(values.values()))
    more = "" if found is None else f"; bootstrap interval {fixed(found.low, digits)} to {fixed(found.high, digits)}"
    return ", ".join(f"seed {seed}: {fixed(value, digits)}" for seed, value in values.items()) + more
