"""Every method that says its seeds can be stacked: three seeds as one train as they do one by one."""

import pytest
import torch
from torch import nn

from tests.engine.stacked import alike
from tests.methods import tiny
from xfeedback import methods
from xfeedback.engine.stacked.layers import CannotStackError, stack
from xfeedback.engine.stacked.noise import Noise
from xfeedback.engine.stacked.refusals import refuse_modules
from xfeedback.engine.stacked.stack import Stack
from xfeedback.feedback import FeedbackModule

SEEDS = (0, 1, 2)
PROVEN = [name for name in methods.names() if methods.feedback_class(name).stacks]
LONG = ("xbl", "saliency_guided")


def modules(name: str, kind: str, dtype: torch.dtype = torch.float64) -> list[FeedbackModule]:
    return [tiny.module(tiny.feedback(name), kind=kind, seed=seed).to(dtype).train() for seed in SEEDS]


def compared(name: str, kind: str, steps: int, dtype: torch.dtype, near: float) -> None:
    """Train both ways; losses, and on networks without degenerate directions the weights, are the same."""
    single, joint = modules(name, kind, dtype), modules(name, kind, dtype)
    data = [alike.batches(seed, steps, dtype) for seed in SEEDS]
    expected = torch.stack([torch.stack(alike.alone(m, own)) for m, own in zip(single, data, strict=True)], dim=1)
    found = torch.stack(alike.together(joint, data))
    torch.testing.assert_close(found, expected, rtol=near, atol=0)
    assert not torch.equal(expected[:, 0], expected[:, 1])
    if kind == "gapnet":
        for one, other in zip(single, joint, strict=True):
            wanted = tiny.state(one)
            for key, value in tiny.state(other).items():
                torch.testing.assert_close(value, wanted[key], rtol=near, atol=near, msg=key)


@pytest.mark.parametrize("name", PROVEN)
def test_as_one_by_one(name):
    """Adam, on a network with Grad-CAM in closed form; 20 steps of the methods most in use."""
    compared(name, "gapnet", 20 if name in LONG else 4, torch.float64, 1e-9)


@pytest.mark.parametrize("name", [name for name in PROVEN if methods.feedback_class(name).stacks is True])
def test_with_batch_normalisation_and_dropout(name):
    """Each seed has its own statistics and its own masks; gradients of gradients go through BatchNorm."""
    compared(name, "noisy", 3, torch.float64, 1e-9)


def test_in_single_precision():
    compared("xbl", "gapnet", 20, torch.float32, 1e-4)


def test_in_mixed_precision():
    single, joint = modules("xbl", "noisy", torch.float32), modules("xbl", "noisy", torch.float32)
    data = [alike.batches(seed, 1, torch.float32) for seed in SEEDS]
    with torch.autocast("cpu", torch.bfloat16):
        expected = torch.stack([torch.stack(alike.alone(m, own)) for m, own in zip(single, data, strict=True)], dim=1)
        found = torch.stack(alike.together(joint, data))
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=0)


def test_every_n_steps_leaves_out_the_same_steps():
    joint = [tiny.module(tiny.feedback("xbl", every_n_steps=2), seed=seed) for seed in SEEDS]
    stacked, batches = Stack(joint), [tiny.batch()] * 3
    assert "xbl/distance" in stacked.losses(batches, ("0", 0, 0, 0)).terms
    assert set(stacked.losses(batches, ("0", 0, 0, 1)).terms) == {"ce"}


def test_the_modules_have_the_weights_of_the_stack_and_then_their_own():
    joint = modules("plain", "noisy")
    stacked = Stack(joint)
    x = torch.randn(6, 1, 32, 32, dtype=torch.float64)
    for network in (stacked.network, *(module.network for module in joint)):
        network.eval()
    with torch.no_grad():
        stacked.network.get_submodule("head").get_parameter("bias").add_(1)
        parts = [module.network(part) for module, part in zip(joint, x.chunk(3), strict=True)]
        torch.testing.assert_close(stacked.network(x), torch.cat(parts))
        stacked.release()
        before = tiny.state(joint[0])
        stacked.network.get_submodule("head").get_parameter("bias").add_(1)
    assert all(torch.equal(value, before[key]) for key, value in tiny.state(joint[0]).items())
    assert all(value.requires_grad for value in joint[0].network.parameters())


class Rolling(nn.Module):
    """Mixes the samples of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x - x.mean(0))


class Random(Rolling):
    """Draws outside of dropout layers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x) + torch.rand(1)


def test_a_network_that_would_compute_something_else_is_refused():
    inputs = [torch.randn(4, 3), torch.randn(4, 3) + 1]
    for kind, reason in ((Rolling, "something else"), (Random, "random numbers")):
        hosts = [FeedbackModule(kind()) for _ in inputs]
        with pytest.raises(CannotStackError, match=reason):
            refuse_modules(hosts, inputs)
        assert all(value.requires_grad for value in hosts[0].parameters())


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.LSTM(3, 3), r"'LSTM' \(LSTM\) runs through its sequence"),
        (nn.MultiheadAttention(4, 2), "has weights beside layers of its own"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)), "has weights beside layers of its own"),
        (nn.BatchNorm1d(3, momentum=None), "averages over all batches"),
    ],
)
def test_layers_that_cannot_be_stacked(layer, reason):
    with pytest.raises(CannotStackError, match=reason):
        stack([layer, layer], Noise())


def test_shared_weights_cannot_be_stacked():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    with pytest.raises(CannotStackError, match="share weights"):
        stack([nn.Sequential(first, second)] * 2, Noise())


def test_third_derivatives_of_batch_normalisation_are_refused():
    with pytest.raises(CannotStackError, match="third derivatives"):
        refuse_modules(modules("rbr", "noisy"), [torch.zeros(2, 1, 32, 32, dtype=torch.float64)] * 3)


def test_a_method_that_changes_layers_in_every_pass_is_refused():
    with pytest.raises(CannotStackError, match="method=manifold_mixup changes layers' outputs in every pass"):
        refuse_modules(modules("manifold_mixup", "gapnet"), [torch.zeros(2, 1, 32, 32, dtype=torch.float64)] * 3)
