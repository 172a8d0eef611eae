"""Fisher estimates against plain loops over single samples in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from xfeedback.continual import fisher as module
from xfeedback.continual.fisher import fisher, log_likelihood, official_score, square_gradients
from xfeedback.types import Batch

torch.manual_seed(0)


class Small(nn.Module):
    """Convolution, batch norm with running statistics, dense layers, and a scale that no layer owns."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 3, 3, stride=2), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten())
        self.scale = nn.Parameter(torch.rand(12))
        self.hidden, self.head = nn.Linear(12, 6), nn.Linear(6, 4, bias=False)

    def forward(self, x):
        return self.head(torch.tanh(self.hidden(self.body(x) * self.scale)))


class Twice(nn.Module):
    """One dense layer used twice, one on every step of a series, a recurrent one, and one that is never used."""

    def __init__(self):
        super().__init__()
        self.same, self.steps, self.idle = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(2, 2)
        self.lstm, self.head = nn.LSTM(3, 3, batch_first=True), nn.Linear(3, 4)

    def forward(self, x):
        found, _ = self.lstm(self.steps(x))
        return self.head(self.same(torch.relu(self.same(found[:, -1]))))


class Folded(nn.Module):
    """Dense layers on every step of a series with the steps as rows, and a non-linearity that works in place."""

    def __init__(self):
        super().__init__()
        self.steps, self.head = nn.Linear(3, 2), nn.Sequential(nn.Linear(10, 5), nn.ReLU(inplace=True), nn.Linear(5, 4))

    def forward(self, x):
        return self.head(torch.relu_(self.steps(x.reshape(-1, 3))).reshape(len(x), -1))


def batch(shape, n=9, classes=4):
    numbers = torch.Generator().manual_seed(3)
    x = torch.randn(n, *shape, dtype=torch.float64, generator=numbers)
    return Batch(x=x, y=torch.randint(classes, (n,), generator=numbers), index=torch.arange(n))


CASES = {"small": (Small, (1, 6, 6)), "twice": (Twice, (5, 3)), "folded": (Folded, (5, 3))}


@pytest.fixture(params=CASES)
def case(request):
    make, shape = CASES[request.param]
    torch.manual_seed(1)
    return make().double().eval(), batch(shape)


def trained(network):
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


def squares(network, score, x):
    grads = torch.autograd.grad(score, list(trained(network).values()), allow_unused=True)
    return {
        name: torch.zeros_like(p) if g is None else g**2
        for (name, p), g in zip(trained(network).items(), grads, strict=True)
    }


def loop(network, data, estimator, drawn=None):
    """The definition: one sample, one class at a time."""
    total = {name: torch.zeros_like(p) for name, p in trained(network).items()}
    for j in range(len(data)):
        logits = network(data.x[j : j + 1])[0]
        p = logits.softmax(0)
        terms = {
            "empirical": [(1.0, p[data.y[j]].log())],
            "true_exact": [(p[c].item(), p[c].log()) for c in range(len(p))],
            "true_sampled": [(1.0, p[drawn[j]].log())] if drawn is not None else [],
            "official": [(1.0, sum(F.log_softmax(p, 0)))],
        }[estimator]
        for weight, score in terms:
            found = torch.autograd.grad(score, list(trained(network).values()), retain_graph=True, allow_unused=True)
            for name, g in zip(total, found, strict=True):
                total[name] += 0 if g is None else weight * g**2
    return {name: value / len(data) for name, value in total.items()}


def assert_close(found, expected, rtol=1e-9):
    assert list(found) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=rtol, atol=1e-18, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("estimator", ["empirical", "true_exact", "official"])
def test_estimates_equal_plain_loops(case, estimator):
    network, data = case
    parts = [Batch(x=data.x[rows], y=data.y[rows], index=data.index[rows]) for rows in torch.arange(9).split(4)]
    assert_close(fisher(network, parts, estimator), loop(network, data, estimator))


def test_sampled_classes_come_from_the_network(case):
    network, data = case
    with torch.no_grad():
        p = network(data.x).softmax(1)
    drawn = torch.multinomial(p, 1, generator=torch.Generator().manual_seed(5))[:, 0]
    found = fisher(network, [data], "true_sampled", numbers=torch.Generator().manual_seed(5))
    assert_close(found, loop(network, data, "true_sampled", drawn))


