"""The quiet part of a network ends before its first noise; derivatives behind it are those of a pass of its own."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfeedback import models
from xfeedback.explain.sites import INPUT, derivatives, derivatives_behind
from xfeedback.models.quiet import quiet_part
from xfeedback.models.running import tapped
from xfeedback.models.stages import trace


class Net(nn.Module):
    """Dropout after the pooling, called as a module or as a function."""

    def __init__(self, *, functional: bool = False, inplace: bool = False) -> None:
        super().__init__()
        self.first, self.conv = nn.Conv2d(1, 3, 1), nn.Conv2d(3, 4, 3)
        self.relu, self.pool = nn.ReLU(), nn.MaxPool2d(2)
        self.functional, self.drop = functional, nn.Dropout(0.4, inplace=inplace)
        self.hidden, self.head = nn.Linear(36, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.pool(self.relu(self.conv(self.first(x)))).flatten(1)
        h = F.dropout(h, 0.4, self.training) if self.functional else self.drop(h)
        return self.head(self.hidden(h).tanh())


def built(**options: bool) -> Net:
    torch.manual_seed(0)
    return Net(**options).double()


@pytest.mark.parametrize("name", ["mnist_cnn", "resnet18"])
def test_it_ends_before_the_first_noise_and_has_two_layers_at_least(name):
    network = models.build(models.config_class(name)(name=name), (1, 28, 28), 10, 0)
    state = torch.get_rng_state()
    flags = [module.training for module in network.modules()]
    buffers = {key: value.clone() for key, value in network.state_dict().items()}
    found = quiet_part(network, trace(network, torch.zeros(1, 1, 28, 28)))
    if name == "resnet18":  # BatchNorm comes second
        assert found is None
    else:
        assert found is not None
        assert (found.last, found.layers) == ("pool", ("conv1", "relu1", "conv2", "relu2", "pool"))
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in network.modules()] == flags
    assert all(torch.equal(network.state_dict()[key], value) for key, value in buffers.items())


def test_a_network_without_noise_is_all_quiet():
    network = models.build(models.config_class("gapnet")(name="gapnet", width=2), (1, 32, 32), 10, 0)
    found = quiet_part(network, trace(network, torch.zeros(1, 1, 32, 32)))
    assert found is not None
    assert found.last == "head"


@pytest.mark.parametrize("options", [{"functional": True}, {"inplace": True}])
def test_noise_without_a_module_and_outputs_overwritten_by_noise_are_found_out(options):
    network = built(**options)
    assert quiet_part(network, trace(network, torch.zeros(1, 1, 8, 8, dtype=torch.float64))) is None


@pytest.mark.parametrize("sites", [(INPUT,), ("conv",), ("pool",), ("head",), (INPUT, "relu", "pool", "hidden")])
def test_derivatives_behind_the_quiet_part_are_those_of_a_pass_in_evaluation_mode(sites):
    network = built().train()
    quiet = quiet_part(network, trace(network, torch.zeros(1, 1, 8, 8, dtype=torch.float64)))
    assert quiet is not None
    x = torch.randn(5, 1, 8, 8, dtype=torch.float64).requires_grad_()

    def start(z: Tensor) -> Tensor:
        return z.gather(1, torch.tensor([0, 1, 2, 0, 1])[:, None]).squeeze(1)

    with tapped(network, {*quiet.layers, *(site for site in sites if site != INPUT)}) as features:  # type: ignore[arg-type]
        logits = network(x)
    found = derivatives_behind(network, x, sites, start, features=features, quiet=quiet)
    wanted = derivatives(network, x, sites, start)
    assert list(found) == list(sites)
    for site in sites:
        for ours, theirs in zip(found[site], wanted[site], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
            assert not ours.requires_grad
    assert all(p.grad is None for p in network.parameters())
    logits.sum().backward()  # the clean graph is still there
    assert network.conv.weight.grad is not None
