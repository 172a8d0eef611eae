import importlib.util
from pathlib import Path
from statistics import fmean

import pytest
from scipy.stats import ttest_rel

from .runfolders import Cell, write_run

SCRIPT = Path(__file__).parents[2] / "scripts/results_page.py"
spec = importlib.util.spec_from_file_location("results_page", SCRIPT)
assert spec is not None
assert spec.loader is not None
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)

VALUES = {"plain": (50.0, 52.0, 51.0), "xbl": (60.0, 63.0, 65.0)}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for method, values in VALUES.items():
        for seed, value in enumerate(values):
            write_run(tmp_path / "runs", Cell(method), seed, metrics={"acc/test": value, "acc/clean": 2.0})
    return tmp_path / "runs"


def test_the_block_is_replaced_and_the_prose_stays(runs, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Title\n\nBefore.\n\n<!-- measured -->\nold\n<!-- end -->\n\nAfter.\n")
    assert script.main([str(page), str(runs)]) == 0
    text = page.read_text()
    assert text.startswith("# Title\n\nBefore.\n\n<!-- measured -->\n")
    assert text.endswith("<!-- end -->\n\nAfter.\n")
    assert "old" not in text
    assert script.main([str(page), str(runs)]) == 0
    assert page.read_text() == text


def test_means_differences_and_facts_are_those_of_the_runs(runs, tmp_path):
    page = tmp_path / "page.md"
    arguments = ["--metrics", "acc/test", "--name", "xbl=with the digit told"]
    assert script.main([str(page), str(runs), *arguments]) == 0
    text = page.read_text()
    line = next(line for line in text.splitlines() if line.startswith("| with the digit told"))
    assert f"{fmean(VALUES['xbl']):.1f} ±" in line
    gap = text.split("Differences to plain:")[1]
    assert f"| with the digit told | +{fmean(VALUES['xbl']) - fmean(VALUES['plain']):.1f} " in gap
    assert f"(p {ttest_rel(VALUES['xbl'], VALUES['plain']).pvalue:.2g})" in gap
    assert "| seeds | 0, 1, 2 |" in text
    assert "(6 runs)" in text


def test_several_blocks_on_a_page(runs, tmp_path):
    page = tmp_path / "page.md"
    for name in ("one", "two"):
        assert script.main([str(page), str(runs), "--block", name]) == 0
    assert page.read_text().count("<!-- end -->") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--metrics", "acc/none"], "no run has acc/none"),
        (["--against", "nobody"], "no row is called 'nobody'"),
        (["--name", "nobody=x"], "no row is called"),
        (["--dataset", "none"], "0 data sets"),
    ],
)
def test_a_mistake_leaves_the_page(runs, tmp_path, capsys, arguments, words):
    page = tmp_path / "page.md"
    page.write_text("# Mine\n")
    assert script.main([str(page), str(runs), *arguments]) == 2
    assert words in capsys.readouterr().err
    assert page.read_text() == "# Mine\n"
