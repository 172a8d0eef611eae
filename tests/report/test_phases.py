"""What the report shows of incremental training: rows, columns, curves and the coloured table."""

import json
import re

import pytest

from tests.report.runfolders import Cell, write_run
from xfeedback.report import compare
from xfeedback.report.collect import collect
from xfeedback.report.findings import findings
from xfeedback.report.metrics import describe, headline, ordered
from xfeedback.report.rows import build
from xfeedback.report.tables import headline_metrics

PLAIN = {"accuracy": [[90.0, 20.0], [60.0, 80.0]], "initial": [11.0, 9.0], "learned": [0, 1]}
HELD = {"accuracy": [[90.0, 20.0], [85.0, 75.0]], "initial": [11.0, 9.0], "learned": [0, 1]}


def groups(root):
    return build(collect([root]).runs).groups


def cell(**continual):
    extra = {"phases": {"name": "classes"}, **({"continual": {"name": "ewc", **continual}} if continual else {})}
    return Cell("plain", extra=extra)


def write(root, made, seed, matrices):
    accuracy = matrices["accuracy"]
    average, lost = sum(accuracy[-1]) / 2, accuracy[0][0] - accuracy[1][0]
    metrics = {"acc/test": average, "continual/average_accuracy": average + seed, "continual/forgetting": lost + seed}
    metrics |= {f"acc/phase_{k}": sum(row) / 2 for k, row in enumerate(accuracy)}
    folder = write_run(root, made, seed, maps=False, metrics=metrics)
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | {"matrices": matrices}))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    place = tmp_path_factory.mktemp("phases")
    for seed in (0, 1, 2):
        write(place, cell(), seed, PLAIN)
        write(place, cell(weight=1.0), seed, HELD)
        write(place, cell(weight=100.0), seed, HELD)
    return place


def test_consolidation_stands_in_the_label_and_is_no_baseline(root):
    (group,) = groups(root)
    assert [row.label for row in group.rows] == ["plain", "plain with ewc (weight=1)", "plain with ewc (weight=100)"]
    assert [row.is_baseline for row in group.rows] == [True, False, False]
    assert group.headline == "continual/average_accuracy"
    assert group.rows[1].differences["continual/forgetting"].mean == pytest.approx(5 - 30)


def test_without_a_row_that_is_not_held_the_held_one_is_the_baseline(tmp_path):
    write(tmp_path, cell(weight=1.0), 0, HELD)
    (group,) = groups(tmp_path)
    assert [row.is_baseline for row in group.rows] == [True]


def test_the_page_has_curves_and_a_table_for_each_row(root, tmp_path):
    written = compare([root], tmp_path / "out")
    text = next(path for path in written.files if path.suffix == ".html").read_text()
    tables = re.findall(r'<table class="matrix" data-row="([^"]*)">(.*?)</table>', text)
    assert [name for name, _ in tables] == ["plain", "plain with ewc (weight=1)", "plain with ewc (weight=100)"]
    lines = [re.findall(r">([^<>]+)<", line) for line in re.findall(r"<tr>(.*?)</tr>", tables[0][1])]
    assert lines == [
        ["after phase", "test 0", "test 1"],
        ["untrained", "11.0", "9.0"],
        ["0", "90.0", "20.0"],
        ["1", "60.0", "80.0"],
        ["forgotten", "30.0", "\u2013"],
    ]
    assert 'style="--a:90%"' in tables[0][1]
    assert tables[0][1].count('class="before"') == 3
    assert "test accuracy over phases: mean and each seed" in text


def test_names():
    names = ["acc/phase_10", "acc/phase_2", "acc/test", "continual/forgetting", "continual/average_accuracy"]
    assert ordered(names) == [*reversed(names[3:]), "acc/test", "acc/phase_2", "acc/phase_10"]
    assert headline(names) == "continual/average_accuracy"
    assert headline(["acc/phase_0"]) is None
    assert describe("acc/phase_2").title == "Test after phase 2"
    assert (describe("continual/forgetting").unit, describe("continual/forgetting").better) == ("%", "lower")
    assert describe("continual/backward_transfer").better == "higher"


def test_the_tables_show_the_average_that_decides_and_what_was_forgotten(root):
    (group,) = groups(root)
    assert headline_metrics(group)[:2] == ["continual/average_accuracy", "continual/forgetting"]
    assert findings(group, "plain")[0] == "plain reaches 71.0 % over the phases' tests."
