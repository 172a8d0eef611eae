"""The reproduction ledger: each number that a paper published, and ours where runs measured the same."""

import argparse
import csv
import io
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xfeedback.errors import UserError
from xfeedback.files import write_text
from xfeedback.papers import Published, everything
from xfeedback.report.collect import collect
from xfeedback.report.metrics import STEP_RATIO, describe
from xfeedback.report.rows import Comparison, Row, build
from xfeedback.report.tables import warned
from xfeedback.report.words import comparable, escape_markdown, fixed, mean_text

COLUMNS: tuple[str, ...] = (
    "paper", "block", "origin", "dataset", "method", "metric", "published", "unit", "source", "note",
    "ours", "ci_low", "ci_high", "n_seeds", "cost", "verdict", "runs",
)  # fmt: skip
SHOWN = ("dataset", "method", "metric", "published", "ours", "n_seeds", "cost", "verdict", "runs")
_HEADINGS = {"n_seeds": "n", "cost": "cost (×)"}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One published cell and what our runs say of it.

    Attributes:
        cell: what was published.
        row: the row of ours that measured the same metric of the same method on the same data set, or None.
        verdict: reproduced, not reproduced, not comparable because ..., not measured, not published.
    """

    cell: Published
    row: Row | None
    verdict: str


def ledger(comparison: Comparison | None, cells: Iterable[Published] | None = None) -> list[Entry]:
    """Put ours beside every published cell.

    Args:
        comparison: our runs; None when there are none.
        cells: default: those of all papers.
    """
    rows = comparison.rows if comparison is not None else []
    return [_entry(cell, rows) for cell in (everything() if cells is None else cells)]


def verdict(cell: Published, row: Row | None) -> str:
    """Judge a published cell by a row of ours, two-sided: ``reproduced`` means our 95 % interval holds the number."""
    if cell.value is None:
        return "not published"
    if row is None:
        return f"not comparable: {cell.not_comparable}; not measured" if cell.not_comparable else "not measured"
    summary = row.summaries[cell.metric]
    if why := comparable(cell, row, summary):
        return f"not comparable: {why}"
    if not isinstance(cell.value, float):
        return "not comparable: published as several numbers"
    if summary.interval is not None and summary.interval.contains(cell.value):
        return "reproduced (within interval)"
    digits = describe(cell.metric).digits
    distance = fixed(abs(summary.mean - cell.value), digits)
    return f"not reproduced: ours is {distance} {'above' if summary.mean > cell.value else 'below'}"


def _entry(cell: Published, rows: Sequence[Row]) -> Entry:
    matching = [
        row for row in rows if (row.dataset, row.method) == (cell.dataset, cell.method) and cell.metric in row.summaries
    ]
    wanted = [row for row in matching if cell.protocol in (None, row.variant)]
    row = max(wanted or matching, key=lambda row: (not row.is_control, len(row.done)), default=None)
    return Entry(cell=cell, row=row, verdict=verdict(cell, row))


def values(entry: Entry) -> dict[str, str]:
    """Return the entry as texts by :data:`COLUMNS`."""
    cell, row = entry.cell, entry.row
    found = {name: getattr(cell, name) or "" for name in (*COLUMNS[:6], "unit", "source", "note")}
    found |= {"published": _published(cell), "verdict": entry.verdict}
    if row is not None:
        summary = row.summaries[cell.metric]
        found |= {"ours": mean_text(summary, describe(cell.metric)), "n_seeds": str(summary.n)}
        if summary.interval is not None:
            found |= {"ci_low": f"{summary.interval.low:.6g}", "ci_high": f"{summary.interval.high:.6g}"}
        if STEP_RATIO in row.summaries:
            found["cost"] = fixed(row.summaries[STEP_RATIO].mean, 2)
        found["runs"] = " ".join(run.name for run in row.done)
    return {name: str(found.get(name, "")) for name in COLUMNS}


def long_csv(entries: Iterable[Entry]) -> str:
    """All entries with :data:`COLUMNS`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(values(entry) for entry in entries)
    return text.getvalue()


def markdown(entries: Sequence[Entry]) -> str:
    """A table for each paper and block, the counts of verdicts first."""
    parts = ["# Published and measured", "", *_counts(entries), ""]
    blocks = dict.fromkeys((entry.cell.paper, entry.cell.block) for entry in entries)
    paper = ""
    for name, block in blocks:
        own = [entry for entry in entries if (entry.cell.paper, entry.cell.block) == (name, block)]
        parts += [f"## {name}", ""] if name != paper else []
        paper = name
        parts += [f"### {block}", "", _about(own[0].cell), "", *_table(own), ""]
    return "\n".join(parts)


def _counts(entries: Sequence[Entry]) -> list[str]:
    kinds = [entry.verdict.split(":")[0] for entry in entries]
    return [f"- {kind}: {kinds.count(kind)}" for kind in dict.fromkeys(kinds)]


def _about(cell: Published) -> str:
    said = [f"Origin: {cell.origin}", cell.source and f"source: {cell.source}", cell.unit and f"unit: {cell.unit}"]
    return escape_markdown("; ".join(filter(None, [*said, cell.note])) + ".")


def _table(entries: Sequence[Entry]) -> list[str]:
    lines = [" | ".join(_HEADINGS.get(name, name) for name in SHOWN), " | ".join("---" for _ in SHOWN)]
    for entry in entries:
        found = values(entry)
        lines.append(" | ".join(escape_markdown(found[name]) or "–" for name in SHOWN))
    return [f"| {line} |" for line in lines]


def _published(cell: Published) -> str:
    numbers = cell.value if isinstance(cell.value, tuple) else () if cell.value is None else (cell.value,)
    return ", ".join(f"{number:g}" for number in numbers)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write ``ledger.md`` and ``ledger.csv``; returns the exit code (2 for a mistake in the request)."""
    parser = argparse.ArgumentParser(prog="python -m xfeedback.report.ledger", description="Published and measured.")
    parser.add_argument("runs", nargs="*", help="run folders, folders that hold some, or glob patterns")
    parser.add_argument("--out", type=Path, default=Path("outputs/ledger"), help="folder (default: %(default)s)")
    asked = parser.parse_args(arguments)
    try:
        found = collect(asked.runs) if asked.runs else None
        entries = ledger(None if found is None else warned(build(found.runs, warnings=found.warnings)))
        write_text(asked.out / "ledger.md", markdown(entries))
        write_text(asked.out / "ledger.csv", long_csv(entries))
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join([*_counts(entries), str(asked.out / "ledger.md"), str(asked.out / "ledger.csv")]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
