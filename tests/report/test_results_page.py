import importlib.util
import json
from pathlib import Path
from statistics import fmean

import pytest
from scipy.stats import ttest_rel

from xfeedback.report.stats import holm
from xfeedback.report.words import probability

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
        (["--over-sets", "--dataset", "none"], "0 data sets"),
        (["--over-sets", "--metrics", "acc/none"], "plain has no acc/none on every set"),
        (["--diff", "plain"], "no set with evaluation.faith"),
    ],
)
def test_a_mistake_leaves_the_page(runs, tmp_path, capsys, arguments, words):
    page = tmp_path / "page.md"
    page.write_text("# Mine\n")
    assert script.main([str(page), str(runs), *arguments]) == 2
    assert words in capsys.readouterr().err
    assert page.read_text() == "# Mine\n"


def test_over_several_data_sets_the_sets_are_the_sample(tmp_path):
    values = {"a": (80.0, 84.0), "b": (60.0, 59.0), "c": (70.0, 75.0)}  # plain, xbl
    for name, pair in values.items():
        for method, value in zip(("plain", "xbl"), pair, strict=True):
            for seed in range(2):
                metrics = {"acc/test": value + seed, "calibration/nll": 1 / value}
                write_run(tmp_path / "runs", Cell(method, dataset=name), seed, metrics=metrics)
    page = tmp_path / "page.md"
    asked = ["--over-sets", "--metrics", "acc/test,calibration/nll"]
    assert script.main([str(page), str(tmp_path / "runs"), *asked]) == 0
    accuracy, nll = (part.splitlines() for part in page.read_text().split("| --- | ---: | ---: |")[1:])
    assert accuracy[1:4] == ["| a | 80.5 | 84.5 |", "| b | 60.5 | 59.5 |", "| c | 70.5 | 75.5 |"]
    assert accuracy[4] == f"| mean | 70.5 | {fmean((84.5, 59.5, 75.5)):.1f} |"
    assert accuracy[5] == "| mean rank | 1.67 | 1.33 |"
    assert nll[5] == "| mean rank | 1.67 | 1.33 |"  # of a loss the smallest is the first
    p = ttest_rel([84.0, 59.0, 75.0], [80.0, 60.0, 70.0]).pvalue
    assert f"(p {p:.2g})" in accuracy[6]
    assert "+2.7 " in accuracy[6]


def test_a_row_without_a_number_on_one_set_is_left_out_and_named(tmp_path):
    for name in "ab":
        for method in ("plain", "rrr", "xbl"):
            ended = "failed" if (name, method) == ("b", "rrr") else "done"
            write_run(tmp_path / "runs", Cell(method, dataset=name), 0, ended, metrics={"acc/test": 50.0})
    page = tmp_path / "page.md"
    assert script.main([str(page), str(tmp_path / "runs"), "--over-sets"]) == 0
    assert "| Test % | plain | xbl |" in page.read_text()
    assert "rrr on b: failed" in page.read_text()


def test_networks_are_not_taken_for_data_sets(tmp_path, capsys):
    for model in ("gapnet", "lenet"):
        write_run(tmp_path / "runs", Cell("plain", model=model), 0, metrics={"acc/test": 50.0})
    assert script.main([str(tmp_path / "page.md"), str(tmp_path / "runs"), "--over-sets"]) == 2
    assert "choose with --model: gapnet, lenet" in capsys.readouterr().err


def test_matrices_name_a_test_by_the_phase_that_teaches_it(tmp_path):
    folder = write_run(tmp_path / "runs", Cell("plain"), 0, metrics={"acc/test": 50.0, "continual/forgetting": 1.0})
    result = json.loads((folder / "result.json").read_text())
    matrices = {"accuracy": [[90.0, 10.0], [80.0, 70.0]], "learned": [0, 1]}
    (folder / "result.json").write_text(json.dumps({**result, "matrices": matrices}))
    page = tmp_path / "page.md"
    assert script.main([str(page), str(tmp_path / "runs"), "--matrices"]) == 0
    assert "| after phase | test 0 | test 1 |" in page.read_text()


def test_series_have_diff_and_one_row_against_each_other(tmp_path):
    """Means over two sets, at seeds where every row is right often enough: at seed 2 there is one."""
    above = {"plain": (0.1, 0.3), "saliency_guided": (0.25, 0.4), "xbl": (0.2, 0.2)}
    for method, by_set in above.items():
        for name, value in zip(("A", "B"), by_set, strict=True):
            for seed in range(3):
                weak = (method, name, seed) == ("xbl", "B", 2)
                metrics = {"acc/test": 80.0 if weak else 95.0, "faithfulness/aup_gradient": value}
                metrics |= {"faithfulness/diff_aup_gradient": value + 0.01 * seed * (method == "plain")}
                write_run(tmp_path / "runs", Cell(method, dataset=name, model="tcn"), seed, metrics=metrics, maps=False)
    page = tmp_path / "page.md"
    asked = ["--model", "tcn", "--diff", "guided", "--name", "saliency_guided=guided"]
    assert script.main([str(page), str(tmp_path / "runs"), *asked]) == 0
    text = page.read_text()
    assert "(18 runs)" in text
    assert "#### tcn: Diff(AUP)\n\nData sets: seed 0: 2, seed 1: 2, seed 2: 1." in text
    values = {"guided": [0.325, 0.325, 0.25], "plain": [0.2, 0.21, 0.12], "xbl": [0.2, 0.2, 0.2]}
    for other in ("plain", "xbl"):
        tests = {row: ttest_rel(found, values[other]).pvalue for row, found in values.items() if row != other}
        line = text.split(f"#### guided minus {other}\n")[1].splitlines()[3]
        assert line.startswith(f"| tcn | Diff(AUP) | +{fmean(values['guided']) - fmean(values[other]):.3f} \\[")
        assert f"({probability(holm(tests)['guided'])})" in line
    assert "guided minus guided" not in text
    assert script.main([str(page), str(tmp_path / "runs"), "--model", "lstm"]) == 2
