"""Every network by name: sizes, shapes, seeds, options and refusals."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.models.helpers import small
from xfeedback import models
from xfeedback.config import from_mapping
from xfeedback.errors import UserError

CONF = Path(__file__).parents[2] / "conf" / "model"

PARAMETERS = [
    ("gapnet", (1, 28, 28), 33_194),
    ("gapnet_bn", (3, 32, 32), 136_930),
    ("mnist_cnn", (1, 28, 28), 1_199_882),
    ("mlp", (1, 28, 28), 784 * 50 + 50 + 50 * 30 + 30 + 30 * 10 + 10),
    ("lenet", (1, 28, 28), 369_174),
    ("lenet", (3, 32, 32), 505_942),
    ("typology_cnn", (1, 28, 28), 520 + 25_050 + 800 * 256 + 256 + 2_570),
    ("bc_resnet", (1, 40, 101), 9_232 - 2 * 33),
    ("ds_cnn", (1, 49, 10), 23_180 - 2 * 65),
    ("kws_cnn", (1, 129, 124), 16_539_675 - 25 * 1_001),
    ("resnet20", (3, 32, 32), 269_722),
    ("resnet32", (3, 32, 32), 464_154),
    ("resnet18", (3, 32, 32), 11_173_962),
    ("resnet18_gap8", (3, 32, 32), 11_173_962),
]


@pytest.mark.parametrize(("name", "in_shape", "count"), PARAMETERS)
def test_parameter_count(name: str, in_shape: models.InShape, count: int) -> None:
    network = models.build(models.config_class(name)(name=name), in_shape, 10, seed=0)
    assert sum(p.numel() for p in network.parameters()) == count


def test_every_network_has_a_config_file_with_its_defaults() -> None:
    assert sorted(path.stem for path in CONF.glob("*.yaml")) == models.names()
    for name in models.names():
        values = yaml.safe_load((CONF / f"{name}.yaml").read_text())
        cls = models.config_class(name)
        assert from_mapping(cls, values, "model") == cls(name=name), name
        assert set(values) == {f.name for f in fields(cls)}, name


@pytest.mark.parametrize("name", models.fitting("image"))
def test_same_seed_same_bits_whatever_ran_before(name: str) -> None:
    first = models.build(small(name), (3, 32, 32), 4, seed=3).state_dict()
    torch.manual_seed(99)
    torch.rand(7)
    before = torch.get_rng_state()
    again = models.build(small(name), (3, 32, 32), 4, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    other = models.build(small(name), (3, 32, 32), 4, seed=4).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", models.fitting("image"))
def test_channels_last_and_bf16(name: str) -> None:
    network = models.build(small(name), (3, 32, 32), 5, seed=0)
    assert all(module.training for module in network.modules())
    network.eval()
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = network(x).detach()
    network = network.to(memory_format=torch.channels_last)
    x = x.to(memory_format=torch.channels_last)
    assert torch.allclose(network(x), expected, atol=1e-4, rtol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(x)
    assert logits.dtype in (torch.bfloat16, torch.float32)
    assert logits.shape == (4, 5)
    assert torch.allclose(logits.float(), expected, atol=0.1 * float(expected.abs().max()) + 0.05)


def test_unknown_model_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UserError, match=r"unknown model 'gapent'. Did you mean 'gapnet'\?"):
        models.config_class("gapent")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("gapnet", {"width": 0}, "model.width=0 must be a positive integer"),
        ("gapnet_bn", {"width": -1}, "model.width=-1 must be"),
        ("resnet20", {"width": 0}, "model.width=0 must be"),
        ("resnet32", {"width": 0}, "model.width=0 must be"),
        ("resnet18", {"width": 0}, "model.width=0 must be"),
        ("resnet18_gap8", {"width": 0}, "model.width=0 must be"),
        ("mnist_cnn", {"dropout_dense": 1.0}, r"model.dropout_dense=1.0 must be at least 0"),
        ("mnist_cnn", {"output": "logit"}, "model.output=logit must be one of logits, log_softmax. Did you mean"),
        ("vgg16", {"hidden": [16, 0]}, "model.hidden=.* must be a list of positive integers"),
        ("vgg16", {"dropout": 1.0}, "model.dropout=1.0 must be at least 0"),
        ("resnet20", {"name": "resnet32"}, "model.name=resnet32 must be one of resnet20"),
        ("timm", {"architecture": ""}, "model.architecture= must be the name of a timm model"),
    ],
)
def test_wrong_options_are_refused(name: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_mapping(models.config_class(name), {"name": name, **values}, "model")


@pytest.mark.parametrize(
    ("name", "in_shape"),
    [
        ("gapnet", (1, 3, 3)),
        ("mnist_cnn", (1, 5, 9)),
        ("typology_cnn", (1, 15, 28)),
        ("lenet", (1, 11, 28)),
        ("vgg16", (1, 31, 31)),
    ],
)
def test_images_too_small_are_refused_in_one_line(name: str, in_shape: models.InShape) -> None:
    with pytest.raises(UserError, match=f"model={name} ") as caught:
        models.build(small(name), in_shape, 10, seed=0)
    assert "\n" not in str(caught.value)


def test_mnist_cnn_fits_any_image_size() -> None:
    network = models.build(small("mnist_cnn"), (3, 40, 98), 12, seed=0)
    assert network(torch.zeros(2, 3, 40, 98)).shape == (2, 12)


def test_mnist_cnn_log_softmax_is_the_logits_normalised() -> None:
    x = torch.rand(3, 1, 28, 28)
    logits = models.build(small("mnist_cnn"), (1, 28, 28), 10, seed=0).eval()(x)
    released = models.build(small("mnist_cnn", output="log_softmax"), (1, 28, 28), 10, seed=0).eval()(x)
    assert torch.allclose(released.exp().sum(1), torch.ones(3))
    assert torch.allclose(released, logits.log_softmax(1))


@pytest.mark.parametrize(("init", "variance"), [("he", 2 / (32 * 9)), ("torch", 1 / (3 * 32 * 9))])
def test_gapnet_initialisation(init: str, variance: float) -> None:
    network = models.build(small("gapnet", init=init, width=16), (1, 28, 28), 10, seed=0)
    conv = network.get_submodule("features.conv4")
    assert float(conv.get_parameter("weight").detach().var()) == pytest.approx(variance, rel=0.03)
    assert bool(conv.get_parameter("bias").any()) == (init == "torch")
