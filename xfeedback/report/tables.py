"""The comparison as tables: long-form CSV for programs, Markdown for texts, and one for the terminal."""

import csv
import io
import sys
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.console import Group as Stack
from rich.table import Table
from rich.text import Text

from xfeedback.report.doubts import doubts
from xfeedback.report.findings import findings
from xfeedback.report.metrics import FORGETTING, INSIDE, STEP_RATIO, describe
from xfeedback.report.rows import Comparison, Group, Row
from xfeedback.report.stats import Summary, bootstrap
from xfeedback.report.words import escape_markdown, is_best, judge, row_text, status_verdict

COLUMNS = (
    "dataset", "model", "method", "metric", "mean", "sd", "ci_low", "ci_high", "n_seeds", "published", "verdict",
    "boot_low", "boot_high",
)  # fmt: skip
CALIBRATION = ("calibration/ece", "calibration/nll")
_WIDTH = 110
NOTE = (
    "Mean over seeds ± half the width of its 95 % Student interval; a single seed has none. n: finished seeds; "
    "(2 of 3) stands where not all of them have a number."
)


def rule_note(baseline: str) -> str:
    """The rule behind bold, verdicts and sentences, for the foot of a table."""
    return (
        f"A row differs from {baseline} where p is below 0.05: t-tests paired by seed, adjusted after Holm for the "
        "number of rows; the interval of a difference is its own. Bold: the best mean, where it differs."
    )


def ranks_note(comparison: Comparison) -> str:
    """The mean ranks over several data sets and models in one line; empty where there is nothing to rank over."""
    if not comparison.ranks:
        return ""
    listed = ", ".join(f"{label} {rank:.2f}" for label, rank in comparison.ranks.items())
    ranked = sum(group.headline is not None for group in comparison.groups)
    return f"Mean rank over the {ranked} tables (1 = best): {listed}."


