"""Means over data sets by hand: which sets count, what is compared, and what the files say."""

import csv
import io
from pathlib import Path
from statistics import fmean

import pytest

from tests.report.runfolders import Cell, write_run
from xfeedback.errors import UserError
from xfeedback.report.collect import collect
from xfeedback.report.diff import long_csv, main, markdown, pooled
from xfeedback.report.rows import build

SETS = {"A": "Harmonic", "B": "Harmonic", "C": "Box"}
AUP = {  # of the gradient, above random maps, by row and data set
    "plain": {"A": 0.10, "B": 0.30, "C": 0.50},
    "saliency_guided": {"A": 0.20, "B": 0.45, "C": 0.10},
}
WEAK = ("C", 1)
"""The data set and seed at which saliency guided training stays below 90 %."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    for method, by_set in AUP.items():
        for name, aup in by_set.items():
            cell = Cell(method, dataset=name, model="tcn", extra={"dataset": {"name": name, "process": SETS[name]}})
            for seed in (0, 1, 2):
                weak = method != "plain" and (name, seed) == WEAK
                values = {"acc/test": 89.9 if weak else 90.0, "faithfulness/aup_gradient": aup + 0.3}
                values |= {"faithfulness/diff_aup_gradient": aup + 0.01 * seed, "faithfulness/aupr_gradient": 0.5}
                write_run(root, cell, seed, maps=False, metrics=values)
    return root


def cells(root: Path, **options):
    found = pooled(build(collect([root]).runs), **options)
    return {(cell.sets, cell.score, cell.row): cell for cell in found}


def test_sets_count_where_every_row_reaches_the_accuracy(runs):
    found = cells(runs)
    for row, by_set in AUP.items():
        cell = found["all", "diff_aup", row]
        assert cell.retained == {0: 3, 1: 2, 2: 3}
        expected = {s: fmean(v for n, v in by_set.items() if (n, s) != WEAK) + 0.01 * s for s in (0, 1, 2)}
        assert cell.values == pytest.approx(expected)
        assert cell.summary.mean == pytest.approx(fmean(expected.values()))
    assert found["Box", "diff_aup", "plain"].retained == {0: 1, 2: 1}
    assert found["Harmonic", "diff_aup", "saliency_guided"].values[1] == pytest.approx((0.20 + 0.45) / 2 + 0.01)
    assert cells(runs, least=91.0) == {}
    assert cells(runs, least=89.0)["all", "diff_aup", "plain"].retained == {0: 3, 1: 3, 2: 3}


def test_rows_are_compared_seed_by_seed_on_the_same_sets(runs):
    found = cells(runs)
    assert not found["all", "diff_aup", "plain"].pairs
    cell = found["all", "diff_aup", "saliency_guided"]
    assert cell.pairs == pytest.approx({0: -0.05, 1: 0.125, 2: -0.05})
    assert cell.p_value == pytest.approx(cell.difference.p_value)  # one row and one explainer: nothing to adjust
    assert found["all", "aupr", "saliency_guided"].pairs == pytest.approx({0: 0, 1: 0, 2: 0})
    other = cells(runs, baseline="saliency_guided")["all", "diff_aup", "plain"]
    assert other.pairs == pytest.approx({seed: -value for seed, value in cell.pairs.items()})


def test_published_cells_stand_beside_means_over_all_sets_only(runs):
    found = cells(runs)
    assert found["all", "diff_aup", "plain"].published == 0.106
    assert found["all", "diff_aup", "saliency_guided"].published == 0.168
    assert found["Harmonic", "diff_aup", "plain"].published is None
    assert found["all", "aupr", "plain"].published is None


def test_files_say_what_was_found(runs, tmp_path, capsys):
    assert main([str(runs), "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "diff.md"), str(tmp_path / "diff.csv")]
    text = (tmp_path / "diff.md").read_text()
    assert "## tcn: Diff(AUP)\n\nData sets: seed 0: 3, seed 1: 2, seed 2: 3." in text
    assert "| published | 0.168 |" in text
    found = pooled(build(collect([runs]).runs))
    assert text == markdown(found)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "diff.csv").read_text())))
    assert long_csv(found) == (tmp_path / "diff.csv").read_text()
    (row,) = (r for r in rows if (r["sets"], r["score"], r["row"]) == ("all", "diff_aup", "saliency_guided"))
    assert (row["model"], row["explainer"], row["n_seeds"], row["retained"]) == ("tcn", "gradient", "3", "3 2 3")
    assert float(row["difference"]) == pytest.approx((-0.05 + 0.125 - 0.05) / 3, abs=1e-6)


def test_what_cannot_be_compared_is_said_in_a_line(runs, tmp_path, capsys):
    with pytest.raises(UserError, match="unknown baseline 'plian'"):
        cells(runs, baseline="plian")
    assert main([str(runs), "--least", "100.5", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: at no seed do all rows reach 100.5 % on one data set; lower --least\n"
    assert not list(tmp_path.iterdir())
    write_run(tmp_path, Cell("plain"), 0, maps=False)
    assert main([str(tmp_path)]) == 2
    assert (
        capsys.readouterr().err
        == "error: no run measured AUP; add evaluation.faithfulness=[relevance] to runs on series\n"
    )
