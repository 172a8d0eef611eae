"""SmoothGrad, GradientSHAP, DeepLIFT and DeepSHAP against captum, closed forms and plain loops; refusals by name."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import DeepLift, DeepLiftShap, GradientShap, IntegratedGradients
from torch import nn

from xfeedback.explain.deeplift import ExplainerInvalid, deep_shap, deeplift, gap, refuse_unruled
from xfeedback.explain.sampled import gradient_shap, input_gradient, smoothgrad
from xfeedback.explain.scored import ANEW, Explained
from xfeedback.models.text_base import TextNetwork
from xfeedback.seeding import generator as seeded

ALL = ("gradient", "integrated_gradients", "smoothgrad", "deeplift", "gradient_shap", "deep_shap", "random", "uniform")
numbers = torch.Generator().manual_seed(0)
X = torch.randn(4, 2, 8, 8, dtype=torch.float64, generator=numbers)
Y = torch.tensor([0, 1, 2, 1])


class Net(nn.Module):
    """ReLU and pooling as layers, or as functions, or as one layer that runs twice."""

    def __init__(self, how: str = "layers") -> None:
        super().__init__()
        self.how = how
        self.conv1, self.conv2 = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 5, 3)
        self.relu1, self.relu2, self.pool = nn.ReLU(inplace=how == "in place"), nn.ReLU(), nn.MaxPool2d(2)
        self.head = nn.Linear(20, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.relu1(self.conv1(x)) if self.how != "functions" else F.relu(self.conv1(x))
        second = self.conv2(first)
        second = {"functions": F.relu, "twice": self.relu1}.get(self.how, self.relu2)(second)
        pooled = F.max_pool2d(second, 2) if self.how == "pooling" else self.pool(second)
        return self.head(pooled.flatten(1))


def net(how: str = "layers") -> nn.Module:
    torch.manual_seed(0)
    return Net(how).double().eval()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("squared", [True, False])
def test_smoothgrad_equals_a_loop(squared):
    network, draws = net(), generator(3)
    noise = [torch.randn(X.shape, dtype=X.dtype, generator=draws) for _ in range(4)]
    grads = torch.stack([input_gradient(network, X + 0.3 * n, Y) for n in noise])
    found = smoothgrad(network, X, Y, generator(3), copies=4, sd=0.3, squared=squared)
    torch.testing.assert_close(found, (grads**2 if squared else grads).mean(0))


def test_gradient_shap_of_a_linear_network_is_known():
    """The gradient is w everywhere: w (x - mean baseline), plus noise of sd / sqrt(S) times w."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(128, 3)).double()
    weights = network[1].weight[Y].view(X.shape).detach()
    baselines = torch.randn(6, *X.shape, dtype=X.dtype, generator=generator())
    found = gradient_shap(network, X, Y, baselines, generator(), sd=0.0)
    torch.testing.assert_close(found, weights * (X - baselines.mean(0)))


def test_gradient_shap_goes_to_captums_with_many_draws():
    network = net()
    baselines = torch.randn(3, *X.shape[1:], dtype=X.dtype, generator=generator(5))
    rows = torch.randint(3, (500, 4), generator=generator(6))
    ours = gradient_shap(network, X, Y, baselines[rows], generator(7), sd=0.09)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - captum draws from here too
    theirs = GradientShap(network).attribute(X, baselines, n_samples=500, stdevs=0.09, target=Y)
    size = theirs.abs().mean()
    assert (ours - theirs).abs().mean() < 0.12 * size


def chain(*layers: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 4, 3), *layers, nn.Flatten(), nn.LazyLinear(3)).double()
    network(X)
    return network.eval()


def plain_layers() -> nn.Module:
    return chain(nn.Tanh(), nn.Conv2d(4, 5, 2), nn.ReLU())


BASELINE = torch.randn(2, 8, 8, dtype=torch.float64, generator=numbers)


@pytest.mark.parametrize("baseline", [torch.zeros(2, 8, 8, dtype=torch.float64), BASELINE])
@pytest.mark.parametrize("network", [plain_layers(), chain(nn.MaxPool2d(2))], ids=["nonlinear", "pooling"])
def test_deeplift_equals_captum_where_captum_adds_up(network, baseline):
    theirs = DeepLift(network).attribute(X, baseline.expand_as(X).contiguous(), Y)
    torch.testing.assert_close(deeplift(network, X, Y, baseline), theirs, rtol=1e-9, atol=1e-12)
    assert gap(network, X, Y, baseline, theirs) <= 1e-9


