"""Faithfulness of explanations of series: cells against the box that carries the class, masking curves, padding."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.engine.test_faithfulness import Net, Y, config
from xfeedback.engine.faithfulness import faithfulness, permuted
from xfeedback.engine.removal import MASSES, TENTHS, Removal
from xfeedback.explain.scored import Explained
from xfeedback.types import Batch

numbers = torch.Generator().manual_seed(0)
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


def test_relevance_of_padded_series_is_that_of_the_series_alone():
    """Whatever stands in a map's padding has no mass: random maps would be worse there, and Diff better for all."""
    lengths, mask = (8, 5, 6, 8, 5, 7), series().mask
    valid = torch.arange(8) < torch.tensor(lengths)[:, None]
    batch = replace(series(), valid=valid, mask=mask & valid[..., None])
    maps = torch.rand(6, 8, 5, generator=numbers) + 0.5
    maps = torch.where(valid[..., None], maps, torch.rand(6, 8, 5, generator=numbers))
    found = Removal(of_series(Net(40)), batch, Y[:6], config(), 0).measured("relevance", maps)
    for row, length in enumerate(lengths):
        one = Batch(x=SERIES[row : row + 1, :length], y=Y[:1], index=Y[:1], mask=mask[row : row + 1, :length])
        alone = replace(of_series(Net(length * 5)), baseline=torch.zeros(length, 5))
        wanted = Removal(alone, one, Y[:1], config(), 0).measured("relevance", maps[row : row + 1, :length])
        for curve, values in wanted.items():
            torch.testing.assert_close(found[curve][row], values[0], rtol=1e-12, atol=0)


def test_samples_without_annotation_do_not_lower_the_relevance():
    """Their precision would be 0 whatever the map; an empty region, and one that does not count, are none."""
    whole = series()
    maps = torch.rand(6, 8, 5, generator=numbers)
    mask = whole.mask.index_fill(0, torch.tensor([1]), value=False)
    annotated = torch.tensor([True, True, False, True, True, True])
    batch = replace(whole, mask=mask, annotated=annotated)
    found = Removal(of_series(Net(40)), batch, Y[:6], config(), 0).measured("relevance", maps)
    every = Removal(of_series(Net(40)), whole, Y[:6], config(), 0).measured("relevance", maps)
    for curve, values in found.items():
        assert values.isnan().all(1).tolist() == [False, True, True, False, False, False]
        assert torch.equal(values[[0, 3, 4, 5]], every[curve][[0, 3, 4, 5]])


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
