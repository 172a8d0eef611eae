"""Scores of maps stand in one column only where they are of one explainer."""

import pytest

from tests.report.runfolders import Cell, write_run
from xfeedback.explain.scored import NEED_LAYER
from xfeedback.report.collect import Run, collect
from xfeedback.report.headline import OF_A_LAYER, headline_explainer
from xfeedback.report.rows import build

LEFT_OUT = "lap_flow was left out: GapNet has no attention pooling; method=lap puts it in"
BLIND = "class activation maps and occlusion are left out of the evaluation: LSTM has no feature map"


def scored(*explainers):
    return {"evaluation": {"explainers": list(explainers)}}


def group(root, cells):
    for cell, metrics in cells:
        for seed in range(3):
            noise = seed * seed / 10
            write_run(root, cell, seed, maps=False, metrics={name: value + noise for name, value in metrics.items()})
    (found,) = build(collect([root]).runs).groups
    return found


def test_runs_scored_by_different_explainers_meet_by_explainer(tmp_path):
    """Grad-CAM of one method meets Grad-CAM of the other, and its own map meets nothing."""
    found = group(
        tmp_path,
        [
            (
                Cell("xbl", extra=scored("lime", "grad_cam")),
                {"explanation/inside": 90.0, "explanation/inside_grad_cam": 41.0, "explanation/area_wrong": 2.0},
            ),
            (Cell("plain", extra=scored("grad_cam")), {"explanation/inside": 40.0, "explanation/area_wrong": 3.0}),
        ],
    )
    plain, xbl = found.rows
    assert plain.summaries["explanation/inside"].mean == pytest.approx(40.0 + 0.5 / 3)
    assert xbl.summaries["explanation/inside"].mean == pytest.approx(41.0 + 0.5 / 3)
    assert xbl.differences["explanation/inside"].mean == pytest.approx(1.0)
    assert xbl.summaries["explanation/inside_lime"].mean == pytest.approx(90.0 + 0.5 / 3)
    assert "explanation/inside_lime" not in xbl.differences
    assert xbl.differences["explanation/area_wrong"].mean == pytest.approx(-1.0)


def test_runs_scored_alike_stay_as_they_are(tmp_path):
    metrics = {"explanation/inside": 40.0, "explanation/inside_gradient": 20.0}
    cells = [(Cell(method, extra=scored("grad_cam", "gradient")), metrics) for method in ("plain", "xbl")]
    assert set(group(tmp_path, cells).rows[1].differences) == set(metrics)


@pytest.mark.parametrize(
    ("explainers", "notes", "expected"),
    [
        ('["grad_cam", "gradient"]', (), "grad_cam"),
        ('["lap_flow", "grad_cam"]', (LEFT_OUT,), "grad_cam"),
        ('["occlusion", "grad_cam", "lime"]', (BLIND,), "lime"),
        ('["grad_cam"]', (BLIND,), "gradient"),
        ("???", (), None),
    ],
)
def test_whose_scores_have_no_ending(tmp_path, explainers, notes, expected):
    run = Run(
        folder=tmp_path, dataset="d", model="m", method="plain", seed=0, cell="", variant="clean", status="done",
        metrics={"explanation/dead": 0.0}, notes=notes,
    )  # fmt: skip
    assert headline_explainer(run, {"evaluation.explainers": explainers}) == expected
    assert headline_explainer(run, {}) is None


def test_the_explainers_of_a_layer_are_all_named():
    assert set(OF_A_LAYER) == set(NEED_LAYER)
