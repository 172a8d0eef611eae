"""Which places are changed, that trained weights go on working, and which networks are refused."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.layers.cbam import CbamModule
from torch import Tensor, nn
from torchvision.models import inception_v3, resnet18, resnet50

from tests.methods import tiny
from xfeedback import models
from xfeedback.errors import UserError
from xfeedback.models.lap import LAP, sites
from xfeedback.models.lap_options import PoolOptions
from xfeedback.models.rows import CBAM, RowOptions
from xfeedback.models.surgery import add_attention_branch, extend

X = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


class TopLeft(nn.Module):
    """Scores that always choose the first cell of each window of stride 2."""

    def forward(self, x: Tensor) -> Tensor:
        scores = torch.zeros_like(x[:, :1])
        scores[..., ::2, ::2] = 1.0
        return scores


def choose_first(network: nn.Module) -> None:
    for layer in sites(network).values():
        layer.scorer = TopLeft()  # type: ignore[assignment]
        layer.raw_alpha.data.fill_(100.0)


def listed(network: nn.Module, preset: str = "full", **options: object) -> list[tuple[str, str]]:
    torch.manual_seed(0)
    return [(s.name, s.kind) for s in extend(network, preset, example=X[:1], **options)]  # type: ignore[arg-type]


RESNET18 = [
    ("maxpool", "stem"),
    ("layer2.0.conv2.0", "stride"),
    ("layer2.0.downsample.0.0", "shortcut"),
    ("layer3.0.conv2.0", "stride"),
    ("layer3.0.downsample.0.0", "shortcut"),
    ("layer4.0.conv2.0", "stride"),
    ("layer4.0.downsample.0.0", "shortcut"),
    ("avgpool", "global"),
]


def test_resnet18_has_eight_sites():
    network = resnet18()
    assert listed(network) == RESNET18
    assert sorted(sites(network)) == sorted(name for name, _ in RESNET18)
    assert network(X).shape == (2, 1000)


def test_minimal_is_stem_and_global():
    assert listed(resnet18(), "minimal") == [RESNET18[0], RESNET18[-1]]


def test_resnet50_strides_at_the_3x3_convolution():
    names = [name for name, _ in listed(resnet50())]
    assert len(names) == 8
    assert "layer2.0.conv3.0" in names


@pytest.mark.parametrize(
    "build", [resnet18, resnet50, lambda: timm.create_model("resnet10t", num_classes=7, zero_init_last=False)]
)
@pytest.mark.parametrize("size", [64, 61])
def test_trained_weights_go_on_working(build, size):
    """Taking the first cell of each window at the strides gives the old network back."""
    torch.manual_seed(0)
    network = build().train()
    network(X)  # move the running statistics away from their start
    network.eval()
    x = X[..., :size, :size]
    with torch.no_grad():
        expected = network(x)
        extend(network, "strides", example=x[:1])
        changed = network.eval()(x)
        choose_first(network)
        network.eval()
        found = network(x)
    assert (changed - expected).abs().max() > 1e-3
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "resnet20"])
def test_own_residual_networks_too(name):
    network = models.build(models.config_class(name)(name=name, width=4), (3, 64, 64), 10, seed=0).eval()
    expected = network(X)
    extend(network, "strides", example=X[:1])
    choose_first(network)
    torch.testing.assert_close(network.eval()(X), expected, rtol=0, atol=1e-5)


def test_inception_v3_pools_become_modules_and_weights_go_on_working():
    network = inception_v3(weights=None, aux_logits=False, init_weights=False, num_classes=5).eval()
    x = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(x)
        before = copy.deepcopy(network)
        extend(before, "full", example=x, row="cbam")  # changes no pool: only the blocks become modules
        torch.testing.assert_close(before(x), expected)
        found = extend(network, "full", example=x)
        assert network.eval()(x).shape == (1, 5)
    assert [(s.name, s.kind) for s in found] == [
        ("maxpool1", "stem"),
        ("maxpool2", "pool"),
        ("Mixed_6a.pool", "pool"),
        ("Mixed_7a.pool", "pool"),
        ("avgpool", "global"),
    ]


@pytest.mark.parametrize("name", ["resnet10t", "efficientnet_lite0", "densenet121"])
def test_networks_of_timm(name):
    network = timm.create_model(name, num_classes=4)
    found = listed(network)
    assert [kind for _, kind in found].count("global") == 1
    assert network(X).shape == (2, 4)
    assert set(sites(network)) == {name for name, _ in found}


def test_a_network_of_ones_own():
    network = tiny.network()
    example = torch.zeros(1, 1, 32, 32)
    found = extend(network, example=example)
    assert [(s.name, s.kind) for s in found] == [
        ("features.pool1", "stem"),
        ("features.pool2", "pool"),
        ("pool", "global"),
    ]
    assert network.gap_head is None  # type: ignore[comparison-overlap]
    assert {layer.concepts for layer in sites(network).values()} == {10}


class Functional(nn.Module):
    def __init__(self, *, strided: bool) -> None:
        super().__init__()
        self.strided = strided
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 2)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(x)
        maps = F.max_pool2d(maps, 2) if self.strided else self.pool(maps)
        return self.head(maps.mean((2, 3)))


def test_functional_pools_are_refused():
    with pytest.raises(UserError, match=r"Functional pools by function calls.*max_pool2d.* in Functional"):
        listed(Functional(strided=True))
    with pytest.raises(UserError, match="mean in Functional"):
        listed(Functional(strided=False))
    assert listed(Functional(strided=False), "no_global") == [("pool", "stem")]


def test_a_module_used_twice_and_a_network_without_sites_are_refused():
    shared = nn.MaxPool2d(2)
    twice = nn.Sequential(nn.Conv2d(3, 4, 1), shared, nn.Conv2d(4, 5, 1), shared, nn.Flatten(), nn.Linear(5 * 256, 2))
    twice[3] = shared
    with pytest.raises(UserError, match="is used 2 times"):
        listed(twice)
    with pytest.raises(UserError, match="has no pooling of the kinds"):
        listed(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 2)))
    with pytest.raises(UserError, match="give example="):
        extend(resnet18(), example=torch.empty(0))


@pytest.mark.parametrize("row", ["avg", "max", "softpool", "lip", "cbam"])
def test_rows_keep_every_grid(row):
    network = resnet18(num_classes=3)
    found = extend(network, example=torch.zeros(1, 3, 96, 96), row=row)
    assert len(found) == 8
    strides = [network.get_submodule(f"layer{i}.0.conv1").stride for i in (2, 3, 4)]
    assert strides == [(2, 2) if row == "cbam" else (1, 1)] * 3
    seen = []
    network.layer4.register_forward_hook(lambda _m, _i, output: seen.append(output.shape))
    network(torch.randn(2, 3, 96, 96)).sum().backward()
    assert seen == [(2, 512, 3, 3)]


def test_avg_and_strided_rows_keep_the_plain_head():
    network = models.build(models.config_class("resnet18")(name="resnet18", width=4), (3, 64, 64), 10, seed=0)
    expected = network.eval()(X)
    assert listed(network, row="strided") == []
    torch.testing.assert_close(network(X), expected, rtol=0, atol=0)
    extend(network, example=X[:1], row="avg")
    assert network.gap_head == "fc"
    assert not sites(network)


def test_cbam_equals_timm():
    ours, theirs = CBAM(32).eval(), CbamModule(32, rd_ratio=1 / 16, rd_divisor=1).eval()
    theirs.channel.fc1.weight, theirs.channel.fc2.weight = ours.mlp[0].weight, ours.mlp[2].weight
    theirs.spatial.conv.conv.weight = ours.spatial[0].weight
    x = torch.randn(2, 32, 9, 9)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-6)


def test_an_attention_branch_gates_the_features_behind_layer3():
    network = resnet18(num_classes=5)
    name = add_attention_branch(network, X[:1])
    assert name == "layer3.1.logits"
    gated, logits = [], []
    network.layer3.register_forward_hook(lambda _m, _i, output: gated.append(output))
    network.get_submodule(name).register_forward_hook(lambda _m, _i, output: logits.append(output))
    assert network(X).shape == (2, 5)
    branch, features = network.layer3[1], network.layer3[0](network.layer2(network.layer1(torch.rand(2, 64, 16, 16))))
    attention = branch.map(branch.classes(features))
    torch.testing.assert_close(branch(features), features * (1 + attention))
    assert logits[0].shape == (2, 5)


def test_concepts_follow_the_logits():
    for concepts, n, expected in (("auto", 40, 40), ("auto", 41, 1), ("classes", 41, 41), (3, 10, 3)):
        assert RowOptions(concepts=concepts).n_concepts(n) == expected  # type: ignore[arg-type]


def test_two_by_two_windows_everywhere():
    network = resnet18()
    extend(network, "no_global", example=X[:1], options=RowOptions(pool=PoolOptions(), window="2x2"))
    assert {(m.window.kernel, m.window.stride, m.window.padding) for m in network.modules() if isinstance(m, LAP)} == {
        (2, 2, 0)
    }
    assert network(X).shape == (2, 1000)
