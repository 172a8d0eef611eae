import math
from collections.abc import Iterator

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from torch import nn, optim
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from xfeedback.errors import UserError
from xfeedback.feedback import FeedbackModule, OptimiserConfig
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


@pytest.mark.parametrize(
    ("options", "key", "expected"),
    [
        ({"name": "adam"}, "betas", [0.85, 0.95]),
        ({"name": "sgd", "momentum": 0.9}, "momentum", [0.85, 0.95]),
        ({"name": "sgd"}, "momentum", [0.0, 0.0]),
        ({"name": "adadelta"}, "rho", [0.9, 0.9]),
    ],
)
def test_one_cycle_moves_momentum_where_there_is_some(options, key, expected):
    config = OptimiserConfig(schedule="one_cycle", **options)
    optimiser = build_optimiser(config, [nn.Parameter(torch.zeros(1))])
    schedule = build_schedule(config, optimiser, 20, 5)
    assert schedule is not None
    found = []
    for _ in range(20):
        value = optimiser.param_groups[0][key]
        found.append(value[0] if key == "betas" else value)
        optimiser.step()
        schedule.step()
    assert [min(found), max(found)] == pytest.approx(expected, abs=0.01)


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


class Stream(IterableDataset):
    """Six samples whose number nobody knows."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        yield from zip(torch.zeros(6, 2), torch.zeros(6, dtype=torch.long), strict=True)


LOADERS = {
    "sized": DataLoader(TensorDataset(torch.zeros(6, 2), torch.zeros(6, dtype=torch.long)), 2),
    "stream": DataLoader(Stream(), 2),
}


def rates_of(schedule: str, loader: str, **length: int) -> list[float]:
    """The learning rates of a training by somebody's own Trainer."""
    found: list[float] = []

    class Note(Callback):
        def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
            found.append(trainer.optimizers[0].param_groups[0]["lr"])

    milestones = (1,) if schedule == "step" else ()
    options = OptimiserConfig(lr=1.0, schedule=schedule, milestones=milestones)  # type: ignore[arg-type]
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    runner = Trainer(accelerator="cpu", callbacks=[Note()], **quiet, **length)
    runner.fit(FeedbackModule(nn.Linear(2, 2), optimiser=options), LOADERS[loader])
    return found


@pytest.mark.parametrize("length", [{"max_epochs": 2}, {"max_steps": 6}, {"max_epochs": 5, "max_steps": 6}])
def test_milestones_are_epochs_however_the_length_is_given(length):
    assert rates_of("step", "sized", **length) == pytest.approx([1.0] * 3 + [0.1] * 3)


def test_a_stream_has_a_schedule_where_its_length_is_given_and_needs_none_without():
    expected = [0.5 * (1 + math.cos(math.pi * step / 5)) for step in range(5)]
    assert rates_of("cosine", "stream", max_steps=5) == pytest.approx(expected)
    assert rates_of("none", "stream", max_epochs=2) == [1.0] * 6


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "step"])
def test_a_schedule_of_a_length_that_nobody_knows_is_refused(schedule):
    with pytest.raises(UserError, match=f"schedule={schedule} must know how many steps"):
        rates_of(schedule, "stream", max_epochs=2)
