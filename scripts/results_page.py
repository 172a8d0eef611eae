"""Write what run folders measured into a page of ``docs/results``: ``python scripts/results_page.py PAGE RUNS ...``.

The page keeps its prose: only what stands between ``<!-- measured -->`` and ``<!-- end -->`` is replaced, so a figure
can always be made again from the folders. With ``--block NAME`` it is ``<!-- measured NAME -->``, for several blocks.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median

from xfeedback.errors import UserError
from xfeedback.files import write_text
from xfeedback.report import diff
from xfeedback.report.collect import Run, collect
from xfeedback.report.metrics import describe
from xfeedback.report.phases import learned_in, mean_matrix
from xfeedback.report.rows import Comparison, Group, Row, build
from xfeedback.report.stats import Summary, holm, mean_ranks, paired_difference
from xfeedback.report.tables import headline_metrics, warned
from xfeedback.report.words import escape_markdown, probability, problems, row_text, some, span

NOTE = (
    "Mean ± half the width of its 95 % Student interval over the seeds; differences are paired by seed, p after Holm."
)

NOTE_SETS = "Differences are means over the data sets with 95 % Student intervals, paired by set, p after Holm."

NOTE_DIFF = "Differences are paired by seed, with 95 % Student intervals; p after Holm over rows and explainers."


def block(
    group: Group, *, metrics: Sequence[str] = (), gaps: Sequence[str] = (), against: str = "", matrices: bool = False
) -> str:
    """Return the measured part of a page as Markdown: facts, the table, differences, matrices of phases.

    Args:
        group: rows of one data set and model.
        metrics: the columns; empty: those of the terminal's table.
        gaps: metrics whose differences to one row are shown; empty: the first column's.
        against: label of that row; empty: the baseline.
        matrices: add accuracy on each phase's test after each phase.

    Raises:
        UserError: no row has such a label or metric.
    """
    shown = list(metrics) or headline_metrics(group)
    if missing := [name for name in (*shown, *gaps) if name not in group.metrics]:
        raise UserError(f"no run has {', '.join(missing)}. There are: {', '.join(group.metrics)}.")
    base = _row(group, against)
    lines = [[row.label, *(_mean(row, name) for name in shown)] for row in group.rows]
    parts = [_facts(group), "", *_table([_heads(shown), *lines]), ""]
    if len(group.rows) > 1:
        parts += [f"Differences to {escape_markdown(base.label)}:", ""]
        parts += [*_gaps(group, base, list(gaps) or shown[:1]), ""]
    parts += [NOTE, *(text for row in group.rows for text in _matrix(row) if matrices)]
    return "\n".join(parts)


def block_over_sets(groups: Sequence[Group], *, metrics: Sequence[str], against: str = "") -> str:
    """Return the measured part of a page on several data sets as Markdown: facts, a table for each metric.

    A table has the mean over the seeds on each set, the mean of these and the mean rank (1 = best), and how the row
    differs from one row, paired by data set: the sets, not the seeds, are the sample.

    Args:
        groups: rows of several data sets with one model; shown are the rows that have a number in all of them.
        metrics: what to show.
        against: label of the row to compare with; empty: the baseline.

    Raises:
        UserError: there are several models, no row is called so, or that row has no such number in some data set.
    """
    if len(models := {group.model for group in groups}) > 1:
        raise UserError(f"data sets are compared with one model; choose with --model: {', '.join(sorted(models))}.")
    base = _row(groups[0], against).label
    everything = replace(groups[0], rows=tuple(row for group in groups for row in group.rows))
    tables = [line for metric in metrics for line in ("", *_over_sets(groups, metric, base))]
    return "\n".join([_facts(everything), *tables, "", NOTE_SETS])


def block_diff(comparison: Comparison, row: str) -> str:
    """Return the measured part of a page on many sets of series as Markdown: facts, Diff, one row above each other.

    Args:
        comparison: of runs on series, see :mod:`xfeedback.report.diff`.
        row: label of the row that is compared with each other one.

    Raises:
        UserError: no row is called so, or no data set counts.
    """
    labels = list(dict.fromkeys(found.label for found in comparison.rows))
    if row not in labels:
        raise UserError(f"no row is called '{row}'. There are: {', '.join(labels)}.")
    everything = replace(comparison.groups[0], rows=tuple(comparison.rows))
    if not (cells := diff.pooled(comparison)):
        raise UserError(f"no set with evaluation.faithfulness=[relevance] on which every row reaches {diff.LEAST:g} %.")
    parts = [_facts(everything), "", diff.note(), "", *diff.tables(cells, "####")]
    for other in labels:
        if other != row:
            parts += [f"#### {row} minus {other}", ""]
            parts += [*diff.differences(diff.pooled(comparison, baseline=other), row), ""]
    return "\n".join([*parts, NOTE_DIFF])


def _over_sets(groups: Sequence[Group], metric: str, base: str) -> list[str]:
    shown = describe(metric)
    measured = [[row.label for row in group.rows if metric in row.summaries] for group in groups]
    labels = [label for label in measured[0] if all(label in found for found in measured)]
    if base not in labels:
        raise UserError(f"{base} has no {metric} on every set. The first has: {', '.join(groups[0].metrics)}.")
    means = {label: [_row(group, label).summaries[metric].mean for group in groups] for label in labels}
    sign = -1 if shown.better == "lower" else 1
    ranks = mean_ranks([{label: sign * means[label][n] for label in labels} for n in range(len(groups))])
    gaps = {label: _gap(means[label], means[base]) for label in labels if label != base}
    judged = holm({label: gap.p_value for label, gap in gaps.items() if gap.p_value is not None})
    lines = [
        [f"{shown.title} {shown.unit}".strip(), *labels],
        *(
            [group.dataset, *(f"{means[label][n]:.{shown.digits}f}" for label in labels)]
            for n, group in enumerate(groups)
        ),
        ["mean", *(f"{fmean(means[label]):.{shown.digits}f}" for label in labels)],
        ["mean rank", *(f"{ranks[label]:.2f}" for label in labels)],
        [
            f"minus {base}",
            *(
                f"{span(gaps[label], shown.digits)} ({probability(judged[label])})" if label in judged else "-"
                for label in labels
            ),
        ],
    ]
    return _table(lines)


def _gap(ours: Sequence[float], base: Sequence[float]) -> Summary:
    found = paired_difference(dict(enumerate(ours)), dict(enumerate(base)))
    if found is None:
        raise UserError("a row has no data set in common with the one that it is compared with.")
    return found


def _heads(metrics: Sequence[str]) -> list[str]:
    return ["row", *(f"{describe(name).title} {describe(name).unit}".strip() for name in metrics)]


def _mean(row: Row, metric: str) -> str:
    return row_text(row, metric) if metric in row.summaries else "-"


def _gaps(group: Group, base: Row, metrics: Sequence[str]) -> list[str]:
    others = [row for row in group.rows if row is not base]
    columns = [_column(others, base, metric) for metric in metrics]
    lines = [[row.label, *(column.get(row.label, "-") for column in columns)] for row in others]
    return _table([_heads(metrics), *lines])


def _column(rows: Sequence[Row], base: Row, metric: str) -> dict[str, str]:
    found = {row.label: paired_difference(row.values.get(metric, {}), base.values.get(metric, {})) for row in rows}
    kept = {label: difference for label, difference in found.items() if difference}
    judged = holm({label: d.p_value for label, d in kept.items() if d.p_value is not None})
    digits = describe(metric).digits
    return {
        label: f"{span(d, digits)}{f' ({probability(judged[label])})' if label in judged else ''}"
        for label, d in kept.items()
    }


def replaced(page: str, text: str, name: str = "") -> str:
    """Return ``page`` with its measured block replaced, or with one added at its end."""
    start = f"<!-- measured{f' {name}' if name else ''} -->"
    whole = f"{start}\n{text}\n<!-- end -->"
    pattern = re.compile(re.escape(start) + r".*?<!-- end -->", re.DOTALL)
    return pattern.sub(lambda _: whole, page) if pattern.search(page) else f"{page.rstrip()}\n\n{whole}\n"


def _row(group: Group, label: str) -> Row:
    if not label:
        return group.baseline or group.rows[0]
    for row in group.rows:
        if row.label == label:
            return row
    raise UserError(f"no row is called '{label}'. There are: {', '.join(row.label for row in group.rows)}.")


def _facts(group: Group) -> str:
    runs = [run for row in group.rows for run in row.done]
    seconds = [run.seconds for run in runs if run.seconds is not None]
    took = f"{min(seconds):.0f} to {max(seconds):.0f} s, median {median(seconds):.0f} s" if seconds else "not recorded"
    facts = {
        "command": _joined(f"`{' '.join(run.provenance['command'])}`" for run in runs if run.provenance.get("command")),
        "commit": _joined(_commit(run) for run in runs),
        "machine": _joined(_machine(run) for run in runs),
        "a run took": f"{took} ({len(runs)} runs)",
        "data": _joined(f"{run.dataset}, fingerprint `{_fingerprint(run)}`" for run in runs),
        "seeds": _joined(str(run.seed) for run in sorted(runs, key=lambda run: run.seed)),
        "stamps": ", ".join(group.stamps) or "none",
    }
    missing = [f"{row.label} on {row.dataset}: {line}" for row in group.rows for line in problems(row)]
    facts |= {"missing": escape_markdown("; ".join(missing))} if missing else {}
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())])


def _matrix(row: Row) -> list[str]:
    matrix = mean_matrix(row.done, "accuracy")
    if not matrix:
        return []
    heads = ["after phase", *(f"test {number}" for number in learned_in(row.done, matrix))]
    values = [[str(phase), *(f"{value:.1f}" for value in values)] for phase, values in enumerate(matrix)]
    forgotten = fmean(v for run in row.done if (v := run.metrics.get("continual/forgetting")) is not None)
    table = _table([heads, *values])
    return ["", f"**{escape_markdown(row.label)}**, forgetting {forgotten:.1f}", "", *table]


def _table(lines: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table; the first line holds the headings, the first column texts."""
    rules = ["---", *["---:"] * (len(lines[0]) - 1)]
    escaped = [[escape_markdown(text) for text in line] for line in lines]
    return [f"| {' | '.join(texts)} |" for texts in [escaped[0], rules, *escaped[1:]]]


