"""What feedbacks say about a run: stamps, notes on the network, terms without gradient, their strength."""

import warnings

import pytest
import torch
from torch import Tensor, nn

from tests.methods import tiny
from xfeedback import models
from xfeedback.errors import FeedbackWarning
from xfeedback.feedback import Feedback, FeedbackModule, Step
from xfeedback.models.layers import dense_head


class Said(Feedback):
    """A term that trains nothing beside one that does."""

    name = "said"
    stamps = ("odd",)

    def prepare(self, network: nn.Module, example: Tensor) -> nn.Module:
        self.notes = ("it has a network",)
        return network

    def penalty(self, step: Step) -> dict[str, Tensor]:
        return {"constant": torch.tensor(1.0), "mean": step.logits.mean()}


def test_stamps_and_notes_of_feedbacks_are_the_modules():
    with pytest.warns(FeedbackWarning, match="^it has a network$"):
        host = FeedbackModule(tiny.network(), [Said(), tiny.feedback("rrr")])
    assert host.stamps == ("odd",)
    assert host.notes == ("it has a network",)


def test_a_term_without_gradient_is_found_while_training():
    with pytest.warns(FeedbackWarning):
        host = tiny.module(Said())
    host.training_step(tiny.batch(), 0)
    assert host.notes[1:] == ("the term said/constant has no gradient: it is logged and trains nothing",)


def test_the_strength_of_each_epoch_is_logged():
    host = tiny.module(tiny.feedback("rrr", weight=8.0, warmup_epochs=1, ramp_epochs=1))
    logged = []
    for epochs in (1, 2, 3):
        runner = tiny.trainer(epochs)
        runner.fit(tiny.module(*host.feedbacks), tiny.batches())
        logged.append(runner.callback_metrics.get("train/rrr/weight"))
    assert logged == [None, 4.0, 8.0]


class Head(nn.Module):
    """One map of 5x8x8 and different ways to read it."""

    def __init__(self, *head: nn.Module) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 5, 3, padding=1), nn.ReLU())
        self.head = nn.Sequential(*head)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


FLAT = nn.Flatten()
HEADS = {
    "flattened": (Head(FLAT, nn.Linear(5 * 64, 2)), "head.1"),
    "pooled to 2x2": (Head(nn.AdaptiveAvgPool2d(2), FLAT, nn.Linear(20, 2)), "head.2"),
    "convolved, then flattened": (Head(nn.Conv2d(5, 3, 3), FLAT, nn.Linear(3 * 36, 4), nn.Linear(4, 2)), "head.2"),
    "pooled": (Head(nn.AdaptiveAvgPool2d(1), FLAT, nn.Linear(5, 2)), None),
    "pooled, two layers": (Head(nn.AdaptiveAvgPool2d(1), FLAT, nn.Linear(5, 20), nn.ReLU(), nn.Linear(20, 2)), None),
    "convolved, then pooled": (Head(nn.Conv2d(5, 2, 3), nn.AdaptiveAvgPool2d(1), FLAT), None),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_that_weigh_each_cell_are_found(name):
    network, expected = HEADS[name]
    assert dense_head(network, "features", torch.zeros(1, 1, 8, 8)) == expected
    assert network.training


@pytest.mark.parametrize("method", ["xbl", "hint", "rrr_g"])
def test_cam_methods_warn_of_such_a_head_and_of_no_other(method):
    network = models.build(models.config_class("mnist_cnn")(name="mnist_cnn"), (1, 32, 32), 10, 0)
    example = torch.zeros(1, 1, 32, 32)
    with pytest.warns(FeedbackWarning, match=f"^{method}: layer 'fc1' weighs each cell of the map 'pool' on its own"):
        host = FeedbackModule(network, [tiny.feedback(method)], example=example)
    assert len(host.notes) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tiny.module(tiny.feedback(method)).notes == ()
        assert tiny.module(tiny.feedback(method), kind="noisy").notes == ()
