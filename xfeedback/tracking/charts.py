"""The charts of the dashboard as code: Vega-Lite specifications that wandb fills from logged tables.

``${field:...}`` stands for a column of the table and ``${string:...}`` for a text, as wandb's custom charts have it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xfeedback.report.metrics import describe
from xfeedback.report.rows import Group

if TYPE_CHECKING:
    from wandb import Table
    from wandb.plot.custom_chart import CustomChart

SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
_METHOD = {"field": "${field:method}", "type": "nominal", "title": None, "sort": None}
_AXIS = {"zero": False, "nice": True}


def _value(field: str) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "title": "${string:axis}", "scale": _AXIS}


INTERVALS: dict[str, Any] = {
    "$schema": SCHEMA,
    "description": "Mean of each method with its 95 % interval; a rule where a value was published.",
    "title": "${string:title}",
    "data": {"name": "wandb"},
    "width": "container",
    "encoding": {"y": _METHOD},
    "layer": [
        {
            "mark": {"type": "rule", "strokeWidth": 2, "color": "#461670"},
            "transform": [{"filter": "isValid(datum['${field:low}'])"}],
            "encoding": {"x": _value("${field:low}"), "x2": {"field": "${field:high}"}},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 70, "color": "#461670"},
            "encoding": {"x": _value("${field:mean}"), "tooltip": [{"field": "${field:mean}", "format": ".2f"}]},
        },
        {
            "mark": {"type": "tick", "color": "#c8571b", "thickness": 3},
            "transform": [{"filter": "isValid(datum['${field:published}'])"}],
            "encoding": {"x": _value("${field:published}")},
        },
    ],
}
POINTS: dict[str, Any] = {
    "$schema": SCHEMA,
    "description": "One point a seed, so that an outlier is seen.",
    "title": "${string:title}",
    "data": {"name": "wandb"},
    "width": "container",
    "mark": {"type": "point", "filled": True, "opacity": 0.7, "size": 50},
    "encoding": {
        "y": _METHOD,
        "x": _value("${field:value}"),
        "color": {"field": "${field:seed}", "type": "nominal", "title": "seed"},
        "tooltip": [{"field": "${field:run}"}, {"field": "${field:value}", "format": ".2f"}],
    },
}
CHARTS: Mapping[str, Mapping[str, Any]] = {"xfeedback-intervals": INTERVALS, "xfeedback-seeds": POINTS}
"""By the name under which ``scripts/wandb_dashboard.py`` makes them at wandb."""
FIELDS: Mapping[str, Mapping[str, str]] = {
    "xfeedback-intervals": {
        "method": "method",
        "mean": "mean",
        "low": "ci_low",
        "high": "ci_high",
        "published": "published",
    },
    "xfeedback-seeds": {"method": "method", "value": "value", "seed": "seed", "run": "run"},
}
"""Column of the logged table by field of the chart."""


def holes(chart: Mapping[str, Any], kind: str) -> set[str]:
    """Return the names that wandb must fill in, of one kind: ``field`` or ``string``."""
    return set(re.findall(rf"\$\{{{kind}:(\w+)\}}", json.dumps(chart)))


def filled(name: str, rows: Sequence[Mapping[str, Any]], strings: Mapping[str, str]) -> dict[str, Any]:
    """Return a chart as wandb fills it, with its data: a complete file that any viewer of Vega-Lite shows.

    Args:
        name: of the chart.
        rows: of the table.
        strings: its texts.
    """
    text = json.dumps({**CHARTS[name], "data": {"values": [*rows]}})
    for kind, values in (("field", FIELDS[name]), ("string", strings)):
        for hole, value in values.items():
            text = text.replace(f"${{{kind}:{hole}}}", json.dumps(value)[1:-1])
    return json.loads(text)


def of_group(group: Group, means: "Table", seeds: "Table", charts_of: str | None) -> dict[str, "CustomChart"]:
    """Return the charts of one data set and model, of the accuracy that decides it.

    Args:
        group: with a headline.
        means: its lines of ``comparison.csv`` for that accuracy.
        seeds: the single values behind them.
        charts_of: whose charts at wandb; None: the bars that wandb itself has, of the means.
    """
    import wandb

    name, title = f"{group.dataset}-{group.model}", f"{group.dataset}, {group.model}"
    axis = f"{group.headline} {describe(str(group.headline)).unit}".strip()
    if charts_of is None:
        labels = {"title": f"{title}: {axis}"}
        return {f"chart/{name}": wandb.plot_table("wandb/bar/v0", means, {"label": "method", "value": "mean"}, labels)}
    return {
        f"chart/{name}/{chart.removeprefix('xfeedback-')}": wandb.plot_table(
            f"{charts_of}/{chart}", table, dict(FIELDS[chart]), {"title": title, "axis": axis}
        )
        for chart, table in (("xfeedback-intervals", means), ("xfeedback-seeds", seeds))
    }