def test_captum_loses_the_pooling_beside_a_nonlinear_layer():
    """Why the rule is ours; when this fails captum has been repaired."""
    theirs = DeepLift(net()).attribute(X, BASELINE.expand_as(X).contiguous(), Y)
    assert gap(net(), X, Y, BASELINE, theirs) > 0.1


@pytest.mark.parametrize(
    "network",
    [net(), chain(nn.ReLU(), nn.MaxPool2d(3, 1)), chain(nn.ReLU(), nn.AdaptiveMaxPool2d(1))],
    ids=["pooling", "overlapping", "global"],
)
def test_deeplift_adds_up_and_leaves_the_network_as_it_was(network):
    parts = deeplift(network, X, Y, BASELINE)
    assert gap(network, X, Y, BASELINE, parts) <= 1e-9
    assert all(p.grad is None for p in network.parameters())
    assert not any(m._forward_hooks for m in network.modules())
    small = X + 1e-9
    torch.testing.assert_close(deeplift(network, X, Y, small), (X - small) * input_gradient(network, X, Y))


def test_integrated_gradients_nearly_add_up():
    path = IntegratedGradients(net()).attribute(X, torch.zeros_like(X), Y, n_steps=50)
    assert gap(net(), X, Y, torch.zeros_like(X), path) <= 0.05


def test_deep_shap_equals_captum_on_one_background():
    network = plain_layers()
    background = torch.randn(3, *X.shape[1:], dtype=X.dtype, generator=generator(1))
    found = deep_shap(network, X, Y, torch.stack([b.expand_as(X) for b in background]))
    torch.testing.assert_close(found, DeepLiftShap(network).attribute(X, background, target=Y), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("functions", "DeepLIFT can't explain Net: it calls relu as a function"),
        ("pooling", "it calls max_pool2d as a function"),
        ("twice", "layer 'relu1' runs 2 times"),
        ("in place", "layer 'relu1' works in place"),
    ],
)
def test_networks_that_would_be_misread_are_refused_by_name(how, message):
    with pytest.raises(ExplainerInvalid, match=message):
        refuse_unruled(net(how), X)
    explained = Explained(network=net(how), layer=None, baseline=torch.zeros(2, 8, 8))
    kept, notes = explained.usable(("gradient", "deeplift", "deep_shap"), X)
    assert kept == ("gradient",)
    assert [note.split(" was left out")[0] for note in notes] == ["deeplift", "deep_shap"]


def test_functional_relus_would_give_input_times_gradient():
    """Why they are refused: the answer would be the gradient times the way, which does not add up."""
    torch.manual_seed(0)

    class Functions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(128, 9), nn.Linear(9, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.two(F.relu(self.one(x.flatten(1))))

    network, baseline = Functions().double(), BASELINE
    found = deeplift(network, X, Y, baseline)
    torch.testing.assert_close(found, (X - baseline) * input_gradient(network, X, Y))
    torch.testing.assert_close(found, DeepLift(network).attribute(X, baseline.expand_as(X).contiguous(), Y))
    assert gap(network, X, Y, baseline, found) > 0.05


def test_what_the_released_program_calls_deeplift_is_the_way_times_the_gradient():
    """On a network of functions it is what captum gives too."""
    explained = Explained(network=net("functions"), layer=None, baseline=torch.zeros(2, 8, 8) + 0.3)
    assert explained.usable(("deeplift_functional",), X) == (("deeplift_functional",), ())
    found = explained.attribution("deeplift_functional", X, Y)
    torch.testing.assert_close(found, (X - 0.3) * input_gradient(net("functions"), X, Y), rtol=1e-6, atol=1e-9)


def test_layers_are_let_through():
    refuse_unruled(net(), X)
    explained = Explained(network=net(), layer=None, baseline=torch.zeros(2, 8, 8))
    assert explained.usable(("deeplift", "deep_shap"), X) == (("deeplift", "deep_shap"), ())


class Words(TextNetwork):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 6, padding_idx=0)
        self.hidden, self.act, self.head = nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)

    def classify(self, x, valid):
        return self.head(self.act(self.hidden(x)).mul(valid[..., None]).sum(1))


def series_network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(7 * 3, 6), nn.ReLU(), nn.Linear(6, 2))


