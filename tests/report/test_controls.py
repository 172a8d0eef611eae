"""Gains over controls against hand-worked differences: the nearest control decides, and lower may be better."""

import numpy as np
import pytest

from tests.report.runfolders import PROFILE, Cell, write_run
from xfeedback.report.collect import collect
from xfeedback.report.controls import against_controls, controls_of, deciding
from xfeedback.report.rows import build

RANDOM = Cell("saliency_guided", {"mask_source": "random"}, stamps=("control=mask_random",))
TIME = Cell("plain_equal_time", stamps=("control=equal_time",))
AREA, GAIN = "faithfulness/sufficiency_gradient", "faithfulness/drop_gain_gradient"


@pytest.fixture(autouse=True)
def _profile(monkeypatch):
    monkeypatch.setitem(PROFILE, "plain_equal_time", PROFILE["plain"])


def group(tmp_path, rows, seeds=(0, 1, 2)):
    for cell, (accuracy, gain, area) in rows:
        for seed in seeds:
            noise = 0.1 * seed
            own = 0.0 if cell.stamps else (0.0, 0.02, 0.01)[seed]
            metrics = {
                "acc/test": accuracy + noise + own,
                GAIN: gain + noise * (1 + seed) + own,
                AREA: area + noise / 10 + own / 100,
            }
            metrics |= {"faithfulness/drop_gain_random": 0.0, "faithfulness/drop_area_gradient": 50.0}
            write_run(tmp_path, cell, seed, maps=False, metrics=metrics)
    (found,) = build(collect([tmp_path]).runs).groups
    return found


def test_a_method_must_beat_the_nearest_of_its_controls(tmp_path):
    rows = [
        (Cell("plain"), (90.0, 1.0, 0.5)),
        (TIME, (92.0, 3.0, 0.4)),
        (RANDOM, (91.0, 4.0, 0.2)),
        (Cell("saliency_guided"), (92.5, 6.0, 0.3)),
        (Cell("xbl"), (80.0, 9.0, 0.1)),
    ]
    sentences = against_controls(group(tmp_path, rows))
    assert len(sentences) == 2
    guided = next(s for s in sentences if s.startswith("saliency_guided"))
    assert "better than each of its 2 controls in test (+0.5 [0.5, 0.5] from plain_equal_time)" in guided
    assert "drop gain, gradient (+2.0 [2.0, 2.0] from saliency_guided (mask_source=random)); not in suff" in guided
    assert "(-0.100 [-0.100, -0.100] from saliency_guided (mask_source=random))" in guided
    xbl = next(s for s in sentences if s.startswith("xbl"))
    assert "better than its control plain_equal_time in drop gain" in xbl
    assert "; not in test (-12.0" in xbl


def test_without_controls_or_intervals_nothing_is_claimed(tmp_path):
    assert against_controls(group(tmp_path / "a", [(Cell("plain"), (9, 1, 1)), (Cell("xbl"), (9, 1, 1))])) == []
    rows = [(Cell("plain"), (90, 1, 1)), (TIME, (92, 3, 1)), (Cell("saliency_guided"), (99, 9, 0))]
    (single,) = against_controls(group(tmp_path / "b", rows, seeds=(0,)))
    assert "better than its control plain_equal_time in nothing; not in test (+7.0)" in single


def test_a_control_with_one_seed_in_common_is_not_beaten(tmp_path):
    """However far below it lies: nothing says how much of that is chance."""
    for seed, noise in enumerate((0.0, 0.5, 0.2)):
        write_run(tmp_path, Cell("saliency_guided"), seed, maps=False, metrics={"acc/test": 92.0 + noise})
        write_run(tmp_path, TIME, seed, maps=False, metrics={"acc/test": 90.0})
    write_run(tmp_path, RANDOM, 0, maps=False, metrics={"acc/test": 60.0})
    (found,) = build(collect([tmp_path]).runs).groups
    (sentence,) = against_controls(found)
    assert "better than each of its 2 controls in nothing; not in test (+32.0 from saliency_guided" in sentence


def test_a_control_is_of_the_rows_that_are_nearest_to_it(tmp_path):
    """Two strengths with a control each, and a third without one: each row is held against its own."""
    cells = [Cell("xbl", {"c_exp": strength}) for strength in (1, 10, 99)]
    cells += [
        Cell("xbl", {"c_exp": strength, "noise": "wrong"}, stamps=("annotation.control=shuffled",))
        for strength in (1, 10)
    ]
    for cell in cells:
        write_run(tmp_path, cell, 0, maps=False, metrics={"acc/test": 90.0})
    (found,) = build(collect([tmp_path]).runs).groups
    name = "method.xbl.c_exp"
    held = {row.options[name]: controls_of(row, found.rows) for row in found.rows if not row.is_control}
    assert {key: [control.options[name] for control in own] for key, own in held.items()} == {
        "1": ["1"],
        "10": ["10"],
        "99": [],
    }


def test_what_decides(tmp_path):
    found = group(tmp_path, [(Cell("plain"), (90, 1, 1)), (TIME, (92, 3, 1))])
    assert deciding(found) == ["acc/test", GAIN, AREA]


def test_the_interval_decides_and_not_the_mean(tmp_path):
    for seed, ours in enumerate((1.0, 5.0, 0.2)):
        write_run(tmp_path, TIME, seed, maps=False, metrics={"acc/test": 90.0})
        write_run(tmp_path, Cell("saliency_guided"), seed, maps=False, metrics={"acc/test": 90.0 + ours})
    (found,) = build(collect([tmp_path]).runs).groups
    (sentence,) = against_controls(found)
    assert sentence.startswith(
        "saliency_guided is shown better than its control plain_equal_time in nothing; not in test (+2.1"
    )
    assert np.mean((1.0, 5.0, 0.2)) == pytest.approx(2.07, abs=0.01)
