"""Confusion matrices on the page: read from run folders, summed over the seeds, drawn in percent of the true class."""

import re

import numpy as np
import pytest

from tests.report.runfolders import Cell, write_run
from xfeedback.files import write_json
from xfeedback.report import compare
from xfeedback.report.collect import collect
from xfeedback.report.confusion import Confusion, drawing, pooled

FIRST, SECOND = [[8, 2], [0, 10]], [[6, 4], [5, 5]]


def write(root, seed, counts, classes=("cat", "dog"), **views):
    folder = write_run(root, Cell("plain"), seed, maps=False)
    found = {"classes": list(classes), "views": ["random", *views], "counts": {"random": counts, **views}}
    write_json(folder / "confusion.json", found)
    return folder


def test_seeds_are_summed_in_the_headline_view(tmp_path):
    write(tmp_path, 0, FIRST, clean=[[0, 0], [0, 0]])
    write(tmp_path, 1, SECOND)
    write(tmp_path, 2, [[1, 0], [0, 1]], classes=("a", "b"))  # other classes: left out
    found = pooled(collect([tmp_path]).runs)
    assert found == Confusion(("cat", "dog"), tuple(map(tuple, np.add(FIRST, SECOND).tolist())))


@pytest.mark.parametrize(
    "text", ["", "[]", '{"classes": ["a"]}', '{"classes": ["a"], "views": ["x"], "counts": {"x": [[1, 2]]}}']
)
def test_a_file_of_another_form_is_no_matrix(tmp_path, text):
    folder = write_run(tmp_path, Cell("plain"), 0, maps=False)
    (folder / "confusion.json").write_text(text)
    assert pooled(collect([tmp_path]).runs) is None


def test_each_entry_has_its_share_of_the_true_class():
    drawn = drawing(Confusion(("cat", "dog"), ((30, 10), (0, 20))), "x")
    assert re.findall(r"<title>(.*?)</title>", drawn) == [
        "cat taken for cat: 30 (75.0 %)",
        "cat taken for dog: 10 (25.0 %)",
        "dog taken for dog: 20 (100.0 %)",
    ]
    assert re.findall(r'class="(hit|miss)" style="opacity:(\S+)"', drawn) == [
        ("hit", "0.75"),
        ("miss", "0.25"),
        ("hit", "1.00"),
    ]


def test_many_classes_are_drawn_without_numbers():
    counts = np.eye(40, dtype=int) * 3
    drawn = drawing(Confusion(tuple(map(str, range(40))), tuple(map(tuple, counts.tolist()))), "x")
    assert drawn.count('class="hit"') == 40
    assert ">100<" not in drawn


def test_the_page_shows_them_only_where_there_are_some(tmp_path):
    write(tmp_path / "with", 0, FIRST, classes=("<b>", "&"))
    compare([tmp_path / "with"], tmp_path / "out")
    text = (tmp_path / "out" / "comparison.html").read_text()
    assert "20 predictions, 90.0 % right" in text
    assert "&lt;b&gt; taken for &amp;: 2 (20.0 %)" in text
    write_run(tmp_path / "without", Cell("plain"), 0, maps=False)
    compare([tmp_path / "without"], tmp_path / "out")
    assert "Which classes are taken" not in (tmp_path / "out" / "comparison.html").read_text()
