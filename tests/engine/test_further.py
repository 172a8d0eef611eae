"""Measures on demand: hand-worked grids, a site whose attention is known, and what is left out where it doesn't fit."""

import pytest
import torch
from torch import nn

from xfeedback.engine.further import further, randomised, top5
from xfeedback.engine.options import EvaluationConfig
from xfeedback.explain.scored import Explained
from xfeedback.models.gapnet import GapNetConfig, build
from xfeedback.models.lap import LAP, sites
from xfeedback.models.lap_options import PoolOptions
from xfeedback.models.surgery import extend
from xfeedback.types import Batch

draws = torch.Generator().manual_seed(0)
COLOURS = torch.eye(4)


class Colour(nn.Module):
    """Logits are the image's means by channel: the gradient of a class is one constant on its channel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 20 * (x * x).mean((2, 3))


def pictures(n: int = 12, size: int = 8) -> Batch:
    y = torch.arange(n) % 4
    x = 0.01 * torch.rand(n, 4, size, size, generator=draws) + COLOURS[y][:, :, None, None]
    mask = torch.zeros(n, size, size, dtype=torch.bool)
    mask[:, :4, :4] = True
    return Batch(x=x, y=y, index=torch.arange(n), mask=mask, annotated=torch.ones(n, dtype=torch.bool))


def measured(network: nn.Module, batch: Batch, *names: str, **options: object):
    config = EvaluationConfig(further=names, explainers=("gradient", "uniform"), **options)  # type: ignore[arg-type]
    explained = Explained(network=network.eval(), layer=None, baseline=None)
    return further(explained, [batch], config, network(batch.x).detach())


def test_top5():
    logits = torch.randn(50, 9, generator=draws)
    y = torch.randint(9, (50,), generator=draws)
    expected = sum(
        int(label) in row.argsort(descending=True)[:5].tolist() for row, label in zip(logits, y, strict=True)
    )
    assert top5(logits, y) == pytest.approx(2 * expected)
    assert top5(logits[:, :4], y % 4) == 100


def test_a_class_s_map_lies_in_its_own_cell():
    """The squared channel's gradient is large in the one cell of that colour; a uniform map has a quarter there."""
    found = measured(Colour(), pictures(), "grid_pointing", grids=7).metrics
    assert found["explanation/grid_pointing"] > 95
    assert found["explanation/grid_pointing_uniform"] == pytest.approx(25)


def test_a_grid_of_dead_maps_has_no_share():
    class Sure(Colour):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.detach()) + 0 * x.sum((1, 2, 3))[:, None]

    found = measured(Sure(), pictures(), "grid_pointing", grids=2).metrics
    assert set(found) == {"explanation/grid_pointing_uniform"}


def test_behind_a_slow_headline_the_others_keep_their_names():
    """The scores of maps without an ending are those of the first explainer, which takes too many passes for these."""
    network, batch = Colour().eval(), pictures()
    config = EvaluationConfig(further=("near", "grid_pointing"), explainers=("lime", "gradient", "uniform"), grids=1)
    explained = Explained(network=network, layer=None, baseline=None)
    found = further(explained, [batch], config, network(batch.x).detach()).metrics
    scores = ("pointing_near", "grid_pointing")
    assert set(found) == {f"explanation/{score}_{name}" for score in scores for name in ("gradient", "uniform")}


def test_grids_need_four_classes_and_a_network_for_any_size():
    batch = pictures()
    few = Batch(x=batch.x[:3], y=batch.y[:3], index=batch.index[:3])
    assert "fewer than 4 classes" in measured(Colour(), few, "grid_pointing").notes[0]
    fixed = nn.Sequential(nn.Flatten(), nn.Linear(256, 4, bias=False))
    with torch.no_grad():
        fixed[1].weight.copy_(COLOURS.repeat_interleave(64, 1))
    assert "takes one size of image" in measured(fixed, batch, "grid_pointing", grids=2).notes[0]


def test_localisation_at_other_resolutions_and_tolerances():
    found = measured(Colour(), pictures(56, 56), "near", "coarse", "pixels").metrics
    assert found["explanation/pointing_near_uniform"] == 100  # its first cell lies in the region
    assert found["explanation/inside_coarse_uniform"] == pytest.approx(100 * 4 / 28**2)
    assert found["explanation/pixel_ap_uniform"] == pytest.approx(100 * (16 / 56**2 + 1) / 2)
    assert found["explanation/best_iou_uniform"] == pytest.approx(100 * 16 / 56**2)
    assert {f"explanation/{name}" for name in ("pointing_coarse", "iou50_coarse", "pixel_ap", "best_iou")} <= set(found)


