"""LRP: each rule against hand-worked numbers and a matrix, conservation, and what explaining leaves untouched."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.explain.lrp_nets import close, residual
from tests.explain.nets import images
from xfeedback.explain.lrp import COMPOSITES, Rules, relevance, relevances
from xfeedback.explain.lrp.mode import Relevance
from xfeedback.explain.sites import fixed_weights

BY_HAND = [
    (Rules(epsilon=0), (-0.4, 4.4)),
    (Rules(epsilon=1), (0, 3)),
    (Rules(dense="gamma", epsilon=0), (-0.066667, 4.066667)),
    (Rules(dense="zplus", epsilon=0), (0.6, 3.4)),
    (Rules(first="flat", epsilon=0), (2, 2)),
    (Rules(first="w2", epsilon=0), (1.1, 2.9)),
    (Rules(dense="alpha_beta", epsilon=0, empty_share="zero"), (0.2, 6.8)),
    (Rules(dense="alpha_beta", epsilon=0), (-0.4, 4.4)),
]


@pytest.mark.parametrize(("rules", "expected"), BY_HAND)
def test_two_inputs_and_two_units_by_hand(rules, expected):
    """a = (1, 2), W = [[1, -1], [2, 1]] with a row for each input, no bias, R = (3, 1)."""
    layer = nn.Linear(2, 2, bias=False).double()
    layer.weight.data = torch.tensor([[1.0, 2.0], [-1.0, 1.0]], dtype=torch.float64)
    a, weights = torch.tensor([[1.0, 2.0]], dtype=torch.float64), torch.tensor([3 / 5, 1.0], dtype=torch.float64)
    _, found = relevances(layer, a, ["input"], lambda z: (z * weights).sum(1), rules)["input"]
    torch.testing.assert_close(found[0], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-6)


def matrix_rule(a: np.ndarray, w: np.ndarray, b: np.ndarray, r: np.ndarray, rules: Rules, rule: str) -> np.ndarray:
    """The textbook's formula on a dense matrix ``(inputs, units)``, unit by unit."""
    out = np.zeros_like(a)
    for k in range(w.shape[1]):
        z = a * w[:, k]
        up, down = z.clip(min=0), z.clip(max=0)
        if rule == "epsilon":
            share = z / (z.sum() + b[k] + math.copysign(rules.epsilon, z.sum() + b[k]))
        elif rule == "gamma":
            lifted = a * (w[:, k] + rules.gamma * w[:, k].clip(min=0))
            below = lifted.sum() + b[k] + rules.gamma * max(b[k], 0)
            share = lifted / (below + math.copysign(rules.epsilon, below))
        elif rule == "zplus":
            share = up / (up.sum() + rules.epsilon)
        elif rule == "alpha_beta":
            share = rules.alpha * up / (up.sum() + rules.epsilon)
            share -= (rules.alpha - 1) * down / (down.sum() - rules.epsilon)
        else:
            raise AssertionError(rule)
        out += share * r[k]
    return out


@pytest.mark.parametrize("rule", ["epsilon", "gamma", "zplus", "alpha_beta"])
@pytest.mark.parametrize("positive", [True, False])
def test_a_convolution_is_the_matrix_it_stands_for(rule, positive):
    """With padding, stride and bias, after a ReLU and on signed inputs."""
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, 3, stride=2, padding=1).double()
    head = nn.Linear(3 * 9, 4).double()
    network = nn.Sequential(*([nn.ReLU()] if positive else []), layer, nn.Flatten(), head)
    x, rules = torch.randn(1, 2, 6, 6, dtype=torch.float64), Rules(conv=rule, epsilon=1e-3, empty_share="zero")
    a = x.relu() if positive else x
    with torch.no_grad():
        w = (
            (layer(torch.eye(72, dtype=torch.float64).view(72, 2, 6, 6)) - layer(torch.zeros_like(x)))
            .flatten(1)
            .numpy()
        )
        z = layer(a).flatten().numpy()
    b = layer.bias.detach().repeat_interleave(9).numpy()
    upper = matrix_rule(
        z,
        head.weight.detach().numpy()[[2]].T,
        head.bias.detach().numpy()[[2]],
        network(x)[0, 2].detach().numpy()[None],
        rules,
        "epsilon",
    )
    expected = matrix_rule(a.flatten().numpy(), w, b, upper, rules, rule)
    found = relevance(network, x, torch.tensor([2]), rules)
    np.testing.assert_allclose(found.flatten().numpy(), expected, rtol=1e-9, atol=1e-12)


