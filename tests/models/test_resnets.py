"""The ResNets against torchvision's and against hand-worked shortcuts."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from xfeedback import models
from xfeedback.models.blocks import PadShortcut


@pytest.mark.parametrize(("name", "cells"), [("resnet18", 4), ("resnet18_gap8", 8)])
def test_resnet18_equals_torchvision_with_a_small_stem(name: str, cells: int) -> None:
    ours = models.build(models.config_class(name)(name=name), (3, 32, 32), 10, seed=0).eval()
    theirs = resnet18(num_classes=10)
    theirs.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.maxpool = nn.Identity()  # type: ignore[assignment]
    if cells == 8:
        theirs.layer4[0].conv1.stride = (1, 1)
        theirs.layer4[0].downsample[0].stride = (1, 1)
    theirs.load_state_dict(ours.state_dict())
    maps: list[torch.Tensor] = []
    theirs.layer4.register_forward_hook(lambda _module, _inputs, output: maps.append(output))
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(ours(x), theirs.eval()(x), atol=1e-5)
    assert maps[0].shape == (2, 512, cells, cells)


def test_pad_shortcut_subsamples_and_adds_zero_channels() -> None:
    x = torch.arange(2 * 5 * 5, dtype=torch.float32).reshape(1, 2, 5, 5)
    out = PadShortcut(added_channels=2, stride=2)(x)
    assert out.shape == (1, 4, 3, 3)
    assert out[0, 0].tolist() == [[0, 2, 4], [10, 12, 14], [20, 22, 24]]
    assert not out[0, 2:].any()


@pytest.mark.parametrize(("name", "convolutions"), [("resnet20", 19), ("resnet32", 31)])
def test_cifar_resnet_depth(name: str, convolutions: int) -> None:
    network = models.build(models.config_class(name)(name=name, width=2), (3, 32, 32), 10, seed=0)
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert len(layers) == convolutions
    assert all(layer.kernel_size == (3, 3) for layer in layers)


def test_convolutions_start_from_he_normal() -> None:
    network = models.build(models.config_class("resnet18")(name="resnet18"), (3, 32, 32), 10, seed=0)
    weight = network.get_submodule("layer4.1.conv2").get_parameter("weight")
    assert float(weight.detach().std()) == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