def test_samples_without_annotation_count_nowhere():
    batch = pictures()
    batch.annotated[:] = False  # type: ignore[index]
    assert measured(Colour(), batch, "near", "coarse", "pixels").metrics == {}


def test_confidence_falls_where_a_map_hides_the_class():
    batch = pictures()
    found = measured(Colour(), batch, "confidence").metrics
    before = Colour()(batch.x).softmax(1).amax(1)
    nothing = torch.tensor(0.25)  # a constant map is stretched to 0
    expected = 100 * float(((before - nothing) / before).mean())
    assert found["explanation/confidence_drop_uniform"] == pytest.approx(expected, rel=1e-5)
    assert found["explanation/confidence_increase_uniform"] == 0


def test_maps_of_random_weights_are_others_and_floors_stay():
    torch.manual_seed(3)
    network = build(GapNetConfig(width=4), (4, 16, 16), 4)
    state = torch.get_rng_state()
    found = measured(network, pictures(12, 16), "random_weights").metrics
    assert torch.equal(torch.get_rng_state(), state)
    assert abs(found["explanation/random_weights"]) < 60
    assert "explanation/random_weights_uniform" not in found  # constant maps have no ranks
    one, other = (randomised(network).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(one["head.weight"], network.state_dict()["head.weight"])


def test_weights_that_no_layer_draws_are_others_too():
    network = nn.ModuleDict(
        {
            "attention": nn.MultiheadAttention(4, 2),
            "normalised": nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)),
            "positions": nn.ParameterList([nn.Parameter(torch.arange(6.0).view(2, 3))]),
        }
    )
    for weight in network.parameters():
        nn.init.normal_(weight)
    other, again = randomised(network), randomised(network)
    for weight, new, same in zip(network.parameters(), other.parameters(), again.parameters(), strict=True):
        assert not torch.equal(weight, new)
        assert torch.equal(new, same)


@pytest.mark.parametrize("p", [1, 2])
def test_taking_attended_cells_away_costs_more_than_random_ones(p):
    """One cell of 16 holds all attention and all of the class: without it the logit is that of the others' mean."""
    network = nn.Sequential(LAP(4, PoolOptions(score_source="activation", merge="channel", score_act="identity", p=p)))
    network = nn.Sequential(network, nn.Flatten())
    layer = next(iter(sites(network).values()))
    with torch.no_grad():
        layer.raw_alpha.fill_(50.0)
    x = torch.zeros(3, 4, 3, 3)
    x[:, 1, 1, 2] = 2.0
    batch = Batch(x=x, y=torch.ones(3, dtype=torch.long), index=torch.arange(3))
    found = measured(network, batch, "inner").metrics
    assert found["faithfulness/inner_drop"] == pytest.approx(2.0, abs=1e-4)
    assert found["faithfulness/inner_drop_random"] <= 2.0
    assert layer.kept is None
    torch.testing.assert_close(network(x)[:, 1], torch.full((3,), 2.0), rtol=0, atol=1e-3)


def test_inner_faithfulness_of_a_changed_network_and_of_others():
    torch.manual_seed(0)
    network = build(GapNetConfig(width=4), (4, 16, 16), 4)
    assert "no attention pooling" in measured(network, pictures(12, 16), "inner").notes[0]
    extend(network, example=torch.zeros(1, 4, 16, 16))
    found = measured(network, pictures(12, 16), "inner").metrics
    assert set(found) == {"faithfulness/inner_drop", "faithfulness/inner_drop_random"}


def test_texts_have_top5_alone():
    config = EvaluationConfig(further=("top5", "near"))
    batch = Batch(x=torch.zeros(2, 5, dtype=torch.long), y=torch.tensor([0, 1]), index=torch.arange(2))
    explained = Explained(network=nn.Identity(), layer=None, baseline=None, kind="text")
    found = further(explained, [batch], config, torch.eye(2))
    assert found.metrics == {"acc/top5": 100}
    assert found.notes == ["evaluation.further: near was left out: it is for images"]


def test_options_are_checked():
    with pytest.raises(ValueError, match="different from each other"):
        EvaluationConfig(further=("near", "near"))
    with pytest.raises(ValueError, match="grids"):
        EvaluationConfig(grids=0)
