"""Finding and reading run folders, whole and damaged."""

import json
import shutil

import pytest

from tests.report.runfolders import Cell, standard, write_run, write_runs
from xfeedback.errors import UserError
from xfeedback.report.collect import collect
from xfeedback.report.rows import build


def test_parents_globs_and_folders_find_the_same_runs(tmp_path):
    folders = write_runs(tmp_path / "deep" / "runs", standard()[:2], maps=False)
    names = {folder.name for folder in folders}
    for paths in ([tmp_path], [f"{tmp_path}/**/runs/*"], folders, [*folders, tmp_path]):
        assert {run.name for run in collect(paths).runs} == names
    given = collect(list(reversed(folders))).runs
    assert [run.name for run in given] == [folder.name for folder in reversed(folders)]


def test_links_to_run_folders_are_found_and_no_others_followed(tmp_path):
    done = write_run(tmp_path / "far", Cell("plain"), 0, maps=False)
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    (chosen / done.name).symlink_to(done)
    (chosen / "around").symlink_to(tmp_path)
    assert [run.folder for run in collect([chosen]).runs] == [chosen / done.name]


def test_hydra_and_configuration_folders_are_no_runs(tmp_path):
    write_run(tmp_path, Cell("plain"), 0, maps=False)
    for other in ("conf", ".hydra", "plain-thing"):
        (tmp_path / other).mkdir()
        (tmp_path / other / "config.yaml").write_text("seed: 1\n")
    assert len(collect([tmp_path]).runs) == 1


def test_a_run_found_twice_counts_once_and_the_finished_copy_wins(tmp_path):
    done = write_run(tmp_path / "a", Cell("plain"), 0, maps=False)
    shutil.copytree(done, tmp_path / "b" / done.name)
    (tmp_path / "b" / done.name / "result.json").unlink()
    for order in ("ab", "ba"):
        found = collect([tmp_path / letter for letter in order])
        assert [run.status for run in found.runs] == ["done"]
        assert found.warnings == ()


def test_two_copies_with_other_numbers_are_reported(tmp_path):
    done = write_run(tmp_path / "a", Cell("plain"), 0, maps=False)
    other = shutil.copytree(done, tmp_path / "b" / done.name)
    content = json.loads((other / "result.json").read_text())
    content["metrics"]["acc/random"] += 1
    (other / "result.json").write_text(json.dumps(content))
    assert "differ" in collect([tmp_path]).warnings[0]


@pytest.mark.parametrize("content", ["", '{"status": "do', "[]", "{}", "null"])
def test_a_damaged_result_is_named_and_the_others_go_on(tmp_path, content):
    folders = write_runs(tmp_path, [Cell("plain")], maps=False)
    (folders[1] / "result.json").write_text(content)
    found = collect([tmp_path])
    assert len(found.warnings) == 1
    assert str(folders[1] / "result.json") in found.warnings[0]
    (row,) = build(found.runs).rows
    assert row.count == "2/3"
    assert row.problems == [("failed: result.json is damaged", (1,))]


def test_a_damaged_side_file_costs_a_warning_and_no_number(tmp_path):
    folder = write_run(tmp_path, Cell("plain"), 0, maps=False)
    (folder / "provenance.json").write_text("{")
    (folder / "config.yaml").write_text("a: [")
    found = collect([tmp_path])
    assert found.runs[0].status == "done"
    assert "provenance.json" in found.warnings[0]


def test_a_metric_that_is_no_number_is_left_out_by_name(tmp_path):
    write_run(tmp_path, Cell("plain"), 0, maps=False, metrics={"acc/random": float("nan"), "acc/clean": 3.0})
    found = collect([tmp_path])
    assert dict(found.runs[0].metrics) == {"acc/clean": 3.0}
    assert "acc/random" in found.warnings[0]


def test_an_unfinished_run_joins_the_cell_of_its_configuration(tmp_path):
    cells = [Cell("xbl", {"c_exp": 1.0}), Cell("xbl", {"c_exp": 10.0})]
    write_runs(tmp_path, cells, seeds=(0, 1), maps=False)
    write_run(tmp_path, cells[1], 2, "unfinished")
    rows = {row.label: row for row in build(collect([tmp_path]).runs).rows}
    assert rows["xbl (c_exp=1)"].count == "2"
    assert rows["xbl (c_exp=10)"].problems == [("unfinished", (2,))]


@pytest.mark.parametrize("path", ["nowhere", "nowhere/*", "empty"])
def test_a_bad_path_is_one_line(tmp_path, path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        collect([tmp_path / path])
    assert str(tmp_path / path) in str(caught.value)
    assert "\n" not in str(caught.value)
