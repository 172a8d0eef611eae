"""LRP on networks of odd build, and what it cannot treat."""

import pytest
import torch
from torch import Tensor, nn

from tests.explain.lrp_nets import close, residual
from tests.explain.nets import images
from xfeedback.errors import UserError
from xfeedback.explain.lrp import COMPOSITES, Rules, relevance
from xfeedback.models.blocks import BasicBlock


def test_a_reused_layer_counts_once_for_each_use():
    """Twice the same convolution equals two layers with the same weights."""
    torch.manual_seed(0)
    conv, (x, y) = nn.Conv2d(2, 2, 3, padding=1).double(), images(3)
    head = [nn.Flatten(), nn.Linear(128, 4).double()]
    other = nn.Conv2d(2, 2, 3, padding=1).double()
    other.load_state_dict(conv.state_dict())
    reused, apart = (nn.Sequential(conv, nn.ReLU(), second, nn.ReLU(), *head) for second in (conv, other))
    for name in COMPOSITES:
        close(relevance(reused, x, y, name), relevance(apart, x, y, name), 1e-12)


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3)
        self.inner = nn.Sequential(nn.Identity(), nn.Softplus())

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.conv(x)).mean((2, 3))


def test_what_it_cannot_treat_is_named():
    network, (x, y) = Odd().double(), images(2)
    with pytest.raises(UserError, match=r"no rule for 'softplus' in layer 'inner.1' \(Softplus\) of Odd; choose"):
        relevance(network, x, y.clamp_max(1))
    relu_first = nn.Sequential(nn.Identity(), nn.ReLU(), nn.Conv2d(2, 3, 8), nn.Flatten()).double()
    with pytest.raises(UserError, match=r"'relu reads the input before any layer with weights' in layer '1' \(ReLU\)"):
        relevance(relu_first, x, y, Rules(first="flat"))
    with pytest.raises(UserError, match=r"unknown layer 'pol' in Residual. Did you mean 'pool'\?"):
        relevance(residual(), x, y, layer="pol")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": -1.0}, "epsilon=-1.0 must be 0 or more"),
        ({"gamma": -1.0}, "gamma=-1.0 must be 0 or more"),
        ({"alpha": 0.5}, "alpha=0.5 must be 1 or more"),
        ({"first": "box"}, "given exactly with first=box"),
        ({"low": 0.0, "high": 1.0}, "given exactly with first=box"),
    ],
)
def test_impossible_rules_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Rules(**options)


def test_blocks_with_relus_of_their_own_do_too():
    torch.manual_seed(0)
    block = BasicBlock(2, 2, 1, nn.Identity())
    network = nn.Sequential(block, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 4)).double()
    x, y = images(3)
    a, b = relevance(network, x, y, Rules(epsilon=0)), relevance(network, x, y, Rules(epsilon=0), "0")
    assert a.shape == x.shape
    assert b.shape == (3, 2, 8, 8)
