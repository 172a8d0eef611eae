"""The guard against collapse: when it speaks, when it keeps still, and that a collapsed training is told of."""

import math
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.methods import tiny
from tests.methods.challenger_host import feedback_of, host_of, run
from xfeedback.errors import FeedbackWarning
from xfeedback.feedback.collapse import STEPS, CollapseGuard

LEVEL = math.log(4)
SPREAD = torch.eye(4)[torch.tensor([0, 1, 2, 3])]


def seen(steps: int, challenged: Callable[[int], float], clean: Callable[[int], float], logits: Tensor = SPREAD):
    guard = CollapseGuard()
    for step in range(steps):
        guard.see(torch.tensor(challenged(step)), torch.tensor(clean(step)), logits, torch.arange(4))
    return guard.warnings()


def falling(step: int) -> float:
    return 2.0 - step / 1000


def test_a_challenged_loss_of_guessing_while_the_clean_one_falls():
    (line,) = seen(STEPS, lambda _: 1.019 * LEVEL, falling)
    assert "for 200 steps the challenged loss stood at that of guessing, ln 4 = 1.386" in line


@pytest.mark.parametrize(
    ("challenged", "clean"),
    [
        (lambda _: 1.021 * LEVEL, falling),
        (lambda _: 0.5, falling),
        (lambda _: LEVEL, lambda step: 1.0 + step / 1000),
        (lambda step: 0.1 if step == 100 else LEVEL, falling),
    ],
    ids=["outside two percent", "learned", "clean loss rises", "interrupted"],
)
def test_it_keeps_still(challenged, clean):
    assert seen(STEPS, challenged, clean) == ()


def test_it_waits_its_steps():
    assert seen(STEPS - 1, lambda _: LEVEL, falling) == ()


def test_one_class_predicted_for_everything():
    one = torch.eye(4)[torch.full((4,), 2)]
    (line,) = seen(STEPS, lambda _: 0.5, falling, one)
    assert "every sample was predicted as class 2: training has collapsed" in line
    assert seen(STEPS - 1, lambda _: 0.5, falling, one) == ()
    assert seen(STEPS, lambda _: 0.5, falling) == ()


def test_a_collapsed_training_is_told_of_once_and_noted():
    host = host_of(nn.Sequential(nn.Flatten(), nn.Linear(1024, 10)).double())
    with torch.no_grad():
        host.network[1].weight.zero_()
        host.network[1].bias.zero_()[7] = 1e3
    for number in range(STEPS):
        run(host, number=number)
    feedback = feedback_of(host)
    with pytest.warns(FeedbackWarning, match="every sample was predicted as class 7"):
        feedback.epoch_start(host.network, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        feedback.epoch_start(host.network, 2)
    assert any("training has collapsed" in note for note in host.notes)


def test_sound_training_is_not_warned_of_and_checkpoints_hold_no_counts():
    host = host_of()
    with warnings.catch_warnings():
        warnings.simplefilter("error", FeedbackWarning)
        tiny.trained(host, tiny.changed(lambda b: b.__class__(x=b.x.double(), y=b.y, index=b.index)), epochs=2)
    assert host.notes == ()
    assert not any("guard" in name for name in host.state_dict())