def long_csv(comparison: Comparison) -> str:
    """The stable long form with :data:`COLUMNS`: a line for each row and metric, ``status`` lines for what is missing.

    Accuracies are in percent; ``sd``, ``ci_low`` and ``ci_high`` are empty for a single seed, ``boot_low`` and
    ``boot_high`` (a studentised bootstrap interval) for fewer than eight.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for group in comparison.groups:
        for row in group.rows:
            for metric in group.metrics:
                if metric in row.summaries:
                    writer.writerow(_metric_line(row, metric, comparison.baseline))
            for reason, seeds in row.problems:
                verdict = status_verdict(reason, seeds, row)
                writer.writerow([*_names(row), "status", "", "", "", "", len(seeds), "", verdict, "", ""])
    return text.getvalue()


def wide_metrics(group: Group) -> list[str]:
    """Columns of the tables for people: accuracies, forgetting, quality of explanations, cost, calibration."""
    shown = ("continual/", "acc/", "explanation/", "faithfulness/", *CALIBRATION)
    return [name for name in group.metrics if describe(name).of_test.startswith(shown) or name == STEP_RATIO]


def headline_metrics(group: Group) -> list[str]:
    """The columns that fit a terminal: accuracy on each view, forgetting, the share inside the annotation, and cost.

    Where no explanation was scored, calibration is what else there is to say of a network.
    """
    explained = any(describe(name).of_test.startswith("explanation/") for name in group.metrics)
    shown = (INSIDE, STEP_RATIO, FORGETTING, *(() if explained else CALIBRATION))
    return [name for name in wide_metrics(group) if describe(name).is_view or describe(name).of_test in shown]


def detail_metrics(group: Group) -> list[str]:
    """What the tables for people have no column for, shown a line each below them."""
    shown = headline_metrics(group)
    return [name for name in wide_metrics(group) if name not in shown]


def markdown(comparison: Comparison) -> str:
    """All groups as Markdown tables with their findings, what is missing, and where the runs lie."""
    parts = ["# Comparison", ""]
    for group in comparison.groups:
        parts += [f"## {group.dataset}, {group.model}", ""]
        parts += [f"{sentence}  " for sentence in findings(group, comparison.baseline)] + [""]
        parts += [*_markdown_table(group), "", *_markdown_details(group), ""]
        parts += [
            f"- **{escape_markdown(row.label)}** {escape_markdown(line)}" for row in group.rows for line in doubts(row)
        ]
        parts += [f"Stamps: {', '.join(group.stamps)}.", ""] if group.stamps else [""]
    parts += [
        *filter(None, [escape_markdown(ranks_note(comparison))]),
        NOTE,
        rule_note(comparison.baseline),
        "",
        "## Runs",
        "",
    ]
    for row in comparison.rows:
        folders = ", ".join(f"`{run.name}`" for run in row.runs)
        parts.append(f"- {escape_markdown(row.label)} ({row.dataset}, {row.model}): {folders}")
    return "\n".join(parts).replace("\n\n\n", "\n\n") + "\n"


def terminal(comparison: Comparison) -> Stack:
    """What the user sees at the end of a sweep; fits 100 to 120 columns."""
    parts: list[RenderableType] = []
    for group in comparison.groups:
        parts.append(_terminal_table(group))
        parts += [_item(f"{row.label}: {line}", "red") for row in group.rows for line in doubts(row)]
        parts += [_item(f"stamped: {', '.join(group.stamps)}", "yellow")] if group.stamps else []
        parts += [_item(sentence, "") for sentence in findings(group, comparison.baseline)]
        parts.append(Text(""))
    parts += [Text(note) for note in filter(None, [ranks_note(comparison)])]
    parts.append(Text(f"{NOTE} {rule_note(comparison.baseline)}", style="dim"))
    parts += [Text(f"warning: {line}", style="yellow") for line in comparison.warnings]
    return Stack(*parts)


def show(comparison: Comparison, console: Console | None = None) -> None:
    """Print the table and the paths written; 110 columns where the output is no terminal."""
    target = console or Console()
    if console is None and not target.is_terminal:
        target = Console(width=_WIDTH)
    target.print(terminal(comparison))
    for file in comparison.files:
        target.print(str(file), highlight=False, markup=False, soft_wrap=True)


def warned(comparison: Comparison) -> Comparison:
    """Print what was wrong with run folders to stderr, and return the comparison."""
    for line in comparison.warnings:
        print(f"warning: {line}", file=sys.stderr)
    return comparison


def cell(row: Row, metric: str, first: bool) -> str:
    """Text of one cell: as :func:`row_text`; ``failed`` or ``unfinished`` once in an empty row; a dash."""
    if metric in row.summaries:
        return row_text(row, metric)
    if row.done or not first:
        return "–"
    return "failed" if any(run.status == "failed" for run in row.runs) else "unfinished"


def _metric_line(row: Row, metric: str, baseline: str) -> list[str | int]:
    summary, judgement = row.summaries[metric], judge(row, metric, baseline)
    published = "" if judgement.published is None else _number(judgement.published)
    return [
        *_names(row),
        metric,
        *_statistics(summary),
        summary.n,
        published,
        judgement.verdict,
        *_resampled(row, metric),
    ]


def _names(row: Row) -> tuple[str, str, str]:
    return row.dataset, row.model, row.label


def _statistics(summary: Summary) -> tuple[str, str, str, str]:
    if summary.sd is None or summary.interval is None:
        return _number(summary.mean), "", "", ""
    return _number(summary.mean), _number(summary.sd), _number(summary.interval.low), _number(summary.interval.high)


def _resampled(row: Row, metric: str) -> tuple[str, str]:
    interval = bootstrap(list(row.values[metric].values()))
    return ("", "") if interval is None else (_number(interval.low), _number(interval.high))


def _number(value: float) -> str:
    return f"{value:.6g}"


def _markdown_details(group: Group) -> list[str]:
    """The remaining metrics, a line each, a column for each row of the table."""
    metrics = detail_metrics(group)
    if not metrics:
        return []
    lines = [
        _line(["metric", *(escape_markdown(row.label) for row in group.rows)]),
        _line(["---", *["---:"] * len(group.rows)]),
    ]
    for name in metrics:
        texts = [(cell(row, name, False), is_best(row, group, name)) for row in group.rows]
        lines.append(_line([f"{name}{_unit(name)}", *(f"**{t}**" if best else t for t, best in texts)]))
    return lines


def _markdown_table(group: Group) -> list[str]:
    metrics = headline_metrics(group)
    lines = [
        _line(["method", *(f"{name}{_unit(name)}" for name in metrics), "n"]),
        _line(["---", *["---:"] * (len(metrics) + 1)]),
    ]
    for row in group.rows:
        texts = [cell(row, name, position == 0) for position, name in enumerate(metrics)]
        bold = [f"**{text}**" if is_best(row, group, name) else text for name, text in zip(metrics, texts, strict=True)]
        lines.append(_line([escape_markdown(row.label), *bold, row.count]))
    return lines


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _unit(name: str) -> str:
    unit = describe(name).unit
    return f" ({unit})" if unit else ""


def _item(words: str, style: str) -> Table:
    """A line that hangs when it wraps."""
    item = Table.grid(padding=(0, 1))
    item.add_row("-", Text(words, style=style))
    return item


def _terminal_table(group: Group) -> Table:
    metrics = headline_metrics(group)
    table = Table(
        title=f"{group.dataset}, {group.model}",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("method", max_width=30, overflow="fold")
    for name in metrics:
        metric = describe(name)
        table.add_column(f"{metric.short} {metric.unit}".strip(), justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for row in group.rows:
        cells = [
            Text(cell(row, name, position == 0), style="bold" if is_best(row, group, name) else "")
            for position, name in enumerate(metrics)
        ]
        table.add_row(Text(row.label), *cells, row.count)
    return table
