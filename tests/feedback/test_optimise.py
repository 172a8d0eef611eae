import math

import pytest
import torch
from torch import nn, optim

from xfeedback.feedback import OptimiserConfig
from xfeedback.feedback.optimise import build_optimiser, build_schedule


@pytest.mark.parametrize(
    ("options", "kind", "expected"),
    [
        ({"name": "adam", "lr": 0.1, "weight_decay": 0.2}, optim.Adam, {"lr": 0.1, "weight_decay": 0.2}),
        ({"name": "adamw", "lr": 0.1, "weight_decay": 0.2}, optim.AdamW, {"lr": 0.1, "weight_decay": 0.2}),
        ({"name": "adadelta", "lr": 1.0}, optim.Adadelta, {"lr": 1.0}),
        (
            {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True},
            optim.SGD,
            {"lr": 0.1, "momentum": 0.9, "nesterov": True},
        ),
    ],
)
def test_optimisers_by_name(options, kind, expected):
    found = build_optimiser(OptimiserConfig(**options), nn.Linear(2, 2).parameters())
    assert type(found) is kind
    assert {key: found.param_groups[0][key] for key in expected} == expected


def test_frozen_weights_are_left_out():
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(requires_grad=False)
    found = build_optimiser(OptimiserConfig(), layer.parameters())
    assert found.param_groups[0]["params"] == [layer.weight]


def rates(config: OptimiserConfig, total: int, per_epoch: int) -> list[float]:
    optimiser = build_optimiser(config, [nn.Parameter(torch.zeros(1))])
    schedule = build_schedule(config, optimiser, total, per_epoch)
    assert schedule is not None
    found = []
    for _ in range(total):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return [*found, optimiser.param_groups[0]["lr"]]


def test_cosine_ends_at_zero():
    found = rates(OptimiserConfig(lr=0.2, schedule="cosine"), 10, 5)
    assert found == pytest.approx([0.1 * (1 + math.cos(math.pi * step / 10)) for step in range(11)])


def test_steps_come_at_the_milestones_epochs():
    found = rates(OptimiserConfig(schedule="step", milestones=(1, 3), gamma=0.5), 16, 4)
    assert found == pytest.approx([1e-3] * 4 + [5e-4] * 8 + [2.5e-4] * 5)


def test_one_cycle_peaks_at_the_rate():
    found = rates(OptimiserConfig(lr=0.4, schedule="one_cycle"), 21, 7)[:21]
    assert max(found) == pytest.approx(0.4, rel=0.01)
    assert found[0] == pytest.approx(0.4 / 25)
    assert found[-1] < 1e-5


def test_no_schedule():
    assert (
        build_schedule(OptimiserConfig(), build_optimiser(OptimiserConfig(), [nn.Parameter(torch.zeros(1))]), 5, 1)
        is None
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "lr=0.0 must be above 0"),
        ({"momentum": 0.9}, "momentum=0.9 must be 0 for adam"),
        ({"name": "sgd", "momentum": 1.0}, r"momentum=1.0 must be in \[0, 1\)"),
        ({"name": "sgd", "nesterov": True}, "nesterov=True must be false without momentum"),
        ({"schedule": "step"}, r"milestones=\(\) must be epochs for schedule=step"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0 must be 0 or more"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        OptimiserConfig(**options)
