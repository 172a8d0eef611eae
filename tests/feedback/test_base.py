import pytest
import torch

from xfeedback.feedback import Feedback, FeedbackConfig
from xfeedback.methods import names
from xfeedback.methods.rrr import RRRConfig, RRRFeedback


@pytest.mark.parametrize(
    ("warmup", "ramp", "expected"),
    [
        (0, 0, [10, 10, 10]),
        (2, 0, [0, 0, 10, 10]),
        (0, 3, [2.5, 5, 7.5, 10, 10]),
        (2, 1, [0, 0, 5, 10, 10]),
    ],
)
def test_strength_waits_then_rises_linearly(warmup, ramp, expected):
    feedback = RRRFeedback(RRRConfig(weight=10.0, warmup_epochs=warmup, ramp_epochs=ramp))
    assert [feedback.strength(epoch) for epoch in range(len(expected))] == pytest.approx(expected)


def test_without_a_strength_option_a_feedback_always_acts():
    assert Feedback().full_strength == 1


@pytest.mark.parametrize(("option", "least"), [("warmup_epochs", 0), ("ramp_epochs", 0), ("every_n_steps", 1)])
def test_too_few_epochs_or_steps_are_refused(option, least):
    with pytest.raises(ValueError, match=f"{option}={least - 1} must be {least} or more"):
        FeedbackConfig(**{option: least - 1})


def test_hooks_do_nothing_unless_overridden():
    feedback, network = Feedback(), torch.nn.Linear(2, 2)
    assert feedback.prepare(network, torch.zeros(1, 2)) is network
    assert feedback.sample_weights(None) is None  # type: ignore[arg-type]
    assert feedback.view(None) is None  # type: ignore[arg-type]
    assert feedback.penalty(None) == {}  # type: ignore[arg-type]


def test_plain_stands_first():
    assert names()[0] == "plain"
    assert names()[1:] == sorted(names()[1:])
