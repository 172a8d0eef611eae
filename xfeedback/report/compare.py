"""From run folders to the written comparison, in one call."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from xfeedback.files import write_text
from xfeedback.report.collect import collect
from xfeedback.report.evidence import gather
from xfeedback.report.latex import latex
from xfeedback.report.page import page
from xfeedback.report.rows import PLAIN, Comparison, build
from xfeedback.report.tables import long_csv, markdown


def compare(run_dirs: Sequence[str | Path], out: Path, *, baseline: str = PLAIN) -> Comparison:
    """Read run folders and write ``comparison.csv``, ``.md``, ``.tex`` and ``.html`` into ``out``, each atomically.

    Args:
        run_dirs: run folders, folders that hold some, or glob patterns; rows stand in this order, the baseline first.
        out: folder to write to; made when it is missing.
        baseline: method that the others are compared with.

    Returns:
        The comparison; ``xfeedback.report.show`` prints it, ``files`` says what was written.

    Raises:
        UserError: a path does not exist, there is no run folder, or no run has the baseline asked for.
        OSError: ``out`` can't be written.
    """
    found = collect(run_dirs)
    comparison = build(found.runs, baseline=baseline, warnings=found.warnings)
    evidence = {(group.dataset, group.model): gather(group) for group in comparison.groups}
    late = tuple(warning for item in evidence.values() for warning in item.warnings)
    comparison = replace(comparison, warnings=comparison.warnings + late)
    contents = {
        "csv": long_csv(comparison),
        "md": markdown(comparison),
        "tex": latex(comparison),
        "html": page(comparison, evidence),
    }
    for suffix, text in contents.items():
        write_text(out / f"comparison.{suffix}", text)
    return replace(comparison, files=tuple(out / f"comparison.{suffix}" for suffix in contents))
