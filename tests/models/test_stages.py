"""Ends of blocks, what runs before a layer, and passes that change or repeat layers' outputs."""

import pytest
import torch
from torch import nn

from xfeedback import models
from xfeedback.models.running import altered, recalled
from xfeedback.models.stages import before, noiseless, stages, trace

IMAGE = torch.zeros(1, 3, 32, 32)


def network(name: str) -> nn.Module:
    return models.build(models.config_class(name)(name=name), (3, 32, 32), 10, 0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gapnet", ("features.pool1", "features.pool2", "features")),
        ("gapnet_bn", ("features.pool1", "features.pool2", "features")),
        ("mnist_cnn", ("relu1", "pool")),
        ("resnet20", ("layer1", "layer2", "layer3")),
        ("resnet18", ("layer1", "layer2", "layer3", "layer4")),
    ],
)
def test_ends_of_blocks(name, expected):
    net = network(name)
    flags = [m.training for m in net.modules()]
    found = stages(net, trace(net, IMAGE))
    assert found == expected
    assert [m.training for m in net.modules()] == flags
    net.challenge_sites = ("head",)
    assert stages(net, trace(net, IMAGE)) == ("head",)


def test_what_runs_before_a_layer_is_named_by_the_outermost():
    net = network("resnet18")
    assert before(trace(net, IMAGE), "layer2") == ("conv1", "bn1", "relu", "layer1", "layer2")


@pytest.mark.parametrize(("name", "expected"), [("gapnet", True), ("gapnet_bn", False), ("mnist_cnn", False)])
def test_noise_is_found(name, expected):
    assert noiseless(network(name), IMAGE) is expected


def test_recalled_layers_are_not_run_and_altered_ones_are_changed():
    net, x = network("gapnet"), torch.randn(2, 3, 32, 32)
    outputs: dict[str, torch.Tensor] = {}
    names = before(trace(net, IMAGE), "features.pool1")
    handles = [net.get_submodule(n).register_forward_hook(lambda _m, _i, o, n=n: outputs.update({n: o})) for n in names]
    expected = net(x)
    for handle in handles:
        handle.remove()
    with recalled(net, outputs):
        assert torch.equal(net(torch.full_like(x, torch.nan)), expected)
        with altered(net, {"features.pool1": lambda h: 2 * h}):
            tail = nn.Sequential(*list(net.features)[3:], net.pool, nn.Flatten(), net.head)
            assert torch.allclose(net(x), tail(2 * outputs["features.pool1"]))
    assert torch.equal(net(x), expected)
    assert not any("forward" in m.__dict__ or m._forward_hooks for m in net.modules())


def test_layers_are_themselves_again_after_an_error():
    net = network("gapnet")
    with pytest.raises(RuntimeError), recalled(net, {"features.conv1": torch.zeros(1, 2, 3)}):
        net(IMAGE)
    assert net(IMAGE).shape == (1, 10)
