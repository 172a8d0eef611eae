"""VGG-16 against torchvision's: sizes, names, values, and where its weights come from."""

import re

import pytest
import torch
from torch import nn
from torchvision.models import vgg16
from torchvision.models.vgg import cfgs, make_layers

from tests.models.helpers import small
from xfeedback import models
from xfeedback.errors import UserError
from xfeedback.models.vgg16 import Vgg16, Vgg16Config

IMAGE = torch.rand(1, 3, 40, 48, generator=torch.Generator().manual_seed(0))


def sizes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: values.shape for name, values in network.state_dict().items()}


def test_as_released_it_has_so_many_parameters():
    with torch.device("meta"):
        network = Vgg16(Vgg16Config(), 3, 260)
    assert sum(p.numel() for p in network.parameters()) == 125_100_052
    dense = [layer for layer in network.classifier if isinstance(layer, nn.Linear)]
    assert [(d.in_features, d.out_features) for d in dense] == [(25_088, 4048), (4048, 2048), (2048, 260)]
    assert [d.p for d in network.classifier if isinstance(d, nn.Dropout)] == [0.4, 0.4]


def test_with_torchvisions_classifier_all_names_and_sizes_are_its_own():
    with torch.device("meta"):
        assert sizes(Vgg16(Vgg16Config(hidden=(4096, 4096), dropout=0.5), 3, 1000)) == sizes(vgg16())


@pytest.fixture(scope="module")
def theirs() -> nn.Sequential:
    torch.manual_seed(0)
    return make_layers(cfgs["D"]).eval()


@pytest.fixture(scope="module")
def file(theirs, tmp_path_factory):
    """A state file as torchvision's, with a part of the classifier's entries."""
    path = tmp_path_factory.mktemp("weights") / "vgg16-397923af.pth"
    entries = {f"features.{name}": values for name, values in theirs.state_dict().items()}
    torch.save(entries | {"classifier.6.bias": torch.zeros(1000)}, path)
    return path


def test_torchvisions_weights_give_torchvisions_map(theirs, file):
    network = models.build(small("vgg16", width=64, weights=str(file)), (3, 32, 32), 5, seed=0).eval()
    with torch.no_grad():
        torch.testing.assert_close(network.features(IMAGE), theirs(IMAGE.clone()))
    fresh = models.build(small("vgg16"), (3, 32, 32), 5, seed=0)
    assert network.classifier[0].weight.shape == (16, 25_088)
    assert all(bool((layer.bias == 0).all()) for layer in fresh.features if isinstance(layer, nn.Conv2d))


@pytest.mark.parametrize(
    ("options", "in_shape", "reason"),
    [
        ({"width": 8}, (3, 32, 32), "has no features.0.weight of 8x3x3x3: give torchvision's weights of vgg16"),
        ({"width": 64}, (1, 32, 32), "has no features.0.weight of 64x1x3x3"),
    ],
)
def test_weights_of_another_shape_are_refused_in_one_line(file, options, in_shape, reason):
    with pytest.raises(UserError, match=re.escape(reason)) as caught:
        models.build(small("vgg16", weights=str(file), **options), in_shape, 5, seed=0)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_of_weights_is_refused_in_one_line(tmp_path):
    (tmp_path / "note.txt").write_text("no weights\n")
    torch.save([1, 2], tmp_path / "list.pth")
    for name, reason in (("none.pth", "cannot read"), ("note.txt", "cannot read"), ("list.pth", "has no features.0")):
        with pytest.raises(UserError, match=reason) as caught:
            models.build(small("vgg16", weights=str(tmp_path / name)), (3, 32, 32), 5, seed=0)
        assert "\n" not in str(caught.value)