def test_the_input_rules_leave_padding_out_and_reach_inputs_of_value_0():
    torch.manual_seed(0)
    layer = nn.Conv2d(1, 2, 3, padding=1, bias=False).double()
    network = nn.Sequential(layer, nn.Flatten())
    x = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    x[0, 0, 1, 2] = 1.0
    target = torch.tensor([6])  # channel 0, row 1, column 2: reads nine pixels
    flat = relevance(network, x, target, Rules(first="flat"))
    logit = network(x)[0, 6].item()
    assert torch.allclose(flat[0, 0, 0:3, 1:4], torch.full((3, 3), logit / 9, dtype=torch.float64))
    assert float(flat.sum()) == pytest.approx(logit)
    corner = nn.Sequential(layer, nn.Flatten(), nn.Linear(32, 1, bias=False).double())
    corner[2].weight.data = F.one_hot(torch.tensor([0]), 32).double()
    # only the unit in the corner counts, which reads four pixels
    x[0, 0, 0, 0] = 2.0
    shared = relevance(corner, x, torch.tensor([0]), Rules(first="flat"))
    assert torch.equal(shared != 0, F.pad(torch.ones(1, 1, 2, 2, dtype=torch.bool), (0, 2, 0, 2)))
    squares = relevance(corner, x, torch.tensor([0]), Rules(first="w2"))[0, 0, :2, :2]
    weights = layer.weight[0, 0, 1:, 1:].detach().square()
    close(squares, weights / weights.sum() * corner(x)[0, 0].detach(), 1e-5)


def test_box_by_its_formula():
    torch.manual_seed(0)
    layer = nn.Linear(5, 3).double()
    x, low, high = torch.rand(2, 5, dtype=torch.float64), -1.0, 2.0
    found = relevance(layer, x, torch.tensor([0, 2]), Rules(first="box", low=low, high=high, epsilon=0))
    for b, c in enumerate((0, 2)):
        w = layer.weight[c].detach()
        share = x[b] * w - low * w.clamp_min(0) - high * w.clamp_max(0)
        assert (share >= 0).all()
        close(found[b], share / share.sum() * layer(x)[b, c].detach(), 1e-12)


@pytest.mark.parametrize("site", ["input", "norm", "pool", "conv3"])
def test_without_epsilon_it_is_gradient_times_input(site):
    """On pooling, BatchNorm, a residual sum, functional ReLUs and dropout."""
    network, (x, y) = residual(), images(4)
    found = relevance(network, x, y, Rules(epsilon=0), site)
    network.eval()
    taps: dict[str, Tensor] = {"input": x.requires_grad_()}
    for name in ("norm", "pool", "conv3"):
        network.get_submodule(name).register_forward_hook(lambda _m, _i, o, n=name: taps.update({n: o}) or o.clone())
    (grad,) = torch.autograd.grad(network(x).gather(1, y[:, None]).sum(), taps[site])
    close(found, (taps[site] * grad).detach(), 1e-10)


@pytest.mark.parametrize("name", [*COMPOSITES, "w2"])
def test_without_biases_relevance_is_conserved_at_every_site(name):
    """At each site that all ways go through; a sum of two ways must not count anything twice."""
    network, (x, y) = residual(bias=False, norm=False), images(5)
    rules, x = COMPOSITES.get(name) or Rules(first="w2"), x.abs()
    sites = ["input", "conv1", "pool", "drop"]
    logits = network.eval()(x).gather(1, y[:, None]).squeeze(1).detach()
    for _, found in relevances(network, x, sites, lambda z: z.gather(1, y[:, None]).squeeze(1), rules).values():
        close(found.flatten(1).sum(1), logits, 1e-4)


def test_gamma_runs_from_epsilon_to_zplus():
    network, (x, y) = residual(bias=False, norm=False), images(4)
    x = x.abs()
    close(relevance(network, x, y, Rules(conv="gamma", gamma=0)), relevance(network, x, y, "epsilon"), 1e-8)
    close(
        relevance(network, x, y, Rules(conv="gamma", gamma=1e6, epsilon=0)),
        relevance(network, x, y, Rules(conv="zplus", epsilon=0)),
        1e-4,
    )


def test_a_merged_batch_norm_equals_one_of_its_own_where_the_rule_is_linear():
    network, (x, y) = residual(), images(4)
    merged, own = (relevance(network, x, y, Rules(epsilon=0, batch_norm=how)) for how in ("fold", "affine"))
    close(merged, own, 1e-8)
    assert not torch.allclose(
        *(relevance(network, x, y, Rules(conv="zplus", batch_norm=how)) for how in ("fold", "affine"))
    )


