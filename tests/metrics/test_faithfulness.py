"""Order of removal, ROAD's imputation and weighted precision and recall against plain loops and closed forms."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from sklearn.preprocessing import minmax_scale

from xfeedback.metrics.faithfulness import area, blurred, removal_ranks, removed_count
from xfeedback.metrics.relevance import SHARES, most_salient, relevance_areas, scaled, weighted_precision_recall
from xfeedback.metrics.road import DIAGONAL, DIRECT, noisy_linear_imputation

numbers = torch.Generator().manual_seed(0)


@pytest.mark.parametrize("largest", [True, False])
def test_order_of_removal_equals_a_sorted_loop(largest):
    maps = torch.randint(0, 5, (20, 15), generator=numbers).double()
    valid = torch.rand(20, 15, generator=numbers) < 0.7
    found = removal_ranks(maps, valid, largest=largest)
    for row in range(20):
        places = [p for p in range(15) if valid[row, p]]
        order = sorted(places, key=lambda p, row=row: (-float(maps[row, p]) if largest else float(maps[row, p]), p))
        assert [int(found[row, p]) for p in order] == list(range(len(places)))
        assert all(found[row, p] >= len(places) for p in range(15) if not valid[row, p])


def test_counts_of_the_released_levels():
    n = torch.tensor([784])
    assert [int(removed_count(d, n)) for d in (0.0, 0.1, 0.5, 0.7, 0.9)] == [0, 78, 392, 548, 705]
    assert removed_count(0.01, torch.tensor([3, 1, 0])).tolist() == [1, 1, 0]


def test_area_of_a_constant_is_itself():
    levels = [d / 10 for d in range(10)]
    assert area(levels, [1.0] * 10) == pytest.approx(1, abs=1e-15)
    assert area(levels, [1 - d for d in levels]) == pytest.approx(1 - 0.45)


def test_blur_equals_scipy():
    x = torch.randn(2, 3, 16, 14, dtype=torch.float64, generator=numbers)
    expected = x.numpy()
    for axis in (2, 3):
        expected = gaussian_filter1d(expected, 5.0, axis=axis, radius=5, mode="mirror")
    np.testing.assert_allclose(blurred(x).numpy(), expected, atol=1e-12)


def dense(image: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """Each removed pixel is the weighted mean of its neighbours inside the image, by a dense linear solve."""
    places = {tuple(p): i for i, p in enumerate(np.argwhere(removed))}
    a, b = np.zeros((len(places), len(places))), np.zeros(len(places))
    for (row, column), i in places.items():
        for dr in (-1, 0, 1):
            for dc in (-1, 0, 1):
                r, c = row + dr, column + dc
                if (dr, dc) == (0, 0) or not (0 <= r < removed.shape[0] and 0 <= c < removed.shape[1]):
                    continue
                weight = DIAGONAL if dr and dc else DIRECT
                a[i, i] += weight
                if removed[r, c]:
                    a[i, places[r, c]] -= weight
                else:
                    b[i] += weight * image[r, c]
    solved = image.copy()
    solved[removed] = np.linalg.solve(a, b) if places else []
    return solved


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", ["scattered", "block"])
def test_imputation_equals_a_dense_solve(share, shape):
    x = torch.randn(3, 2, 12, 13, dtype=torch.float64, generator=numbers)
    maps = torch.rand(3, 12 * 13, generator=numbers)
    if shape == "block":
        maps = torch.arange(12.0 * 13).flip(0).expand(3, -1)
    removed = (removal_ranks(maps) < int(share * 156)).view(3, 12, 13)
    found = noisy_linear_imputation(x, removed, None, tolerance=1e-10)
    for b in range(3):
        for c in range(2):
            expected = dense(x[b, c].numpy(), removed[b].numpy())
            np.testing.assert_allclose(found[b, c].numpy(), expected, atol=1e-7)


def test_imputation_is_close_in_single_precision_and_its_noise_is_keyed():
    x = torch.rand(2, 1, 28, 28, generator=numbers)
    removed = torch.rand(2, 28, 28, generator=numbers) < 0.9
    found = noisy_linear_imputation(x, removed, None)
    for b in range(2):
        expected = dense(x[b, 0].double().numpy(), removed[b].numpy())
        np.testing.assert_allclose(found[b, 0].numpy(), expected, atol=1e-3)
    noisy = noisy_linear_imputation(x, removed, torch.Generator().manual_seed(0))
    again = noisy_linear_imputation(x, removed, torch.Generator().manual_seed(0))
    assert torch.equal(noisy, again)
    difference = (noisy - found)[removed[:, None]]
    assert difference.std().item() == pytest.approx(0.01, rel=0.1)
    assert torch.equal(noisy[~removed[:, None]], x[~removed[:, None]])


def test_nothing_removed_or_nothing_kept():
    x = torch.rand(1, 1, 5, 5, generator=numbers)
    nothing, everything = torch.zeros(1, 5, 5, dtype=torch.bool), torch.ones(1, 5, 5, dtype=torch.bool)
    assert torch.equal(noisy_linear_imputation(x, nothing, None), x)
    assert torch.equal(noisy_linear_imputation(x, everything, None), torch.zeros_like(x))


def loop(maps: np.ndarray, relevant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    precision, recall = [], []
    for s, g in zip(maps, relevant, strict=True):
        order = np.argsort(-s, kind="stable")
        rows = []
        for d in SHARES:
            mass, taken = 0.0, []
            for place in order:
                taken.append(place)
                mass += s[place]
                if mass >= d * s.sum() * (1 - 1e-12):
                    break
            hit = sum(s[p] for p in taken if g[p])
            rows.append((hit / mass, hit / s[g].sum()))
        precision.append([row[0] for row in rows])
        recall.append([row[1] for row in rows])
    return np.array(precision), np.array(recall)


def test_precision_and_recall_equal_a_loop():
    maps, relevant = torch.rand(8, 60, dtype=torch.float64, generator=numbers), torch.rand(8, 60) < 0.3
    found = weighted_precision_recall(maps, relevant)
    for ours, expected in zip(found, loop(maps.numpy(), relevant.numpy()), strict=True):
        np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("levels", [3, 10_000])
def test_top_sets_by_mass_equal_a_loop(levels):
    maps = torch.randint(0, levels, (8, 30), generator=numbers).double()
    maps[3] = 0
    shares = (0.0, *SHARES, 1.0)
    found = most_salient(maps, shares)
    for row, s in enumerate(maps.tolist()):
        order = sorted(range(30), key=lambda p, s=s: -s[p])
        for level, share in enumerate(shares):
            taken, mass = [], 0.0
            while mass < share * sum(s) * (1 - 1e-12):
                taken.append(order[len(taken)])
                mass += s[taken[-1]]
            assert found[level, row].nonzero().flatten().tolist() == sorted(taken)


def test_scaling_is_sklearns_and_makes_two_levels_binary():
    maps = torch.rand(4, 30, dtype=torch.float64, generator=numbers)
    np.testing.assert_allclose(scaled(maps).numpy(), minmax_scale(maps.numpy(), axis=1), rtol=1e-12)
    assert scaled(torch.tensor([[3.0, 1.0, 3.0], [2.0, 2.0, 2.0]])).tolist() == [[1, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    ("outside", "expected"),
    [(0.0, (0.8, 0.4, 0.8)), (0.5, (0.709454, 0.623889, 0.807843)), (0.25, (0.773901, 0.546111, 0.854823))],
)
def test_areas_of_two_level_maps_on_the_middle_box(outside, expected):
    """Known in closed form: min(1, q/d) and min(1, d/q) with q the box's share of the mass."""
    relevant = torch.zeros(50, 50, dtype=torch.bool)
    relevant[10:40, 10:40] = True
    maps = torch.where(relevant, 1.0, outside).double().flatten()[None]
    found = relevance_areas(*weighted_precision_recall(maps, relevant.flatten()[None]))
    assert found == pytest.approx(expected, abs=0.001)


def test_areas_of_noise_are_chance():
    relevant = torch.zeros(50, 50, dtype=torch.bool)
    relevant[10:40, 10:40] = True
    maps = torch.rand(100, 2500, dtype=torch.float64, generator=numbers)
    found = relevance_areas(*weighted_precision_recall(maps, relevant.flatten().expand(100, -1)))
    assert found == pytest.approx((0.288, 0.400, 0.288), abs=0.01)


def test_samples_without_mass_or_relevant_cells_do_not_count():
    maps = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.5, 0.0]])
    relevant = torch.tensor([[True, False, False], [True, False, False]])
    both = relevance_areas(*weighted_precision_recall(maps, relevant))
    assert both == relevance_areas(*weighted_precision_recall(maps[1:], relevant[1:]))
    precision, recall = weighted_precision_recall(maps[1:], ~relevant[1:] & relevant[1:])
    assert (precision == 0).all()
    assert recall.isnan().all()
