"""The explained layer: declared ones are what they claim, and those of unknown networks are found."""

from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn

from tests.models.helpers import small
from xfeedback import models
from xfeedback.errors import UserError
from xfeedback.models.layers import explained_layer, gap_head, get_layer

OURS = [name for name in models.fitting("image") if name not in ("timm", "mlp")]  # mlp has no map


SIDES = {
    "resnet18": (4, 4),
    "mnist_cnn": (14, 14),
    "typology_cnn": (10, 10),
    "lenet": (12, 12),
    "kws_cnn": (16, 16),
    "ds_cnn": (16, 16),
    "bc_resnet": (4, 32),
    "vgg16": (2, 2),
}


def map_and_logits(network: nn.Module, layer: str, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The layer's output after the whole forward, a copy made when the layer had just run, and the logits."""
    seen: list[Tensor] = []
    hook = get_layer(network, layer).register_forward_hook(lambda _m, _i, out: seen.extend((out, out.detach().clone())))
    logits = network(x)
    hook.remove()
    return seen[0], seen[1], logits


@pytest.mark.parametrize("name", OURS)
def test_declared_map_is_not_changed_afterwards_and_carries_all_evidence(name: str) -> None:
    network = models.build(small(name), (1, 32, 32), 5, seed=0).double().eval()
    x = torch.rand(1, 1, 32, 32, dtype=torch.float64)
    layer = explained_layer(network, x)
    after, at_once, logits = map_and_logits(network, layer, x)
    assert torch.equal(after, at_once)
    assert after.shape[2:] == SIDES.get(name, (8, 8))
    replaced = get_layer(network, layer).register_forward_hook(lambda _m, _i, _out: at_once)
    assert torch.equal(network(torch.zeros_like(x)), logits)
    replaced.remove()


@pytest.mark.parametrize("name", OURS)
def test_gap_head_is_global_average_pooling_and_a_linear_layer(name: str) -> None:
    network = models.build(small(name), (3, 32, 32), 5, seed=0).double().eval()
    head = gap_head(network)
    if name in ("mnist_cnn", "typology_cnn", "lenet", "kws_cnn", "bc_resnet", "vgg16"):
        assert head is None
        return
    assert head is not None
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    feature_map, _, logits = map_and_logits(network, explained_layer(network, x[:1]), x)
    expected = torch.einsum("bkhw,nk->bn", feature_map, head.weight) / feature_map[0, 0].numel() + head.bias
    assert torch.allclose(logits, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("architecture", "size", "layer", "shape"),
    [
        ("resnet10t", 32, "layer1", (64, 8, 8)),
        ("resnet10t", 224, "layer4", (512, 7, 7)),
        ("efficientnet_b0", 32, "blocks.2.0.bn1", (144, 8, 8)),
        ("convnext_atto", 32, "stages.1.downsample.0", (40, 8, 8)),
        ("densenet121", 32, "features.transition1.conv", (128, 8, 8)),
        ("vgg11", 64, "features.14", (512, 8, 8)),
    ],
)
def test_layer_is_found_in_timm_networks(architecture: str, size: int, layer: str, shape: tuple[int, ...]) -> None:
    network = timm.create_model(architecture, num_classes=4)
    x = torch.rand(1, 3, size, size)
    assert explained_layer(network, x) == layer
    assert all(module.training for module in network.modules())
    after, at_once, logits = map_and_logits(network.eval(), layer, x)
    assert after.shape[1:] == shape
    assert torch.equal(after, at_once)
    replaced = get_layer(network, layer).register_forward_hook(lambda _m, _i, _out: at_once.clone())
    assert torch.equal(network(torch.zeros_like(x)), logits)
    replaced.remove()


class Residual(nn.Module):
    """A user's network: an in-place ReLU, one ReLU used twice, a residual branch, a 1x1 gate and a dense head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 3, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.inner = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 3, 1), nn.Sigmoid())
        self.join = nn.Identity()
        self.branch = nn.Conv2d(3, 3, 1)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        x = self.join(x + self.relu(self.norm(self.inner(x))) * self.gate(x))
        return self.head((x + self.branch(x)).mean((2, 3)))


def test_layer_of_a_users_network_is_the_last_that_all_evidence_passes() -> None:
    network = Residual()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state = torch.get_rng_state()
    assert explained_layer(network, torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(0))) == "join"
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def no_map() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 224 * 224, 2))


def tiny_map() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 3, stride=64), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def vit() -> nn.Module:
    return timm.create_model("vit_tiny_patch16_224", num_classes=2)


def swin() -> nn.Module:
    return timm.create_model("swin_tiny_patch4_window7_224", num_classes=2)


@pytest.mark.parametrize("make", [no_map, tiny_map, vit, swin])
def test_network_without_a_map_is_refused_with_the_way_out(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(UserError, match=r"no feature map of at least 7x7.*224x224.*method\.<name>\.layer"):
        explained_layer(make(), torch.zeros(1, 3, 224, 224))


def test_unknown_layer_is_refused_with_a_suggestion() -> None:
    network = models.build(small("resnet20"), (3, 32, 32), 5, seed=0)
    assert get_layer(network, "layer3.0") is network.get_submodule("layer3.0")
    with pytest.raises(UserError, match=r"unknown layer 'layr3' in CifarResNet. Did you mean 'layer3'\? Top level:"):
        get_layer(network, "layr3")
    with pytest.raises(UserError, match="unknown layer ''"):
        get_layer(network, "")
