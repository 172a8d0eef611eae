"""Scores of the first test samples when the test set comes class by class."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.engine.small import small_spec
from xfeedback import models
from xfeedback.continual.rows import take
from xfeedback.engine.evaluate import evaluate
from xfeedback.engine.options import EvaluationConfig
from xfeedback.engine.run import load_task
from xfeedback.engine.spread import comes_by_class, in_turn, representative

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return load_task(small_spec(tmp_path_factory.mktemp("task"), dataset={"limit_test": 60}))


@pytest.fixture(scope="module")
def by_class(task):
    return replace(task, test=take(task.test, task.test.y.argsort(stable=True)), _resident={})


@pytest.fixture(scope="module")
def network(task):
    return models.build(models.config_class("gapnet")(name="gapnet", width=3), task.in_shape, task.n_classes, seed=1)


def options(n: int) -> EvaluationConfig:
    return EvaluationConfig(
        batch_size=8,
        explainers=("grad_cam", "gradient", "random"),
        explained=n,
        pictures=0,
        faithfulness=("accuracy_drop",),
        faithfulness_explainers=("gradient",),
        faithfulness_samples=n,
        further=("top5", "coarse"),
        diversity=True,
        diversity_samples=n,
    )


def test_every_first_part_holds_the_classes_in_their_shares():
    y = torch.tensor([3] * 40 + [0] * 7 + [1] * 20 + [3] * 10)
    order = in_turn(y)
    assert order.sort().values.tolist() == list(range(len(y)))
    for n in range(1, len(y) + 1):
        for label in (0, 1, 3):
            share = float((y == label).double().mean())
            assert abs(int((y[order[:n]] == label).sum()) - n * share) <= 1


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.9, 0.1], [0.99, 0.01], [0.1] * 10])
def test_drawn_orders_are_left_as_they_are(shares):
    """Of 60 drawn sets none is taken for one that was sorted; each is when it has been."""
    for seed in range(60):
        y = torch.from_numpy(np.random.default_rng(seed).choice(len(shares), 300, p=shares))
        assert not comes_by_class(y)
        assert representative(y, 100).tolist() == list(range(300))
        ordered = y.sort().values
        if len(y.unique()) > 1 and 2 * int((y != y.mode().values).sum()) > 8:
            assert comes_by_class(ordered)
            assert representative(ordered, 100).tolist() == in_turn(ordered).tolist()
        assert representative(ordered, 300).tolist() == list(range(300))


def test_classes_of_many_folders_come_by_class_too():
    """As spoken commands, whose class of unknown words has many folders among those of the others."""
    y = torch.tensor([0, 5, 1, 5, 5, 2, 5, 3]).repeat_interleave(30)
    assert comes_by_class(y)


def test_a_set_that_comes_by_class_is_scored_on_samples_of_each(by_class, network, task):
    """Scores of 15 of 60 samples are those of a set of these 15 alone; what is measured on all stays."""
    assert by_class.test.y[:15].unique().numel() < 4
    some = in_turn(by_class.test.y)[:15]
    assert by_class.test.y[some].unique().numel() == 10
    alone = replace(task, test=take(by_class.test, some), _resident={})
    found, wanted = (evaluate(network, data, options(15), CPU).metrics for data in (by_class, alone))
    scores = [
        name
        for name in wanted
        if name.startswith(("explanation/", "faithfulness/", "diversity/")) and "decoy_effect" not in name
    ]
    assert {"explanation/inside", "explanation/inside_coarse", "faithfulness/drop_area_gradient"} <= set(scores)
    for name in scores:
        if name != "explanation/leak_share":  # of up to 256 samples
            assert found[name] == pytest.approx(wanted[name], rel=1e-5, abs=1e-6), name
    whole = evaluate(network, task, options(15), CPU).metrics
    for name in ("acc/random", "acc/top5", "margin/median", "explanation/leak_share"):
        assert found[name] == pytest.approx(whole[name], rel=1e-5), name
