"""Where every number comes from, on the HTML page: seeds, commits, machines, versions, data and run folders."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from xfeedback.report.collect import Run
from xfeedback.report.rows import Group, Row
from xfeedback.report.svg import tag

_MAY_BE_SHARED = ("commit", "machine", "versions", "data", "variant")


def provenance(group: Group) -> str:
    """HTML: what all rows share as a list, what they do not as a table, and the names of all run folders."""
    found = [_cells(row) for row in group.rows]
    shared = [name for name in _MAY_BE_SHARED if len(found) > 1 and len({cells[name] for cells in found}) == 1]
    columns = [name for name in found[0] if name not in shared]
    common = "".join(tag("dt", name) + tag("dd", found[0][name]) for name in shared)
    heads = tag("thead", tag("tr", "".join(tag("th", name, scope="col") for name in columns)))
    lines = (tag("tr", "".join(tag("td", cells[name]) for name in columns)) for cells in found)
    table = tag("table", heads + tag("tbody", "".join(lines)), class_="provenance sortable")
    folders = "".join(
        tag("dt", escape(row.label)) + tag("dd", "".join(tag("code", escape(run.name)) for run in row.runs))
        for row in group.rows
    )
    details = tag("details", tag("summary", "Run folders") + tag("dl", folders, class_="folders"))
    return (tag("dl", common) if shared else "") + tag("div", table, class_="scroll") + details


def _cells(row: Row) -> dict[str, str]:
    stamps = "".join(tag("span", escape(stamp), class_="badge") for stamp in row.stamps)
    return {
        "method": escape(row.label),
        "seeds": ", ".join(str(run.seed) for run in row.runs),
        "commit": _distinct(tag("code", escape(_commit(run))) for run in row.runs),
        "machine": _distinct(escape(_flat(run, "machine")) for run in row.runs),
        "versions": _distinct(escape(_flat(run, "versions")) for run in row.runs),
        "data": _distinct(tag("code", escape((run.data or "unknown")[:12])) for run in row.runs),
        "variant": _distinct(escape(run.variant or "unknown") for run in row.runs),
        "stamps, notes": stamps + _distinct(_notes(row)) or "none",
    }


def _notes(row: Row) -> list[str]:
    resumed = [str(run.seed) for run in row.runs if run.resumed]
    notes = [escape(note) for run in row.runs for note in run.notes]
    return notes + ([f"resumed: seed {', '.join(resumed)}"] if resumed else [])


def _distinct(texts: Iterable[str]) -> str:
    return "<br>".join(dict.fromkeys(texts))


def _commit(run: Run) -> str:
    git = run.provenance.get("git")
    if not isinstance(git, Mapping) or not git.get("commit"):
        return "unknown"
    return f"{str(git['commit'])[:8]}{' + changes' if git.get('dirty') else ''}"


def _flat(run: Run, key: str) -> str:
    value: Any = run.provenance.get(key)
    if not isinstance(value, Mapping):
        return str(value or "unknown")
    return ", ".join(
        f"{name} {item}" for name, item in value.items() if item not in (None, "") and not isinstance(item, dict | list)
    )
