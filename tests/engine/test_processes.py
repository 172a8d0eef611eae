"""What the processes that train together must be told of the network."""

import pytest
import torch
from torch import nn

from tests.engine.small import small_spec
from tests.methods import tiny
from xfeedback.engine.callbacks import StepTimer
from xfeedback.engine.folder import RunFolder
from xfeedback.engine.train import Place, build_trainer, may_rest
from xfeedback.feedback import FeedbackModule

EXAMPLE = torch.zeros(1, 1, 32, 32)


class HalfRead(nn.Module):
    """A network one of whose layers nothing reads, as the pooler of many encoders of texts."""

    def __init__(self):
        super().__init__()
        self.body, self.unread = tiny.network(), nn.Linear(2, 2)

    def forward(self, x):
        return self.body(x)


@pytest.mark.parametrize("name", ["plain", "xbl", "rrr", "challenger", "manifold_mixup"])
def test_all_weights_are_trained_in_every_step(name):
    assert not may_rest(tiny.module(tiny.feedback(name)), EXAMPLE)


@pytest.mark.parametrize("options", [{"frozen_epochs": 1}, {"row": "abn", "warmup_epochs": 1}])
def test_lap_may_leave_some_out(options):
    assert may_rest(tiny.module(tiny.feedback("lap", **options)), EXAMPLE)


def test_what_nothing_reads_is_never_trained():
    host = FeedbackModule(HalfRead(), [])
    before = tiny.state(host)
    assert may_rest(host, EXAMPLE)
    tiny.assert_same_bits(tiny.state(host), before)
    assert all(weights.grad is None for weights in host.parameters())


@pytest.mark.parametrize("resting", [False, True])
def test_several_processes_look_for_weights_that_rest(resting, tmp_path):
    spec = small_spec(tmp_path, trainer={"strategy": "ddp", "accelerator": "cpu", "devices": 2})
    options = {"metric": None, "timer": StepTimer(), "logger": None, "resting": resting}
    strategy = build_trainer(spec, RunFolder(spec), Place(epochs=1), **options).strategy
    assert strategy._ddp_kwargs.get("find_unused_parameters", False) is resting
