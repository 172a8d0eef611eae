from xml.etree import ElementTree as ET

from xfeedback.report.collect import collect
from xfeedback.report.plots import curves, points
from xfeedback.report.rows import build

from .runfolders import Cell, write_run

FORGETTING = "continual/forgetting"


def drawn(root, values, **cell):
    for seed, value in enumerate(values):
        write_run(root, Cell("plain", **cell), seed, metrics={FORGETTING: value})
    group = build(collect([root]).runs).groups[0]
    return ET.fromstring(points(group, FORGETTING, {"plain": 1}))


def test_a_share_that_can_be_negative_is_drawn_left_of_zero(tmp_path):
    figure = drawn(tmp_path, (-6.0, -5.0, 2.0))
    zero = next(line for line in figure.iter() if line.get("class") == "zero")
    dots = [float(dot.get("cx", "nan")) for dot in figure.iter() if dot.tag.endswith("circle")]
    assert [dot < float(zero.get("x1", "nan")) for dot in dots] == [True, True, False]


def test_no_axis_begins_below_zero_for_the_interval_s_sake(tmp_path):
    figure = drawn(tmp_path, (0.5, 1.0, 4.0))
    assert not [line for line in figure.iter() if line.get("class") == "zero"]


def test_a_curve_of_one_epoch_is_a_dot():
    seeds = {0: [{"train/ce": 2.0}], 1: [{"train/ce": 4.0}]}
    figure = ET.fromstring(curves({"plain": seeds}, "train/ce", {"plain": 1}))
    dots = [dot.get("class") for dot in figure.iter() if dot.tag.endswith("circle")]
    assert dots == ["seed dot", "seed dot", "average dot"]
    assert not [line for line in figure.iter() if line.tag.endswith("path")]