def _joined(texts: Iterable[str], most: int = 12) -> str:
    return some(list(dict.fromkeys(texts)), most) or "unknown"


def _commit(run: Run) -> str:
    git = run.provenance.get("git") or {}
    return f"{str(git.get('commit') or 'unknown')[:7]}{' + changes' if git.get('dirty') else ''}"


def _machine(run: Run) -> str:
    machine = run.provenance.get("machine") or {}
    versions = run.provenance.get("versions") or {}
    device = machine.get("gpu") or f"no GPU, {machine.get('cpus')} cores"
    return f"{device}, threads of a run: {machine.get('threads')}, torch {versions.get('torch')}"


def _fingerprint(run: Run) -> str:
    return str((run.provenance.get("data") or {}).get("fingerprint") or "unknown")[:12]


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite the page's block; returns the exit code (2 for a mistake in the request)."""
    parser = argparse.ArgumentParser(description="Write what run folders measured into a page.")
    parser.add_argument("page", type=Path)
    parser.add_argument("runs", nargs="+", help="run folders, folders that hold some, or glob patterns")
    parser.add_argument("--block", default="", help="name of the block, where a page has several")
    parser.add_argument("--metrics", default="", help="columns, separated by commas")
    parser.add_argument("--gaps", default="", help="metrics whose differences are shown, separated by commas")
    parser.add_argument("--against", default="", help="label of the row to compare with")
    parser.add_argument("--name", action="append", default=[], metavar="LABEL=SHOWN", help="a better name for a row")
    parser.add_argument("--dataset", default="", help="of several data sets, the one to show")
    parser.add_argument("--model", default="", help="of several networks, the one to show")
    parser.add_argument(
        "--diff", default="", metavar="ROW", help="several sets of series: Diff, and ROW minus each other"
    )
    parser.add_argument("--over-sets", action="store_true", help="several data sets: a table for each of the metrics")
    parser.add_argument("--matrices", action="store_true", help="add accuracy after each phase")
    asked = parser.parse_args(arguments)
    try:
        text = _asked_block(asked)
        before = asked.page.read_text() if asked.page.exists() else f"# {asked.page.stem.replace('_', ' ')}\n"
        write_text(asked.page, replaced(before, text, asked.block))
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(asked.page)
    return 0


