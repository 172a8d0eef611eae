"""The maps of attention pooling: mass is kept, one-hot weights lead to the right pixel, labels play no part."""

from typing import get_args

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from tests.models.test_surgery import choose_first
from xfeedback.engine.options import Explainer
from xfeedback.explain.lap_maps import METHODS, Recorded, enlarged_mass, flow_map, flowed, lap_map, recorded, spread
from xfeedback.explain.scored import Explained
from xfeedback.models.lap import LAP, SiteMaps, sites, window_weights
from xfeedback.models.lap_options import PoolOptions
from xfeedback.models.rows import SOFTPOOL
from xfeedback.models.surgery import extend
from xfeedback.models.window import Window

draws = torch.Generator().manual_seed(0)
X = torch.randn(2, 3, 64, 48, generator=draws)
WINDOWS = [
    Window(kernel=2, stride=2),
    Window(kernel=3, stride=2, padding=1),
    Window(kernel=2, stride=2, ceil_mode=True),
    None,
]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    network = resnet18(num_classes=4)
    extend(network, example=X[:1])
    return network.eval()


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_flow_keeps_its_mass_and_equals_a_loop(window):
    scores = torch.rand(2, 1, 7, 5, dtype=torch.float64, generator=draws)
    weights = window_weights(scores, 3.0, window)
    flow = torch.rand(2, *weights.shape[3:], dtype=torch.float64, generator=draws)
    found = flowed(flow, SiteMaps(scores=scores, weights=weights, window=window))
    assert found.shape == (2, 7, 5)
    torch.testing.assert_close(found.sum((1, 2)), flow.sum((1, 2)), rtol=1e-12, atol=0)
    expected = torch.zeros(2, 7, 5, dtype=torch.float64)
    for u in range(flow.shape[1]):
        for v in range(flow.shape[2]):
            for place in range(weights.shape[2]):
                i, j = divmod(place, 5 if window is None else window.kernel)
                if window is not None:
                    i, j = u * window.stride - window.padding + i, v * window.stride - window.padding + j
                if 0 <= i < 7 and 0 <= j < 5:
                    expected[:, i, j] += flow[:, u, v] * weights[:, 0, place, u, v]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_spread_is_the_transpose_of_cutting_into_windows():
    window, x = WINDOWS[1], torch.rand(2, 7, 5, dtype=torch.float64, generator=draws)
    assert window is not None
    cells = window.cells(x)
    shares = torch.rand(cells.shape, dtype=torch.float64, generator=draws)
    torch.testing.assert_close((cells * shares).sum(), (x * spread(shares, window, (7, 5))).sum())


def test_one_hot_weights_lead_to_one_pixel():
    """Global weight at (1, 0) of a 2x2 map, each window's weight at its last cell: pixel (3, 1) of 4x4."""
    fine = torch.zeros(1, 1, 4, 4)
    fine[..., 1::2, 1::2] = 1.0
    coarse = torch.zeros(1, 1, 2, 2)
    coarse[..., 1, 0] = 1.0
    window = Window(kernel=2, stride=2)
    first = SiteMaps(scores=fine, weights=window_weights(fine, 1e3, window), window=window)
    last = SiteMaps(scores=coarse, weights=window_weights(coarse, 1e3, None), window=None)
    chain = [Recorded(name="a", shortcut=False, maps=first), Recorded(name="b", shortcut=False, maps=last)]
    for start in ("global_weights", "class_score"):
        flow = flow_map(chain, torch.tensor([0]), 1, start=start, path="main")
        assert flow.nonzero().tolist() == [[0, 3, 1]]
        assert flow.sum() == pytest.approx(1)


@pytest.mark.parametrize("upsample", ["nearest", "bilinear"])
def test_enlarging_keeps_mass(upsample):
    mass = torch.rand(2, 5, 3, generator=draws)
    torch.testing.assert_close(enlarged_mass(mass, (11, 12), upsample).sum((1, 2)), mass.sum((1, 2)))
    assert enlarged_mass(mass, (5, 3)) is mass


@pytest.mark.parametrize("method", METHODS)
def test_maps_have_the_size_of_the_image_and_follow_the_prediction(network, method):
    found = lap_map(network, X, method)
    assert found.shape == (2, 64, 48)
    assert (found >= 0).all()
    assert torch.isfinite(found).all()
    predicted = network(X).argmax(1)
    torch.testing.assert_close(lap_map(network, X, method, target=predicted), found, rtol=0, atol=0)
    other = lap_map(network, X, method, target=(predicted + 1) % 4)
    assert torch.equal(other, found) == (method == "flow")


