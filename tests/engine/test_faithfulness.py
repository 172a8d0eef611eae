"""Faithfulness of explanations against plain loops over single samples, with the passes counted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from xfeedback.engine.faithfulness import faithfulness, permuted
from xfeedback.engine.options import EvaluationConfig
from xfeedback.engine.removal import MASSES, STEPS, TENTHS, Removal
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


SERIES = torch.rand(6, 8, 5, generator=numbers)


def series(masked: bool = True) -> Batch:
    mask = torch.zeros(6, 8, 5, dtype=torch.bool)
    mask[:, 2:5, 1:3] = True
    return Batch(x=SERIES, y=Y[:6], index=torch.arange(6), mask=mask if masked else None)


def of_series(network: nn.Module) -> Explained:
    return Explained(network=network, layer=None, baseline=torch.full((8, 5), 0.5), background=SERIES, kind="series")


def test_series_are_scored_cell_by_cell_against_their_box():
    network = Net(40).eval()
    options = config("accuracy_drop", "relevance", "road", faithfulness_explainers=("gradient", "grad_cam"))
    found = faithfulness(of_series(network), [series()], options)
    names = {name.removeprefix("faithfulness/") for name in found.metrics}
    scores = ("drop_area", "drop_gain", "aup", "aur", "aupr", "diff_aup", "diff_aur")
    assert {f"{score}_gradient" for score in scores} <= names
    assert {"aup_random", "aur_random", "aupr_random"} <= names
    assert not any("grad_cam" in name or "road" in name or "diff_aup_random" in name for name in names)
    assert len(found.notes) == 2
    metrics = found.metrics
    difference = metrics["faithfulness/aup_gradient"] - metrics["faithfulness/aup_random"]
    assert metrics["faithfulness/diff_aup_gradient"] == pytest.approx(difference)
    without = faithfulness(of_series(network), [series(masked=False)], config("relevance"))
    assert without.metrics == {}
    assert without.notes == ("faithfulness: relevance was left out: nothing says where the relevant cells are",)


class Sign(nn.Module):
    """Tells the class by the sign of the sum over the box."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inside = x[:, 2:5, 1:3].flatten(1).sum(1)
        return torch.stack([-inside, inside], 1)


def test_scores_that_no_map_has_are_left_out_with_a_note():
    """A network that says the same of everything has constant maps: their precision is 0/0, no number for a result."""
    network = Net(n=12)
    nn.init.zeros_(network.last.weight)
    x = torch.rand(5, 4, 3, generator=numbers)
    batch = Batch(x=x, y=torch.zeros(5, dtype=torch.int64), index=torch.arange(5), mask=x > 0.5)
    explains = Explained(network=network.eval(), layer=None, baseline=torch.zeros(4, 3), kind="series")
    found = faithfulness(explains, [batch], config("relevance"))
    scores = ("aup", "aur", "aupr")
    assert set(found.metrics) == {f"faithfulness/{score}_random" for score in scores}
    assert set(found.curves) == {"precision_random", "recall_random"}
    lost = {note.split(" was left out")[0] for note in found.notes}
    assert lost == {f"faithfulness/{score}_gradient" for score in (*scores, "diff_aup", "diff_aur")}


def test_the_masking_curve_equals_a_loop_and_falls_at_once_for_the_box():
    """Six cells of 1 or -1 decide; with a share d of the box's mass gone the sum is (6 - ceil(6 d)) of its sign."""
    x, y = torch.zeros(6, 8, 5), torch.arange(6) % 2
    x[:, 2:5, 1:3] = (2.0 * y - 1)[:, None, None]
    batch = Batch(x=x, y=y, index=torch.arange(6))
    blank = torch.where(torch.rand(8, 5, generator=numbers) < 0.5, -1.0, 1.0)
    whole = Explained(network=Sign(), layer=None, baseline=None, kind="series", blank=blank)
    maps = torch.zeros(6, 8, 5)
    maps[:, 2:5, 1:3] = torch.tensor([6.0, 5.0, 4.0, 3.0, 2.0, 1.0]).view(3, 2)
    found = Removal(whole, batch, y, config(), 0).measured("masking", maps)["masking"]
    for level, share in enumerate(MASSES):
        order, taken, mass = sorted(range(40), key=lambda p: -float(maps[0].flatten()[p])), [], 0.0
        while mass < share * 21 * (1 - 1e-12):
            taken.append(order[len(taken)])
            mass += float(maps[0].flatten()[taken[-1]])
        changed = x.clone().flatten(1)
        changed[:, taken] = blank.flatten()[taken]
        assert torch.equal(found[:, level], (Sign()(changed.view(x.shape)).argmax(1) == y).float())
    assert torch.equal(found[:, 0], torch.ones(6))
    assert found[:, -1].mean() == 0.5  # the whole box is the same for all


def test_masking_is_for_series_that_can_be_drawn_anew():
    network = Net(40).eval()
    drawn = replace(of_series(network), blank=torch.zeros(8, 5))
    found = faithfulness(drawn, [series()], config("masking"))
    assert len(found.curves["masking_gradient"]) == len(MASSES)
    area = 100 * np.trapezoid(found.curves["masking_gradient"], MASSES)
    assert found.metrics["faithfulness/masking_area_gradient"] == pytest.approx(area)
    gain = found.metrics["faithfulness/masking_area_random"] - area
    assert found.metrics["faithfulness/masking_gain_gradient"] == pytest.approx(gain)
    assert "faithfulness/masking_gain_random" not in found.metrics
    without = faithfulness(of_series(network), [series()], config("masking"))
    assert without.metrics == {}
    assert "masking was left out: only generated series" in without.notes[0]


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


def test_features_are_permuted_alike_at_all_times_and_samples():
    maps = torch.arange(5.0).expand(6, 8, 5)
    found = permuted({"gradient": maps, "random": torch.zeros(6, 8, 5)})
    assert sorted(found[0, 0].tolist()) == [0, 1, 2, 3, 4]
    assert torch.equal(found, found[:1, :1].expand_as(found))
    options = config("relevance", diff_random="feature_permuted")
    network = Net(40).eval()
    ours = faithfulness(of_series(network), [series()], options).metrics
    noise = faithfulness(of_series(network), [series()], config("relevance")).metrics
    assert ours["faithfulness/aup_random"] != noise["faithfulness/aup_random"]
    assert ours["faithfulness/aup_gradient"] == noise["faithfulness/aup_gradient"]


def test_padding_of_series_is_never_taken_away():
    valid = torch.arange(8) < torch.tensor([8, 5, 3, 8, 1, 2])[:, None]
    batch = replace(series(), valid=valid)
    removal = Removal(of_series(Net(40).eval()), batch, batch.y, config(), 0)
    maps = torch.rand(6, 8, 5, generator=numbers)
    for share, mask in zip(TENTHS[1:], removal._masks(maps, TENTHS[1:]), strict=True):
        assert not (mask & ~valid[..., None]).any()
        expected = [max(1, int(share * n * 5 + 1e-9)) for n in valid.sum(1).tolist()]
        assert mask.flatten(1).sum(1).tolist() == expected
