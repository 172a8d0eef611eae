"""LRP against zennit (where it is installed) and captum, on copies of the network."""

import copy
from typing import Any

import pytest
import torch
import torchvision
from captum.attr import LRP, InputXGradient
from captum.attr._utils.lrp_rules import EpsilonRule
from torch import Tensor, nn

from tests.explain.lrp_nets import close, residual
from xfeedback.explain.lrp import Rules, relevance

TINY = 1e-15


def plain() -> nn.Module:
    torch.manual_seed(0)
    return (
        nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 6, 3, padding=1, stride=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, 12),
            nn.ReLU(),
            nn.Linear(12, 5),
        )
        .double()
        .eval()
    )


def with_exact_norms(network: nn.Module) -> nn.Module:
    """Random statistics, and eps moved into the variance: zennit 0.5.1 merges a layer and then adds eps again."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.3, 0.3),
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 2.0),
            ):
                assert tensor is not None
                nn.init.uniform_(tensor, low, high)
            module.eps = 1e-18
    return network.double().eval()


def inputs(n: int = 3) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return x, torch.arange(n) % 5


def ours(network: nn.Module, rules: Rules, x: Tensor, y: Tensor) -> Tensor:
    """Of one unit of relevance at the logit, as zennit has it."""
    logit = network(x).gather(1, y[:, None]).detach()
    return relevance(network, x, y, rules) / logit[:, :, None, None]


class Zennit:
    """zennit's rules for ours."""

    def __init__(self) -> None:
        self.rules = pytest.importorskip("zennit.rules")
        self.composites = pytest.importorskip("zennit.composites")
        self.types = pytest.importorskip("zennit.types")

    def rule(self, name: str, epsilon: float = 1e-6) -> Any:
        no_bias = {"stabilizer": epsilon, "zero_params": "bias"}
        return {
            "epsilon": lambda: self.rules.Epsilon(epsilon),
            "gamma": lambda: self.rules.Gamma(0.25, stabilizer=epsilon),
            "zplus": lambda: self.rules.ZPlus(**no_bias),
            "alpha_beta": lambda: self.rules.AlphaBeta(**no_bias),
            "flat": lambda: self.rules.Flat(TINY),
            "w2": lambda: self.rules.WSquare(TINY, zero_params="bias"),
            "box": lambda: self.rules.ZBox(*(torch.full((1, 3, 16, 16), b).double() for b in (-5.0, 5.0)), epsilon),
        }[name]()

    def relevance(self, network: nn.Module, rules: Rules, x: Tensor, y: Tensor, canonizers: Any = ()) -> Tensor:
        types, norm = self.types, self.rules.Norm(TINY)
        layers = [
            (pytest.importorskip("zennit.layer").Sum, norm),
            (types.Activation, self.rules.Pass()),
            (types.AvgPool, norm),
            (types.Convolution, self.rule(rules.conv, rules.epsilon)),
            (types.Linear, self.rule(rules.dense, rules.epsilon)),
            (types.BatchNorm, self.rules.Pass()),
        ]
        first = [] if rules.first is None else [(types.Convolution, self.rule(rules.first, rules.epsilon))]
        composite = self.composites.SpecialFirstLayerMapComposite(layers, first, canonizers=list(canonizers))
        attributor = pytest.importorskip("zennit.attribution").Gradient
        with attributor(model=copy.deepcopy(network), composite=composite) as found:
            return found(x, torch.eye(network(x).shape[1], dtype=x.dtype)[y])[1]


@pytest.mark.parametrize(
    ("rules", "positive"),
    [
        (Rules(), False),
        (Rules(conv="zplus"), False),
        (Rules(conv="zplus", first="flat"), False),
        (Rules(conv="alpha_beta", empty_share="zero"), False),
        (Rules(conv="gamma"), True),
        (Rules(conv="gamma", first="flat"), False),
        (Rules(conv="gamma", first="w2"), False),
        (Rules(conv="gamma", first="box", low=-5.0, high=5.0), False),
    ],
    ids=lambda value: f"{value.conv}-{value.first}" if isinstance(value, Rules) else None,
)
def test_convolutions_as_zennit_has_them(rules, positive):
    network, (x, y) = plain(), inputs()
    x = x.abs() if positive else x
    close(ours(network, rules, x, y), Zennit().relevance(network, rules, x, y), 1e-5 if rules.first == "w2" else 1e-9)


@pytest.mark.parametrize("rules", [Rules(batch_norm="fold"), Rules(conv="zplus", first="flat", batch_norm="fold")])
@pytest.mark.parametrize("kind", ["residual", "batch_norm"])
def test_residual_and_batch_norm_networks_as_zennit_has_them(rules, kind):
    zennit = Zennit()
    theirs = pytest.importorskip("zennit.torchvision")
    torch.manual_seed(0)
    if kind == "residual":
        network = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=5)
        canonizer = theirs.ResNetCanonizer()
    else:
        maps = torchvision.models.vgg.make_layers([8, "M", 8, "M"], batch_norm=True)
        network = nn.Sequential(maps, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5))
        canonizer = theirs.VGGCanonizer()
    network, (x, y) = with_exact_norms(network), inputs()
    close(ours(network, rules, x, y), zennit.relevance(network, rules, x, y, [canonizer]), 1e-5)


def test_captum_where_it_supports_the_network():
    """A chain of modules, each used once; its convolutions and linear layers need a rule of their own."""
    torch.manual_seed(0)

    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.maps = nn.Sequential(
                nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2)
            )
            self.head = nn.Sequential(nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, 5))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.maps(x).flatten(1))

    network, (x, y) = Chain().double().eval(), inputs()
    theirs = copy.deepcopy(network)
    for module in theirs.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.rule = EpsilonRule()  # type: ignore[assignment]
    close(relevance(network, x, y, Rules(epsilon=1e-9)), LRP(theirs).attribute(x, target=y), 1e-6)


def test_without_epsilon_it_is_captums_input_times_gradient():
    network, (x, y) = residual().eval(), inputs()
    x = x[:, :2]
    y = y.clamp_max(3)
    expected = InputXGradient(network).attribute(x.clone().requires_grad_(), target=y)
    close(relevance(network, x, y, Rules(epsilon=0)), expected, 1e-8)
    narrow = relevance(network.float(), x.float(), y, Rules(epsilon=0))
    close(narrow.double(), expected, 1e-4)
