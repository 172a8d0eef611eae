"""The networks for spectrograms: published sizes, published initialisation, layers written out by hand."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.models.helpers import small
from xfeedback import models
from xfeedback.config import from_mapping
from xfeedback.errors import UserError
from xfeedback.models.bc_resnet import BroadcastBlock, SubSpectralNorm


def build(name: str, in_shape: models.InShape, n_classes: int, **options: object) -> nn.Module:
    config = from_mapping(models.config_class(name), {"name": name, **options}, "model")
    return models.build(config, in_shape, n_classes, seed=0)


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_published_sizes() -> None:
    """Mazumder et al. 2023 (released code), and table 1 of Kim et al. 2021: 9.2k, 27.3k, 54.2k, 188k, 321k."""
    released = build("kws_cnn", (1, 129, 124), 35, empty_channels=2)
    assert count(released) == 16_539_819
    assert count(released.get_submodule("features")) == 119_784
    assert count(released.get_submodule("fc1")) == 16_385_000
    assert count(released.get_submodule("fc2")) == 35_035
    assert count(build("kws_cnn", (1, 129, 124), 35)) == 16_539_675
    for width, published in ((8, 9_200), (16, 27_300), (24, 54_200), (48, 188_000), (64, 321_000)):
        assert count(build("bc_resnet", (1, 40, 101), 12, width=width)) == pytest.approx(published, rel=0.005)


def test_kws_cnn_by_hand() -> None:
    network = models.build(small("kws_cnn", empty_channels=2), (1, 129, 124), 5, seed=0).double()
    x = torch.rand(2, 1, 129, 124, dtype=torch.float64)
    values = functional.interpolate(x, (64, 64), mode="bilinear", align_corners=False, antialias=False)
    values = torch.cat([values, torch.zeros(2, 2, 64, 64, dtype=torch.float64)], dim=1)
    convolutions = [m for m in network.get_submodule("features") if isinstance(m, nn.Conv2d)]  # type: ignore[attr-defined]
    assert [c.out_channels // 4 for c in convolutions] == [1, 1, 2, 2, 4, 4, 4, 8, 8, 8]
    for number, convolution in enumerate(convolutions, 1):
        values = functional.conv2d(values, convolution.weight, convolution.bias, padding=1)
        values = functional.max_pool2d(values, 2) if number in (7, 10) else values  # ReLU after the pool: same result
        values = values.relu()
    hidden = network.get_submodule("fc1")(values.flatten(1)).relu()
    assert torch.allclose(network(x), network.get_submodule("fc2")(hidden), atol=1e-12)


def test_kws_cnn_is_drawn_as_keras_does() -> None:
    network = build("kws_cnn", (1, 129, 124), 35, width=32, dense=64)
    for name, fan_in in (("features.conv1", 27), ("features.conv6", 128 * 9), ("fc1", 256 * 256)):
        layer = network.get_submodule(name)
        weight, std = layer.get_parameter("weight").detach(), math.sqrt(2 / fan_in)
        assert float(weight.std()) == pytest.approx(std, rel=0.1 if name.endswith("conv1") else 0.02)
        assert float(weight.abs().max()) <= 2 * std / 0.87962566 + 1e-6
        assert not layer.get_parameter("bias").any()
    last = network.get_submodule("fc2").get_parameter("weight").detach()
    limit = math.sqrt(6 / (64 + 35))
    assert 0.9 * limit < float(last.abs().max()) <= limit
    own = build("kws_cnn", (1, 129, 124), 35, width=32, dense=64, first_fan_in=None)
    first = own.get_submodule("features.conv1").get_parameter("weight").detach()
    assert float(first.std()) == pytest.approx(math.sqrt(2 / 9), rel=0.1)


def test_ds_cnn_halves_the_spectrogram_once() -> None:
    network = models.build(small("ds_cnn"), (1, 49, 10), 12, seed=0)
    assert network.get_submodule("stem")(network.get_submodule("pad")(torch.zeros(1, 1, 49, 10))).shape[2:] == (25, 5)
    assert network(torch.zeros(3, 1, 129, 124)).shape == (3, 12)


def test_sub_spectral_norm_is_batch_norm_of_each_band() -> None:
    norm = SubSpectralNorm(3, 2).double()
    with torch.no_grad():
        norm.norm.weight.uniform_()
        norm.norm.bias.uniform_()
    x = torch.randn(4, 3, 6, 5, dtype=torch.float64)
    found = norm(x)
    for channel in range(3):
        for band in range(2):
            rows = slice(3 * band, 3 * band + 3)
            part, own = x[:, channel, rows], 2 * channel + band
            normed = (part - part.mean()) / (part.var(unbiased=False) + 1e-5).sqrt()
            expected = normed * norm.norm.weight[own] + norm.norm.bias[own]
            assert torch.allclose(found[:, channel, rows], expected)


@pytest.mark.parametrize("first", [True, False])
def test_broadcast_block_by_hand(first: bool) -> None:
    stride = 2 if first else 1
    block = BroadcastBlock(4, 6 if first else 4, bands=1, stride=stride, dilation=2, dropout=0.1, first=first)
    block = block.double().eval()
    x = torch.randn(2, 4, 6, 9, dtype=torch.float64)
    wide: Tensor = x
    layers = list(block.f2)
    for layer in layers[:-1]:
        wide = layer(wide)
    wide = layers[-1](wide)
    means = wide.mean(dim=2, keepdim=True)
    f1 = list(block.f1)
    over_time = functional.conv1d(
        functional.pad(means[:, :, 0], (2, 2)), f1[0].weight[:, :, 0], dilation=2, groups=means.shape[1]
    )
    activated = f1[1](over_time[:, :, None])
    activated = activated * activated.sigmoid()
    broadcast = torch.einsum("oi,bit->bot", f1[3].weight[:, :, 0, 0], activated[:, :, 0])[:, :, None]
    expected = wide + broadcast + (0 if first else x)
    assert torch.allclose(block(x), expected.relu())
    assert block(x).shape == (2, 6 if first else 4, 6 // stride, 9)


@pytest.mark.parametrize(("height", "bands"), [(40, [5, 5, 5, 5]), (129, [5, 3, 1, 1]), (32, [4, 4, 4, 4])])
def test_bands_that_do_not_fit_are_fewer(height: int, bands: list[int]) -> None:
    network = build("bc_resnet", (1, height, 20), 3)
    blocks = [network.get_submodule(f"stages.{n}") for n in (0, 2, 4, 8)]
    assert [next(m for m in b.modules() if isinstance(m, SubSpectralNorm)).bands for b in blocks] == bands
    assert network(torch.zeros(2, 1, height, 20)).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("kws_cnn", {"dense": 0}, "model.dense=0 must be a positive integer"),
        ("kws_cnn", {"empty_channels": -1}, "model.empty_channels=-1 must be 0 or more"),
        ("kws_cnn", {"first_fan_in": 0}, "model.first_fan_in=0 must be a positive integer"),
        ("ds_cnn", {"blocks": 0}, "model.blocks=0 must be a positive integer"),
        ("bc_resnet", {"sub_bands": 0}, "model.sub_bands=0 must be a positive integer"),
        ("bc_resnet", {"dropout": 1.0}, "model.dropout=1.0 must be at least 0 and less than 1"),
    ],
)
def test_wrong_options_are_refused(name: str, values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build(name, (1, 40, 101), 5, **values)
    assert message in str(caught.value)