class PreActivation(nn.Module):
    """A block whose shortcut is added in place, and a BatchNorm behind the sum, as in ResNets of the second form."""

    def __init__(self, *, in_place: bool) -> None:
        super().__init__()
        self.in_place = in_place
        self.enter, self.conv = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(4, 4)
        nn.init.normal_(self.norm.running_mean)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        out = self.conv(x.relu())
        out = out.add_(x) if self.in_place else out + x
        return self.head(self.norm(out).relu().mean((2, 3)))


def test_a_sum_in_place_is_no_part_of_the_layer_before_it():
    """A BatchNorm merged with the convolution alone would leave the shortcut out of logits and relevance."""
    torch.manual_seed(0)
    changed, (x, y) = PreActivation(in_place=True).double().eval(), images(3)
    plain = PreActivation(in_place=False).double().eval()
    plain.load_state_dict(changed.state_dict())
    found, wanted = (relevance(network, x, y, Rules(batch_norm="fold")) for network in (changed, plain))
    close(found, wanted, 1e-12)
    with fixed_weights(changed), Relevance(Rules(epsilon=0, batch_norm="fold")):
        logits = changed(x.clone().requires_grad_())
    close(logits.detach(), plain(x).detach(), 1e-12)


@pytest.mark.parametrize("steps", [4, 6])
def test_batch_norm_over_the_steps_of_a_sequence_is_no_part_of_a_linear_layer(steps):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(steps), nn.ReLU(), nn.Flatten(), nn.Linear(4 * steps, 2))
    nn.init.normal_(network[1].running_mean)
    x, y = torch.randn(2, steps, 3).double(), torch.tensor([0, 1])
    network = network.double().eval()
    merged, own = (relevance(network, x, y, Rules(epsilon=0, batch_norm=how)) for how in ("fold", "affine"))
    close(merged, own, 1e-12)


def test_batch_norm_may_pass_relevance_unchanged():
    network, (x, y) = residual(), images(4)
    found = relevances(network, x, ["conv1", "norm"], lambda z: z[:, 0], Rules(batch_norm="pass"))
    close(found["conv1"][1], found["norm"][1], 1e-3)
    del y


@pytest.mark.parametrize("rules", COMPOSITES.values(), ids=COMPOSITES.keys())
def test_the_logits_are_those_of_the_network(rules):
    network, (x, _) = residual().eval(), images(4)
    x.requires_grad_()
    expected = network(x).detach()
    with fixed_weights(network), Relevance(rules):
        close(network(x).detach(), expected, 1e-12)


@pytest.mark.parametrize("name", ["epsilon", "composite", "alpha_beta"])
def test_the_company_a_sample_keeps_does_not_matter(name):
    network, (x, y) = residual(), images(6)
    whole, order = relevance(network, x, y, name), torch.tensor([3, 1, 5, 0, 4, 2])
    close(relevance(network, x[order], y[order], name), whole[order], 1e-10)
    close(relevance(network, x[2:3], y[2:3], name), whole[2:3], 1e-10)


@pytest.mark.parametrize("site", ["input", "pool"])
def test_inference_mode_and_no_grad_change_nothing(site):
    network, (x, y) = residual(), images(4)
    expected = relevance(network, x, y, "composite", site)
    with torch.no_grad():
        assert torch.equal(relevance(network, x, y, "composite", site), expected)
    with torch.inference_mode():
        assert torch.equal(relevance(network, x.clone(), y.clone(), "composite", site), expected)


def test_explaining_leaves_no_trace():
    network, (x, y) = residual().train(), images(4)
    network.drop.eval()
    network.conv2.weight.requires_grad_(False)
    ids = {n: id(p) for n, p in network.named_parameters()}
    before = {n: t.clone() for n, t in network.state_dict().items()}
    flags = [(m.training, p.requires_grad) for m in network.modules() for p in m.parameters()]
    found = relevance(network, x, y, "composite", "pool")
    assert not found.requires_grad
    assert {n: id(p) for n, p in network.named_parameters()} == ids
    assert all(torch.equal(t, before[n]) for n, t in network.state_dict().items())
    assert [(m.training, p.requires_grad) for m in network.modules() for p in m.parameters()] == flags
    assert all(p.grad is None and not m._forward_hooks for m in network.modules() for p in m.parameters())
    assert not x.requires_grad
    assert torch.is_grad_enabled()
