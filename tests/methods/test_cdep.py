"""CDEP: rules against hand-worked numbers and loops, the sum against the network itself, and its refusals."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.explain.nets import images, small_cam
from tests.methods import tiny
from tests.methods.differences import assert_gradients_match_finite_differences
from tests.models.helpers import small
from xfeedback import models
from xfeedback.errors import UserError
from xfeedback.explain.decomposition import Pair, affine, decompose, max_pooled, rectified, traced
from xfeedback.feedback import Step
from xfeedback.methods.cdep import contribution
from xfeedback.types import Batch

SPEECH = ("bc_resnet", "kws_cnn")
"""Networks with operations that have no rule."""
OURS = [name for name in models.fitting("image") if name not in ("timm", *SPEECH)]


def pair(b: list[float], g: list[float]) -> Pair:
    return Pair(torch.tensor([b]), torch.tensor([g]))


def random_pair(*shape: int) -> Pair:
    numbers = torch.Generator().manual_seed(0)
    return Pair(*(torch.randn(shape, generator=numbers, dtype=torch.float64) for _ in range(2)))


def parts_of(network: nn.Module, x: Pair) -> Pair:
    return decompose(network, traced(network, "cdep"), x, "cdep")


def penalty(network: nn.Module, batch: Batch, **options: float) -> Tensor:
    feedback = tiny.feedback("cdep", **options)
    feedback.prepare(network, batch.x[:1])
    return feedback.penalty(Step(network, batch, seed=0, position=("0", 0, 0, 0)))["share"]


def test_worked_numbers_of_each_rule():
    """Bias 4 on parts 1 and -3: a quarter of it to the first; on 0 and 0 to the rest."""
    b, g = affine(lambda part: part, torch.tensor([4.0, 4.0]), pair([1.0, 0.0], [-3.0, 0.0]))
    assert (b.tolist(), g.tolist()) == ([[2.0, 0.0]], [[0.0, 4.0]])
    b, g = rectified(pair([2.0, -1.0, 2.0], [-1.0, 3.0, -5.0]))
    assert (b.tolist(), g.tolist()) == ([[2.0, 0.0, 2.0]], [[-1.0, 2.0, -2.0]])
    b, g = max_pooled(Pair(torch.tensor([[[[5.0, 1.0]]]]), torch.tensor([[[[-9.0, 1.0]]]])), (1, 2))
    assert (b.tolist(), g.tolist()) == ([[[[1.0]]]], [[[[1.0]]]])


def test_worked_network():
    """x = (3, 1), weights (2, 4), bias 6: parts 6 + 6 * 6/10 and 4 + 6 * 4/10, doubled and with bias 1 of the head."""
    network = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1))
    with torch.no_grad():
        for layer, weight, bias in ((network[0], [[2.0, 4.0]], 6.0), (network[2], [[2.0]], 1.0)):
            layer.weight.copy_(torch.tensor(weight))
            layer.bias.fill_(bias)
    b, g = parts_of(network, pair([3.0, 0.0], [0.0, 1.0]))
    assert b.item() == pytest.approx(2 * 9.6 + 0.6, rel=1e-6)
    assert g.item() == pytest.approx(2 * 6.4 + 0.4, rel=1e-6)
    assert contribution(b, g).item() == pytest.approx(1 / (1 + torch.tensor(13.2 - 19.8).exp().item()), rel=1e-5)


def test_max_pooling_takes_both_parts_from_the_largest_sum():
    x = random_pair(2, 3, 7, 6)
    found = max_pooled(x, 3, stride=2, padding=1)
    for n, c, p, q in torch.cartesian_prod(*(torch.arange(s) for s in found.b.shape)).tolist():
        window = [(i, j) for i in range(2 * p - 1, 2 * p + 2) for j in range(2 * q - 1, 2 * q + 2)]
        inside = [cell for cell in window if 0 <= cell[0] < 7 and 0 <= cell[1] < 6]
        best = max(inside, key=lambda cell: float(x.total[n, c, cell[0], cell[1]]))
        assert found.b[n, c, p, q] == x.b[n, c, best[0], best[1]]
        assert found.g[n, c, p, q] == x.g[n, c, best[0], best[1]]


@pytest.mark.parametrize("name", SPEECH)
def test_networks_with_other_operations_are_refused(name):
    network = models.build(small(name), (3, 32, 32), 5, seed=0).double()
    with pytest.raises(UserError, match=r"method=cdep (has no rule for layer|can't follow)"):
        parts_of(network, random_pair(1, 3, 32, 32))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", OURS)
def test_the_parts_add_up_to_the_network_in_every_model(name, training):
    network = models.build(small(name), (3, 32, 32), 5, seed=0).double().train(training)
    x = random_pair(3, 3, 32, 32)
    torch.manual_seed(0)
    expected = network(x.total)
    before = tiny.state(network)
    torch.manual_seed(0)
    found = parts_of(network, x)
    torch.testing.assert_close(found.total, expected, rtol=1e-10, atol=1e-12)
    assert (found.b != 0).any()
    tiny.assert_same_bits(tiny.state(network), before)


def test_an_empty_region_contributes_nothing_and_a_whole_one_everything_but_bias_of_dead_cells():
    network = models.build(small("gapnet"), (1, 32, 32), 5, seed=0).double()
    x = random_pair(2, 1, 32, 32).b
    nothing = parts_of(network, Pair(torch.zeros_like(x), x))
    assert not nothing.b.any()
    torch.testing.assert_close(nothing.g, network(x), rtol=1e-10, atol=1e-12)
    everything = parts_of(network, Pair(x, torch.zeros_like(x)))
    torch.testing.assert_close(everything.b, network(x), rtol=1e-10, atol=1e-12)


class Users(nn.Module):
    """Functions and methods instead of modules, sizes read from the input, a sum, a concatenation, padding, slices."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3, bias=False)
        self.head = nn.Linear(36, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.pad(x, (1, 1, 1, 1))
        both = torch.cat([torch.relu(self.one(x)), nn.functional.relu(self.two(x) + self.one(x), inplace=True)], 1)
        small = nn.functional.max_pool2d(both, 2)[:, :, :3, :3]
        return self.head(small.contiguous().view(x.size(0), small.shape[1] * 9))


def test_a_users_functions_are_followed():
    torch.manual_seed(0)
    network, x = Users().double(), random_pair(2, 1, 8, 8)
    torch.testing.assert_close(parts_of(network, x).total, network(x.total), rtol=1e-12, atol=1e-12)


class InPlace(nn.Module):
    """Reads a map again that ReLU has changed in place, as residual blocks with ReLU before the convolution do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        start = self.first(x)
        inside = self.inner(self.relu(start))
        summed = inside.add_(start)
        return self.head(torch.relu_(inside).mean((2, 3)) + summed.mean((2, 3)))


def test_maps_that_were_changed_in_place_are_followed():
    torch.manual_seed(0)
    network, x = InPlace().double(), random_pair(2, 1, 9, 7)
    torch.testing.assert_close(parts_of(network, x).total, network(x.total), rtol=1e-10, atol=1e-12)


def test_penalty_is_the_mean_share_of_images_with_a_wrong_region():
    network = small_cam()
    x, y = images(3)
    wrong = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.3
    wrong[1] = False
    total = 0.0
    for b in (0, 2):
        inside = wrong[b][None, None]
        part, rest = parts_of(network, Pair(x[b : b + 1] * inside, x[b : b + 1] * ~inside))
        total += (
            sum(float(p.exp() / (p.exp() + r.exp())) for p, r in zip(part[0].detach(), rest[0].detach(), strict=True))
            / 4
        )
    found = penalty(network, Batch(x=x, y=y, index=torch.arange(3), wrong=wrong), weight=5.0)
    assert found.item() == pytest.approx(5 * total / 2, rel=1e-12)


def test_gradients_equal_finite_differences_in_every_tensor():
    network = small_cam()
    x, y = images()
    wrong = torch.rand(5, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.3
    batch = Batch(x=x, y=y, index=torch.arange(5), wrong=wrong)
    assert_gradients_match_finite_differences(network, lambda: penalty(network, batch))


def test_one_forward_of_the_network_and_one_backward():
    assert tiny.passes(tiny.module(tiny.feedback("cdep"))) == (1, 1)


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


REFUSED: list[tuple[nn.Module, str]] = [
    (nn.Sequential(nn.Conv2d(1, 2, 3), nn.SiLU()), r"rule for layer '1' \(SiLU\) of Sequential.*model=gapnet"),
    (Branching(), "can't follow the forward pass of Branching"),
]


@pytest.mark.parametrize(("network", "message"), REFUSED)
def test_networks_that_it_cannot_treat_are_refused_before_training(network: Any, message):
    with pytest.raises(UserError, match=f"method=cdep .*{message}"):
        tiny.feedback("cdep").prepare(network, torch.zeros(1, 1, 8, 8))


def test_what_is_not_linear_is_refused():
    class Product(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x

    class Shifted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1

    for network, what in ((Product(), "operation 'mul' of Product"), (Shifted(), "operation 'add' of Shifted")):
        with pytest.raises(UserError, match=f"no rule for {what}"):
            parts_of(network, random_pair(1, 1, 8, 8))
    with pytest.raises(UserError, match="no rule for operation 'mul' of layer '1' in Sequential"):
        parts_of(nn.Sequential(nn.ReLU(), Product()), random_pair(1, 1, 8, 8))
