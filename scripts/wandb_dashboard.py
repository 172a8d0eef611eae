"""The dashboard of comparisons as code: ``python scripts/wandb_dashboard.py [--entity NAME] [comparison ...]``.

Writes the charts' Vega-Lite specifications, and for each comparison (``outputs/comparisons/...``) the charts with its
figures in them. With ``--entity`` it makes the charts at wandb, for you or your team, once logged in; from then on
``logger=wandb logger.charts=NAME`` shows them on the page of every comparison. See docs/tracking.md.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xfeedback import files
from xfeedback.errors import UserError
from xfeedback.report.metrics import describe, headline
from xfeedback.tracking import charts
from xfeedback.tracking.comparison import long_rows
from xfeedback.tracking.words import one_line

CHART = "xfeedback-intervals"


def groups(comparison: Path) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """Yield title, the accuracy that decides and its rows, for each data set and model of a comparison's folder.

    Raises:
        UserError: there is no comparison in it.
    """
    path = comparison / "comparison.csv"
    if not path.is_file():
        raise UserError(f"no comparison.csv in {comparison}. Give folders below outputs/comparisons.")
    columns, lines = long_rows(path)
    rows = [dict(zip(columns, line, strict=True)) for line in lines]
    for dataset, model in dict.fromkeys((row["dataset"], row["model"]) for row in rows):
        own = [row for row in rows if (row["dataset"], row["model"]) == (dataset, model)]
        decides = headline(list(dict.fromkeys(row["metric"] for row in own)))
        if decides is not None:
            yield f"{dataset}, {model}", decides, [row for row in own if row["metric"] == decides]


def write(out: Path, comparisons: Sequence[Path]) -> list[Path]:
    """Write the specifications, and those with the figures of each comparison; return the files."""
    contents = {out / f"{name}.json": dict(chart) for name, chart in charts.CHARTS.items()}
    for comparison in comparisons:
        for title, decides, rows in groups(comparison):
            axis = f"{decides} {describe(decides).unit}".strip()
            name = f"{comparison.name}-{title.replace(', ', '-')}.vl.json"
            contents[out / name] = charts.filled(CHART, rows, {"title": title, "axis": axis})
    for path, content in contents.items():
        files.write_json(path, content)
    return list(contents)


def create(entity: str) -> list[str]:
    """Make the charts at wandb, for whoever is logged in, and return their names."""
    import wandb

    api = wandb.Api()
    return [
        api.create_custom_chart(
            entity=entity, name=name, display_name=name, spec_type="vega2", access="private", spec=dict(chart)
        )
        for name, chart in charts.CHARTS.items()
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write, or make at wandb, and say what; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python scripts/wandb_dashboard.py", description="Charts of comparisons.")
    parser.add_argument("comparisons", nargs="*", type=Path, help="folders with comparison.csv")
    parser.add_argument("--out", type=Path, default=Path("outputs/dashboard"), help="default: %(default)s")
    parser.add_argument("--entity", help="make the charts at wandb for this user or team")
    asked = parser.parse_args(arguments)
    try:
        for path in write(asked.out, asked.comparisons):
            print(path)
        if asked.entity:
            print(f"made at wandb: {', '.join(create(asked.entity))}")
            print(f"from now on: logger=wandb logger.charts={asked.entity}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - whatever the server says, in one line
        print(f"error: wandb: {one_line(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
