"""What a step of Challenger costs, counted in multiplications."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.methods import tiny
from xfeedback import models
from xfeedback.engine.cost import Flops
from xfeedback.feedback import FeedbackModule


def flops(host: FeedbackModule) -> int:
    network_batch = tiny.batch(4)
    with Flops() as counted:
        host.training_step(replace(network_batch, x=network_batch.x.expand(-1, 1, -1, -1)), 0).backward()
    return counted.total


@pytest.mark.parametrize("model", ["gapnet", "resnet18"])
def test_a_step_costs_at_most_three_plain_ones_and_less_the_later_the_place(model):
    """Counted in multiplications."""

    def host(*feedbacks: Any) -> FeedbackModule:
        network = models.build(models.config_class(model)(name=model, width=4), (1, 32, 32), 10, 0)
        return FeedbackModule(network, feedbacks, example=torch.zeros(1, 1, 32, 32))

    plain = flops(host())
    for attribution in ("grad_x_input", "lrp_epsilon", "lrp_gamma"):
        first = flops(host(tiny.feedback("challenger", site="input", attribution=attribution))) / plain
        hidden = [
            flops(host(tiny.feedback("challenger", site="hidden", site_index=at, attribution=attribution))) / plain
            for at in range(3)
        ]
        assert first <= (3.1 if attribution == "lrp_gamma" else 3.0)
        assert first > hidden[0] > hidden[1] > hidden[2]
        assert hidden[2] < 2.0


def test_layers_before_the_first_dropout_cost_no_second_forward_pass():
    """On the MNIST network: 8/3 at the input without sharing; what is shared is nearly a whole forward pass of nine."""

    def host(*feedbacks: Any) -> FeedbackModule:
        network = models.build(models.config_class("mnist_cnn")(name="mnist_cnn"), (1, 32, 32), 10, 0)
        return FeedbackModule(network, feedbacks, example=torch.zeros(1, 1, 32, 32))

    plain = flops(host())
    never, auto, hidden = (
        flops(host(tiny.feedback("challenger", **options))) / plain
        for options in (
            {"site": "input", "share_forward": "never"},
            {"site": "input"},
            {"site": "hidden", "site_index": 0},
        )
    )
    assert never == pytest.approx(8 / 3, rel=0.02)
    assert auto == pytest.approx(7 / 3, rel=0.03)
    assert hidden < auto
