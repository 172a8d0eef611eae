"""Reliability diagrams: bins pooled over seeds, Wilson's interval, drawn only where there are bins."""

import json
import re
from xml.etree import ElementTree as ET

import pytest
from scipy.stats import binomtest

from tests.report.runfolders import Cell, write_run
from xfeedback.report import compare
from xfeedback.report.collect import collect
from xfeedback.report.reliability import Bin, diagram, diagrams, pooled
from xfeedback.report.rows import build

BINS = {"count": [0, 10, 30], "confidence": [0.0, 0.5, 0.9], "accuracy": [0.0, 0.4, 0.8]}
MORE = {"count": [4, 10, 0], "confidence": [0.2, 0.6, 0.0], "accuracy": [0.5, 0.6, 0.0]}


def write(root, seed, reliability):
    folder = write_run(root, Cell("plain"), seed, maps=False)
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | reliability))


def test_seeds_are_pooled_by_their_counts(tmp_path):
    write(tmp_path, 0, {"reliability": {"raw": BINS}})
    write(tmp_path, 1, {"reliability": {"raw": MORE}})
    found = pooled(collect([tmp_path]).runs, "raw")
    assert [b.count for b in found] == [4, 20, 30]
    assert [b.accuracy for b in found] == pytest.approx([0.5, 0.5, 0.8])
    assert [b.confidence for b in found] == pytest.approx([0.2, 0.55, 0.9])
    assert pooled(collect([tmp_path]).runs, "scaled") == []


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (3, 7), (40, 40)])
def test_the_interval_is_wilsons(hits, n):
    expected = binomtest(hits, n).proportion_ci(0.95, "wilson")
    assert Bin(n, 0.5, hits / n).interval == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_the_page_shows_a_diagram_where_there_are_bins(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    write_run(old, Cell("plain"), 0, maps=False)
    (group,) = build(collect([old]).runs).groups
    assert diagrams(group, {"plain": 0}) == ""
    write(new, 0, {"reliability": {"raw": BINS, "scaled": BINS}})
    (group,) = build(collect([new]).runs).groups
    drawn = diagrams(group, {"plain": 0})
    assert drawn.count("<svg") == 2
    assert "as trained; 40 predictions, ECE 10.0 %" in drawn
    assert "after temperature scaling; 40 predictions" in drawn
    compare([new], new / "out")
    (page,) = (new / "out").rglob("*.html")
    assert "Calibration</h3>" in page.read_text()


def test_empty_bins_are_blank_and_the_drawing_is_well_formed():
    drawn = diagram(pooled_bins(), 3, "plain & co")
    root = ET.fromstring(drawn)
    assert len(root.findall(".//rect")) == 4  # a bar and a count for each of two bins
    assert re.search(r"30 predictions: confidence 0.900, right 0.800", drawn)


def pooled_bins():
    return [Bin(*values) for values in zip(*BINS.values(), strict=True)]