def test_sampled_classes_give_the_exact_estimate_in_the_mean():
    network, data = nn.Linear(5, 4).double(), batch((5,), n=3)
    many = Batch(x=data.x.repeat(5000, 1), y=data.y.repeat(5000), index=data.index.repeat(5000))
    found = fisher(network, [many], "true_sampled", numbers=torch.Generator().manual_seed(0))
    assert_close(found, fisher(network, [data], "true_exact"), rtol=0.1)


def test_batched_squares_the_gradient_of_each_batch_mean(case):
    network, data = case
    total = {name: torch.zeros_like(p) for name, p in trained(network).items()}
    parts = [Batch(x=data.x[rows], y=data.y[rows], index=data.index[rows]) for rows in torch.arange(9).split(4)]
    for part in parts:
        for name, value in squares(network, -F.cross_entropy(network(part.x), part.y), part.x).items():
            total[name] += value / 3
    assert_close(fisher(network, parts, "batched"), total)


def test_official_is_the_gradient_of_the_log_of_sums_of_probabilities(case):
    """As sum_c p_c = 1, sum_c log_softmax(p)_c = 1 - C logsumexp(p)."""
    network, data = case
    total = {name: torch.zeros_like(p) for name, p in trained(network).items()}
    for j in range(len(data)):
        score = 4 * torch.logsumexp(network(data.x[j : j + 1]).softmax(1), 1)[0]
        for name, value in squares(network, score, data.x).items():
            total[name] += value / len(data)
    assert_close(fisher(network, [data], "official"), total, rtol=1e-8)


def test_exact_fisher_is_the_hessian_of_a_logistic_model():
    """For a linear model with softmax the Hessian of -log p(y) holds no y: it is the Fisher information itself."""
    network, data = nn.Linear(5, 4).double(), batch((5,), n=12)
    shapes = [p.shape for p in network.parameters()]

    def loss(*parameters):
        return F.cross_entropy(
            torch.func.functional_call(network, dict(zip(("weight", "bias"), parameters, strict=True)), (data.x,)),
            data.y,
        )

    hessian = torch.autograd.functional.hessian(loss, tuple(p.detach() for p in network.parameters()))
    expected = [torch.diagonal(hessian[k][k].reshape(s.numel(), -1)).reshape(s) for k, s in enumerate(shapes)]
    found = fisher(network, [data], "true_exact")
    for value, diagonal in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(value, diagonal, rtol=1e-10, atol=1e-14)


def test_dense_layers_never_form_a_matrix_per_sample(monkeypatch):
    """The convolution, the norm and the loose scale are done one by one; the dense layers by their factors."""
    asked = []
    whole = module._one_by_one
    monkeypatch.setattr(
        module, "_one_by_one", lambda n, names, *a, **k: asked.append(names) or whole(n, names, *a, **k)
    )
    network, data = Small().double().eval(), batch((1, 6, 6))
    square_gradients(network, data.x, data.y, log_likelihood)
    assert asked == [["scale", "body.0.weight", "body.0.bias", "body.1.weight", "body.1.bias"]]


def test_weights_scale_each_sample_and_frozen_parameters_are_left_out():
    network, data = Small().double().eval(), batch((1, 6, 6))
    network.body[0].weight.requires_grad_(False)
    network.hidden.bias.requires_grad_(False)
    w = torch.linspace(0, 2, len(data), dtype=torch.float64)
    found = square_gradients(network, data.x, data.y, official_score, w)
    assert set(found) == set(trained(network))
    singles = [
        square_gradients(network, data.x[j : j + 1], data.y[j : j + 1], official_score) for j in range(len(data))
    ]
    for name, value in found.items():
        torch.testing.assert_close(value, sum(w[j] * one[name] for j, one in enumerate(singles)), rtol=1e-9, atol=1e-18)


def test_large_networks_are_done_in_parts(monkeypatch):
    network, data = Small().double().eval(), batch((1, 6, 6))
    whole = square_gradients(network, data.x, data.y, log_likelihood)
    monkeypatch.setattr(module, "MOST", 100)
    assert_close(square_gradients(network, data.x, data.y, log_likelihood), whole)


def test_no_sample_no_information():
    assert not any(value.any() for value in fisher(Small().double().eval(), [], "empirical").values())


def test_estimates_leave_no_graph_and_no_gradient():
    network, data = Small().double().eval(), batch((1, 6, 6))
    for estimator in ("empirical", "true_exact", "batched", "official"):
        assert not any(v.requires_grad for v in fisher(network, [data], estimator).values())
    assert all(p.grad is None for p in network.parameters())