def _asked_block(asked: argparse.Namespace) -> str:
    found = collect(asked.runs)
    built = warned(build(found.runs, warnings=found.warnings))
    wanted = [g for g in built.groups if asked.dataset in ("", g.dataset) and asked.model in ("", g.model)]
    names = {label: shown for label, _, shown in (pair.rpartition("=") for pair in asked.name)}
    labels = {row.label for group in wanted for row in group.rows}
    if unknown := [label for label in names if label not in labels]:
        raise UserError(f"no row is called {unknown}. There are: {', '.join(labels)}.")
    groups = [_renamed(group, names) for group in sorted(wanted, key=lambda group: group.dataset)]
    metrics, gaps = ([name for name in text.split(",") if name] for text in (asked.metrics, asked.gaps))
    if asked.diff and groups:
        return block_diff(replace(built, groups=tuple(groups)), asked.diff)
    if asked.over_sets and groups:
        return block_over_sets(groups, metrics=metrics or ["acc/test"], against=asked.against)
    if len(groups) != 1:
        raise UserError(f"{len(groups)} data sets and models; choose with --dataset, --model or by the run folders.")
    return block(groups[0], metrics=metrics, gaps=gaps, against=asked.against, matrices=asked.matrices)


def _renamed(group: Group, names: Mapping[str, str]) -> Group:
    order = [*names, *(row.label for row in group.rows if row.label not in names)]
    rows = sorted(group.rows, key=lambda row: order.index(row.label))
    return replace(group, rows=tuple(replace(row, label=names.get(row.label, row.label)) for row in rows))


if __name__ == "__main__":
    sys.exit(main())
