"""The ledger: every published cell once, with a two-sided verdict and the runs behind it."""

import csv
import io
from typing import Any

import pytest

from tests.report.runfolders import Cell, write_run
from xfeedback.papers import Published, everything
from xfeedback.report.collect import collect
from xfeedback.report.ledger import COLUMNS, ledger, long_csv, main, markdown
from xfeedback.report.rows import Comparison, build


def published(value: Any, **options: Any) -> Published:
    known = {"paper": "xbl", "block": "table", "dataset": "decoy_digits", "method": "xbl", "metric": "acc/random"}
    said = {"unit": "%", "source": "Table 1", "note": None, "origin": "paper", "protocol": None, "not_comparable": None}
    return Published(**{**known, **said, **options}, value=value)


@pytest.fixture
def comparison(tmp_path) -> Comparison:
    """xbl at 93, 94 and 95: mean 94, interval 94 +- 4.303 / sqrt(3) = [91.52, 96.48]."""
    for seed in range(3):
        write_run(tmp_path, Cell("xbl"), seed, maps=False, metrics={"acc/random": 93.0 + seed})
        write_run(tmp_path, Cell("plain"), seed, maps=False, metrics={"acc/random": 11.0 + seed})
    return build(collect([tmp_path]).runs)


@pytest.mark.parametrize(
    ("cell", "verdict"),
    [
        (published(91.6), "reproduced (within interval)"),
        (published(96.4), "reproduced (within interval)"),
        (published(91.5), "not reproduced: ours is 2.5 above"),
        (published(97.0), "not reproduced: ours is 3.0 below"),
        (published(None), "not published"),
        (published((90.0, 95.0)), "not comparable: published as several numbers"),
        (published(94.0, protocol="paper"), "not comparable: published for variant=paper, ours is clean"),
        (published(94.0, not_comparable="another network"), "not comparable: another network"),
        (published(94.0, dataset="mnist"), "not measured"),
        (published(94.0, metric="acc/clean"), "not measured"),
        (published(94.0, dataset="mnist", not_comparable="x"), "not comparable: x; not measured"),
    ],
)
def test_verdicts(comparison, cell, verdict):
    (entry,) = ledger(comparison, [cell])
    assert entry.verdict == verdict


def test_an_entry_names_its_runs_interval_and_count(comparison):
    line = next(csv.DictReader(io.StringIO(long_csv(ledger(comparison, [published(94.0)])))))
    assert (line["ours"], line["n_seeds"]) == ("94.0 ± 2.5", "3")
    assert float(line["ci_low"]) == pytest.approx(94 - 4.302653 / 3**0.5, abs=1e-3)
    assert line["runs"].split() == [run.name for run in comparison.runs if run.method == "xbl"]


def test_a_true_row_is_preferred_to_a_control(tmp_path):
    control = Cell("xbl", {"told": "torus"}, stamps=("annotation.control=torus",))
    for seed in range(3):
        write_run(tmp_path, control, seed, maps=False, metrics={"acc/random": 50.0 + seed})
    for seed in range(2):
        write_run(tmp_path, Cell("xbl"), seed, maps=False, metrics={"acc/random": 94.0 + seed})
    (entry,) = ledger(build(collect([tmp_path]).runs), [published(94.0)])
    assert entry.row is not None
    assert not entry.row.is_control


def test_every_published_cell_stands_in_it_once_without_any_run(tmp_path, capsys):
    assert main(["--out", str(tmp_path)]) == 0
    with (tmp_path / "ledger.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == list(COLUMNS)
    assert len(lines) == len(everything())
    assert {line["ours"] for line in lines} == {""}
    assert "not measured" in capsys.readouterr().out
    text = (tmp_path / "ledger.md").read_text()
    assert text.count("\n| ") == len(lines) + 2 * text.count("\n### ")


def test_folders_that_do_not_exist_are_a_mistake(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere"), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "ledger.md").exists()


def test_markdown_counts_the_verdicts(comparison):
    text = markdown(ledger(comparison, [published(94.0), published(97.0), published(None, metric="new")]))
    assert "- reproduced (within interval): 1\n- not reproduced: 1\n- not published: 1\n" in text


def test_what_was_wrong_with_folders_is_said(tmp_path, capsys):
    folder = write_run(tmp_path / "runs", Cell("xbl"), 0, maps=False)
    (folder / "result.json").write_text("{")
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path)]) == 0
    assert f"warning: {folder / 'result.json'} is damaged and was not used" in capsys.readouterr().err