@pytest.mark.parametrize("path", ["main", "shortcut", "mean"])
@pytest.mark.parametrize("start", ["global_weights", "class_score"])
def test_flow_sums_to_1_along_every_path(network, path, start):
    found = lap_map(network, X, "flow", path=path, start=start)
    torch.testing.assert_close(found.sum((1, 2)), torch.ones(2), rtol=1e-5, atol=0)


def test_paths_differ_by_their_sites(network):
    main, shortcut = (lap_map(network, X, "flow", path=path) for path in ("main", "shortcut"))
    assert not torch.equal(main, shortcut)
    names = [site.name for site in recorded(network, X)[0]]
    assert names[0] == "maxpool"
    assert names[-1] == "avgpool"
    assert names.index("layer2.0.conv2.0") < names.index("layer2.0.downsample.0.0")


def test_first_cells_lead_to_the_grid_of_the_strides(network):
    torch.manual_seed(1)
    chosen = resnet18(num_classes=4)
    extend(chosen, "strides", example=X[:1])
    choose_first(chosen)
    sitemaps, _ = recorded(chosen.eval(), X)
    flow = flow_map(sitemaps, torch.zeros(2, dtype=torch.long), 4, start="global_weights", path="main")
    assert flow.shape == (2, 16, 12)
    rows, columns = flow[0].nonzero().T.unique(dim=1)
    assert set(rows.tolist()) == {0, 8}
    assert set(columns.tolist()) == {0, 8}


def test_geometric_and_arithmetic_means(network):
    maps, _ = recorded(network, X)
    own = [torch.nn.functional.interpolate(s.maps.scores, (64, 48), mode="nearest-exact") for s in maps]
    at = network(X).argmax(1)
    chosen = torch.stack([scores[torch.arange(2), at] for scores in own])
    torch.testing.assert_close(lap_map(network, X, "mean"), chosen.mean(0))
    torch.testing.assert_close(lap_map(network, X, "geomean"), chosen.prod(0) ** (1 / 8), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(lap_map(network, X, "last"), chosen[-1])


def test_one_score_map_serves_all_classes():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), LAP(4, PoolOptions()), nn.Flatten(), nn.Linear(4, 9)).eval()
    assert len(sites(network)) == 1
    torch.testing.assert_close(
        lap_map(network, X, "last", target=torch.tensor([0, 1])),
        lap_map(network, X, "last", target=torch.tensor([7, 8])),
    )


def test_scores_of_channels_belong_to_no_class():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), LAP(4, SOFTPOOL), nn.Flatten(), nn.Linear(4, 4)).eval()
    assert torch.equal(
        lap_map(network, X, "last", target=torch.tensor([0, 1])),
        lap_map(network, X, "last", target=torch.tensor([2, 3])),
    )


def test_a_network_without_sites_is_refused():
    with pytest.raises(ValueError, match="ResNet has no attention pooling"):
        lap_map(resnet18().eval(), X)


def test_the_maps_are_explainers_like_any_other(network):
    """Offered where there is attention pooling, left out with a reason elsewhere."""
    names = [f"lap_{method}" for method in METHODS]
    explained = Explained(network=network, layer="layer4", baseline=torch.zeros(3, 64, 48))
    assert explained.usable(names, X) == (tuple(names), ())
    maps, logits = explained.maps(names, X)
    assert logits.shape == (2, 4)
    for method in METHODS:
        torch.testing.assert_close(maps[f"lap_{method}"], lap_map(network, X, method), rtol=0, atol=0)
    plain = Explained(network=resnet18().eval(), layer="layer4", baseline=torch.zeros(3, 64, 48))
    kept, notes = plain.usable(["lap_flow", "gradient"], X)
    assert kept == ("gradient",)
    assert notes == ("lap_flow was left out: ResNet has no attention pooling; method=lap puts it in",)
    assert set(names) <= set(get_args(Explainer))


def test_flow_by_hand_prefers_the_rim_of_an_object():
    """An object of 3x3 cells scores 1: windows that hold 4, 2, 2 and 1 of its cells get a quarter of the mass each."""
    fine = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    fine[..., :3, :3] = 1.0
    coarse = torch.ones(1, 1, 2, 2, dtype=torch.float64)
    window = Window(kernel=2, stride=2)
    first = SiteMaps(scores=fine, weights=window_weights(fine, 1e3, window), window=window)
    last = SiteMaps(scores=coarse, weights=window_weights(coarse, 1e3, None), window=None)
    chain = [Recorded(name="a", shortcut=False, maps=first), Recorded(name="b", shortcut=False, maps=last)]
    expected = [[1, 1, 2, 0], [1, 1, 2, 0], [2, 2, 4, 0], [0, 0, 0, 0]]
    for start in ("global_weights", "class_score"):
        flow = flow_map(chain, torch.tensor([0]), 1, start=start, path="main")
        assert (16 * flow[0]).tolist() == expected
