"""Every metric that an evaluation can write is called something, in every report."""

from typing import get_args

import pytest
import torch

from tests.engine.small import small_spec
from xfeedback import models
from xfeedback.engine.evaluate import evaluate
from xfeedback.engine.options import EvaluationConfig, Explainer
from xfeedback.engine.run import load_task
from xfeedback.report.labels import EXPLAINERS, HIGHER, LABELS, LOWER, ORDER
from xfeedback.report.metrics import describe, label_of

ELSEWHERE = (
    *("token_f1", "auprc"),  # of texts
    *("masking_area", "masking_gain", "aup", "diff_aur"),  # of series
    *("comprehensiveness", "sufficiency", "inner_drop", "inner_drop_random"),
)
"""What an evaluation of images on a network without attention does not write."""


def test_whatever_an_evaluation_writes_has_a_label(tmp_path):
    task = load_task(small_spec(tmp_path))
    config = EvaluationConfig(
        explainers=("gradient", "grad_cam", "uniform"),
        explained=8,
        pictures=0,
        further=("top5", "near", "coarse", "pixels", "confidence", "random_weights", "grid_pointing"),
        grids=1,
        faithfulness=("accuracy_drop", "road", "deletion", "insertion"),
        faithfulness_explainers=("gradient",),
        faithfulness_samples=4,
        diversity=True,
        diversity_samples=8,
    )
    torch.manual_seed(0)
    network = models.build(models.config_class("gapnet")(name="gapnet", width=3), task.in_shape, task.n_classes, seed=1)
    found = evaluate(network.train(), task, config, torch.device("cpu")).metrics
    assert {"acc/top5", "explanation/pixel_ap_uniform", "faithfulness/road_gradient"} <= found.keys()
    assert [name for name in found if label_of(name) is None] == []
    assert [name for name in found if label_of(f"val/{name}") is None] == []


def test_every_explainer_has_a_name():
    names = [f"explanation/inside_{name}" for name in get_args(Explainer)]
    assert [name for name in names if label_of(name) is None] == []


def test_labels_are_different_and_name_what_other_data_give():
    for part in ("title", "short"):
        texts = [getattr(label, part) for label in LABELS.values()]
        assert len(set(texts)) == len(texts)
    there = {name.split("/")[1] for name in LABELS}
    assert set(ELSEWHERE) <= there
    assert max(len(label.short) for label in LABELS.values()) <= 20
    assert len(set(EXPLAINERS.values())) == len(EXPLAINERS)


def test_orders_and_directions_name_metrics_that_exist():
    names = [*LABELS, "cost/"]
    assert [key for key in ORDER if not any(name.startswith(key) for name in names)] == []
    assert [key for key in (*HIGHER, *LOWER) if not any(name.startswith(key) for name in names)] == []


@pytest.mark.parametrize(
    ("name", "short", "better", "unit", "digits"),
    [
        ("acc/top5", "top 5", "higher", "%", 1),
        ("explanation/pointing_coarse_gradient", "pointing 28, gradient", "higher", "%", 1),
        ("explanation/pixel_ap", "pixel AP", "higher", "%", 1),
        ("explanation/confidence_drop_lap_flow", "conf. drop, flow of attention", "lower", "%", 1),
        ("explanation/confidence_increase", "conf. increase", "higher", "%", 1),
        ("explanation/random_weights_gradient", "random weights, gradient", None, "%", 1),
        ("faithfulness/inner_drop", "inner drop", None, "", 3),
        ("faithfulness/inner_drop_random", "inner drop, random", None, "", 3),
        ("val/calibration/nll", "val NLL", "lower", "", 3),
    ],
)
def test_how_further_measures_are_shown(name, short, better, unit, digits):
    metric = describe(name)
    assert (metric.short, metric.better, metric.unit, metric.digits) == (short, better, unit, digits)


def test_a_name_never_seen_is_shown_as_it_stands():
    assert label_of("explanation/unheard_of") is None
    assert describe("explanation/unheard_of").title == "explanation/unheard_of"
