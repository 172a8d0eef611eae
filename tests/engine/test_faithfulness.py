"""Faithfulness of explanations against plain loops over single samples, with the passes counted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from xfeedback.engine.faithfulness import faithfulness
from xfeedback.engine.options import EvaluationConfig
from xfeedback.engine.removal import STEPS, TENTHS, Removal
from xfeedback.explain.scored import Explained
from xfeedback.metrics.faithfulness import blurred
from xfeedback.types import Batch

numbers = torch.Generator().manual_seed(0)
X = torch.rand(7, 2, 6, 6, generator=numbers)
Y = torch.randint(0, 3, (7,), generator=numbers)


class Net(nn.Module):
    def __init__(self, n: int = 72) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.relu, self.last = nn.Linear(n, 12), nn.ReLU(), nn.Linear(12, 3)
        self.forwards = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.forwards += 1
        return self.last(self.relu(self.first(x.flatten(1))))


def images(*sizes: int) -> list[Batch]:
    parts, start = [], 0
    for size in sizes:
        rows = slice(start, start + size)
        parts.append(Batch(x=X[rows], y=Y[rows], index=torch.arange(len(Y))[rows]))
        start += size
    return parts


def config(*measures: str, **options) -> EvaluationConfig:
    explainers = options.pop("faithfulness_explainers", ("gradient",))
    return EvaluationConfig(faithfulness=measures, faithfulness_explainers=explainers, **options)


def explained(network: nn.Module) -> Explained:
    return Explained(network=network, layer=None, baseline=torch.zeros(2, 6, 6), background=X)


def drop_loop(network: nn.Module, maps: torch.Tensor) -> list[float]:
    curve = []
    for share in TENTHS:
        hits = 0
        for x, y, scores in zip(X, Y, maps, strict=True):
            count = 0 if share == 0 else max(1, int(share * 36 + 1e-9))
            order = sorted(range(36), key=lambda p, scores=scores: -float(scores.flatten()[p]))
            changed = x.clone().flatten(1)
            for place in order[:count]:
                changed[:, place] = x[:, 0, 0]
            hits += int(network(changed.view(1, 2, 6, 6)).argmax() == y)
        curve.append(hits / len(X))
    return curve


def test_accuracy_drop_equals_a_loop():
    network = Net().eval()
    found = faithfulness(explained(network), images(4, 3), config("accuracy_drop"))
    maps = explained(network).maps(("gradient",), X)[0]["gradient"]
    curve = drop_loop(network, maps)
    assert found.curves["drop_gradient"] == pytest.approx(curve)
    area = np.trapezoid(curve, TENTHS) / 0.9
    assert found.metrics["faithfulness/drop_area_gradient"] == pytest.approx(100 * area)
    gain = found.metrics["faithfulness/drop_area_random"] - found.metrics["faithfulness/drop_area_gradient"]
    assert found.metrics["faithfulness/drop_gain_gradient"] == pytest.approx(gain)
    plain = float((network(X).argmax(1) == Y).double().mean())
    assert found.curves["drop_gradient"][0] == found.curves["drop_random"][0] == pytest.approx(plain)
    assert "faithfulness/drop_gain_random" not in found.metrics


def test_a_constant_classifier_is_flat_and_a_perfect_one_has_area_1():
    class Always(Net):
        def forward(self, x):
            return x.flatten(1).sum(1, keepdim=True) * 0 + torch.tensor([0.0, 1.0, 0.0])

    batch = replace(images(7)[0], y=torch.ones(7, dtype=torch.int64))
    found = faithfulness(explained(Always().eval()), [batch], config("accuracy_drop"))
    assert found.metrics["faithfulness/drop_area_gradient"] == pytest.approx(100)
    mixed = faithfulness(explained(Always().eval()), images(7), config("accuracy_drop"))
    assert len(set(mixed.curves["drop_gradient"])) == 1


def test_only_values_of_the_own_corner_enter():
    removal = Removal(explained(Net().eval()), images(7)[0], Y, config(), 0)
    maps = torch.rand(7, 6, 6, generator=numbers)
    for mask in removal._masks(maps, TENTHS[1:]):
        filled = torch.where(mask, removal.fill, removal.x)
        changed = filled != X
        assert torch.equal(filled[changed], X[:, :, :1, :1].expand_as(X)[changed])


@pytest.mark.parametrize("target", ["predicted", "true"])
def test_deletion_and_insertion_equal_a_loop(target):
    network = Net().eval()
    options = config("deletion", "insertion", removal="zero", explain_class=target)
    found = faithfulness(explained(network), images(5, 2), options)
    classes = Y if target == "true" else network(X).argmax(1)
    maps = explained(network).maps(("gradient",), X, target=classes)[0]["gradient"]
    soft = blurred(X)
    for name, (before, after) in {"deletion": (X, torch.zeros_like(X)), "insertion": (soft, X)}.items():
        curve = []
        for share in STEPS:
            count = 0 if share == 0 else max(1, int(share * 36 + 1e-9))
            changed = before.clone().flatten(2)
            for b in range(7):
                order = sorted(range(36), key=lambda p, b=b: -float(maps[b].flatten()[p]))[:count]
                changed[b, :, order] = after.flatten(2)[b, :, order]
            p = network(changed.view(X.shape)).softmax(1)
            curve.append(p.gather(1, classes[:, None]).mean().item())
        assert found.curves[f"{name}_gradient"] == pytest.approx(curve, abs=1e-6)
        area = 100 * np.trapezoid(curve, STEPS)
        assert found.metrics[f"faithfulness/{name}_gradient"] == pytest.approx(area, abs=1e-4)


def test_deletion_of_known_evidence():
    """The score is the share of m relevant positions left: the true order gives m / 2P and 1 - m / 2P."""
    relevant = torch.zeros(36)
    relevant[torch.randperm(36, generator=numbers)[:9]] = 1

    class Share(nn.Module):
        def forward(self, x):
            seen = (x.flatten(2)[:, 0] * relevant).sum(1) / 9
            return torch.stack([seen.clamp(1e-9, 1).log(), (1 - seen).clamp(1e-9, 1).log()], 1)

    batch = Batch(x=torch.ones(4, 1, 6, 6), y=torch.zeros(4, dtype=torch.int64), index=torch.arange(4))
    whole = Explained(network=Share(), layer=None, baseline=None)
    removal = Removal(whole, batch, batch.y, config(removal="zero"), 0)
    maps = relevant.view(6, 6).expand(4, -1, -1)
    deletion = np.trapezoid(removal.measured("deletion", maps)["deletion"][0].double().numpy(), STEPS)
    assert deletion == pytest.approx(9 / 72, abs=1 / 28)


def test_road_is_0_for_a_map_whose_order_is_of_no_account_and_positive_for_a_good_one():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(72, 3, bias=False)).eval()
    with torch.no_grad():
        network[1].weight.zero_()
        network[1].weight[:, :6] = 3 * torch.randn(3, 6)
    explained_ = Explained(network=network, layer=None, baseline=None)
    batch = replace(images(7)[0], y=network(X).argmax(1))
    good = torch.zeros(7, 6, 6)
    good[:, 0] = 1
    removal = Removal(explained_, batch, batch.y, config(), 0)
    found = removal.measured("road", good)
    assert found["road_morf"].shape == (7, 9)
    assert float(found["road"].mean()) > 0
    assert float(found["road_lerf"].mean()) > float(found["road_morf"].mean())
    reverse = removal.measured("road", 1 - good)
    assert float(reverse["road"].mean()) < 0


@pytest.mark.parametrize(
    ("measures", "passes"),
    [(("accuracy_drop",), 10), (("road",), 18), (("deletion",), 29), (("deletion", "insertion"), 58), ((), 0)],
)
def test_passes_are_as_counted(measures, passes):
    """One for the gradient of each batch, then one a level for each explainer, random maps among them."""
    network = Net().eval()
    faithfulness(explained(network), images(4, 3), config(*measures))
    assert network.forwards == 2 * (1 + 2 * passes)


def test_samples_beyond_the_limit_are_left_out():
    network = Net().eval()
    few = faithfulness(explained(network), images(4, 3), config("accuracy_drop", faithfulness_samples=4))
    assert few.metrics == faithfulness(explained(network), images(4), config("accuracy_drop")).metrics


def test_maps_of_each_level_are_drawn_anew_when_asked_for():
    """Without draws nothing changes; with draws each level has its own maps and the explainers run ten times."""
    network = Net().eval()
    once = faithfulness(explained(network), images(7), config("accuracy_drop"))
    anew = faithfulness(explained(network), images(7), config("accuracy_drop", recompute_each_level=True))
    assert anew.curves["drop_gradient"] == once.curves["drop_gradient"]
    options = {"faithfulness_explainers": ("smoothgrad",), "recompute_each_level": True}
    found = faithfulness(explained(network), images(7), config("accuracy_drop", **options))
    for level, share in enumerate(TENTHS):
        maps = explained(network).maps(("smoothgrad",), X, level << 32)[0]["smoothgrad"]
        assert found.curves["drop_smoothgrad"][level] == pytest.approx(drop_loop(network, maps)[level]), share