def test_series_have_a_map_for_each_cell():
    torch.manual_seed(0)
    network, x = series_network().eval(), torch.rand(5, 7, 3)
    explained = Explained(network=network, layer=None, baseline=torch.zeros(3), kind="series", background=x)
    maps, logits = explained.maps(ALL, x)
    assert logits.shape == (5, 2)
    assert {m.shape for m in maps.values()} == {(5, 7, 3)}
    expected = input_gradient(network, x, logits.argmax(1)).abs()
    torch.testing.assert_close(maps["gradient"], expected)
    kept, notes = explained.usable(("grad_cam", "deeplift", "centre"), x)
    assert kept == ("deeplift",)
    assert notes[0] == "grad_cam was left out: it is for images, not for series"


def test_texts_have_a_map_for_each_token_of_their_embeddings():
    torch.manual_seed(0)
    network = Words().eval()
    ids = torch.tensor([[3, 4, 5, 0], [6, 0, 0, 0]])
    explained = Explained(
        network=network, layer=None, baseline=torch.zeros(1), kind="text", background=torch.zeros(1, 1, 1)
    )
    target = torch.tensor([2, 0])
    maps, _ = explained.maps(ALL, ids, target=target)
    assert {m.shape for m in maps.values()} == {(2, 4)}
    embedded = network.embed(ids).detach()
    torch.testing.assert_close(maps["gradient"], input_gradient(network, embedded, target).norm(dim=-1))
    path = IntegratedGradients(network).attribute(embedded, torch.zeros_like(embedded), target, method="riemann_middle")
    torch.testing.assert_close(maps["integrated_gradients"], path.sum(-1).abs(), rtol=1e-4, atol=1e-6)
    assert (maps["integrated_gradients"][ids == 0] == 0).all()


@pytest.mark.parametrize("one", [[7], [3, 4, 5]])
def test_smoothgrad_of_a_text_depends_on_no_neighbour_batch_or_padding(one):
    """The sd is a tenth of that of this text's embeddings; drawn anew when asked for."""
    torch.manual_seed(0)
    explained = Explained(network=Words().double().eval(), layer=None, baseline=torch.zeros(1), kind="text")
    alone = explained.maps(("smoothgrad",), torch.tensor([one]), target=torch.tensor([1]))[0]["smoothgrad"]
    ids = torch.tensor([[8, 9, 10, 11, 6], one + [0] * (5 - len(one))])
    maps = explained.maps(("smoothgrad",), ids, number=7, target=torch.tensor([0, 1]))[0]["smoothgrad"]
    torch.testing.assert_close(maps[1, : len(one)], alone[0], rtol=1e-12, atol=0)
    anew = explained.maps(("smoothgrad",), torch.tensor([one]), ANEW, torch.tensor([1]))[0]["smoothgrad"]
    assert not torch.allclose(anew, alone, rtol=1e-6)


def test_smoothgrad_of_a_text_equals_a_loop():
    torch.manual_seed(0)
    network, ids, target = Words().double().eval(), torch.tensor([[3, 4, 5, 0]]), torch.tensor([2])
    x = network.embed(ids).detach()
    draws = seeded(x.device, 0, "explain", "smoothgrad", 0)
    noise = torch.stack([torch.randn(25, 6, dtype=x.dtype, generator=draws) for _ in range(4)], 1)
    noise[:, 3] = 0
    grads = [input_gradient(network, x + 0.1 * x[0, :3].std() * one, target) for one in noise]
    found = Explained(network=network, layer=None, baseline=None, kind="text").maps(("smoothgrad",), ids, 0, target)[0]
    torch.testing.assert_close(found["smoothgrad"], torch.stack(grads).mean(0).norm(dim=-1))


def test_draws_are_the_same_whenever_a_map_is_computed():
    explained = Explained(network=net(), layer=None, baseline=None)
    one, two = (explained.maps(("integrated_gradients", "gradient_shap", "smoothgrad"), X)[0] for _ in range(2))
    other = explained.maps(("integrated_gradients", "gradient_shap", "smoothgrad"), X, number=1)[0]
    for name, values in one.items():
        assert torch.equal(values, two[name])
        assert not torch.equal(values, other[name])


def test_magnitudes_before_or_after_the_mean_over_channels():
    x = torch.tensor([[[[1.0]], [[-1.0]]]])
    before, after = (
        Explained(network=net(), layer=None, baseline=None, channels=how) for how in ("abs_then_mean", "mean_then_abs")
    )
    assert (before.reduced(x).item(), after.reduced(x).item(), after.reduced(x, sized=True).item()) == (1, 0, 1)
