"""Markdown, LaTeX and terminal tables."""

import shutil
import subprocess

import pytest
from rich.console import Console

from tests.report.runfolders import Cell, standard, write_run, write_runs
from xfeedback.report import compare
from xfeedback.report.latex import escape, latex
from xfeedback.report.tables import markdown, terminal

NASTY = r"out_of 100% {memory} & $5 \x #1 ~^<|>" + '" é'


@pytest.fixture
def comparison(tmp_path):
    write_runs(tmp_path / "runs", standard(), maps=False)
    write_run(tmp_path / "runs", Cell("rrr", {"weight": 10.0}), 7, "failed", error=NASTY)
    write_run(tmp_path / "runs", Cell("xbl+saliency_guided", {"a": 1}, stamps=("subset",)), 0, "failed", error=NASTY)
    write_run(tmp_path / "runs", Cell("xbl", dataset="other_set"), 0, "failed", error=NASTY)
    return compare([tmp_path / "runs"], tmp_path / "out")


def test_latex_escapes_every_special_character():
    assert escape("a_b & 5 % {x} #1 $2 ~ ^ \\") == (
        r"a\_b \& 5 \% \{x\} \#1 \$2 \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )
    assert escape("\u00b1 \u00d7 \u2013 \u00e9") == r"$\pm$ $\times$ -- ?"


def test_latex_rows_have_as_many_cells_as_columns(comparison):
    text = latex(comparison)
    assert text.isascii()
    for table in text.split(r"\begin{tabular}")[1:]:
        columns = len(table[: table.index("}", 1)].strip("{}"))
        body = table[: table.index(r"\end{tabular}")]
        for row in [line for line in body.splitlines() if line.endswith(r"\\")]:
            spanned = sum(int(part[0]) - 1 for part in row.split(r"\multicolumn{")[1:])
            assert row.replace(r"\&", "").count("&") + 1 + spanned == columns, row
    assert r"failed: out\_of 100\% \{memory\} \& \$5" in text
    assert r"\textbf{" in text


def test_latex_compiles(comparison, tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}\input{out/comparison.tex}\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_markdown_holds_every_row_its_problems_and_its_runs(comparison):
    text = markdown(comparison)
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.count("|") - line.count(r"\|") == tables[0].count("|") for line in tables[:7])
    assert r"| xbl+saliency\_guided | failed |" in text
    assert "| rrr |" in text
    assert "3/4 |" in text
    assert r"failed: out\_of 100%" in text
    assert "Stamps: subset" in text
    for run in comparison.runs:
        assert f"`{run.name}`" in text


@pytest.mark.parametrize("width", [100, 120])
def test_terminal_table_fits_and_says_why(comparison, width):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(terminal(comparison))
    lines = console.export_text().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    text = " ".join(lines)
    assert "…" not in text
    for word in (
        "saliency_guided",
        "inside %",
        "cost \u00d7",
        "3/4",
        "(1 of 4 seeds)",
        "stamped: subset",
        "reads the decoy",
    ):
        assert word in text
