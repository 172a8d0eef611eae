"""The distance-aware loss against scipy's exact transform, plain loops and numbers worked by hand."""

import itertools

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_cdt, distance_transform_edt

from xfeedback.losses import distance_aware, distance_to_region, pool_mask
from xfeedback.metrics import mass_inside


def inner(size: int, first: int, last: int) -> torch.Tensor:
    region = torch.zeros(1, size, size, dtype=torch.bool)
    region[:, first : last + 1, first : last + 1] = True
    return region


def random_regions(n: int, h: int, w: int) -> torch.Tensor:
    """Masks from nearly empty to nearly full, none empty."""
    numbers = torch.Generator().manual_seed(0)
    density = torch.linspace(0.01, 0.9, n)[:, None, None]
    region = torch.rand(n, h, w, generator=numbers) < density
    region[~region.flatten(1).any(1), h // 2, 0] = True
    return region


def test_worked_distances():
    eight, seven = distance_to_region(inner(8, 1, 6))[0], distance_to_region(inner(7, 1, 5))[0]
    assert eight[0, 0].item() == pytest.approx(0.125, abs=1e-7)
    assert eight[0, 3].item() == pytest.approx(0.0883883, abs=1e-7)
    assert seven[6, 6].item() == pytest.approx(0.1428571, abs=1e-7)
    assert seven[3, 0].item() == pytest.approx(0.1010153, abs=1e-7)
    assert distance_to_region(inner(8, 1, 6), metric="cityblock", norm="none")[0, 7, 7] == 2
    assert (eight[1:7, 1:7] == 0).all()


@pytest.mark.parametrize("size", [(8, 8), (14, 14), (5, 9)])
def test_euclidean_distance_equals_scipys_exact_transform(size):
    """Distances are roots of whole numbers: the squares are exact, the root is rounded to float32."""
    region = random_regions(200, *size)
    expected = np.stack([distance_transform_edt(~one) for one in region.numpy()])
    found = distance_to_region(region, norm="none").numpy()
    assert found.dtype == np.float32
    np.testing.assert_array_equal((found.astype(np.float64) ** 2).round(), (expected**2).round())
    np.testing.assert_allclose(found, expected, rtol=np.finfo(np.float32).eps, atol=0)
    diagonal = distance_to_region(region).numpy()
    np.testing.assert_allclose(diagonal, expected / np.hypot(*size), rtol=2e-7, atol=0)


@pytest.mark.parametrize("size", [(8, 8), (14, 14)])
def test_cityblock_distance_equals_scipys_transform(size):
    region = random_regions(200, *size)
    expected = np.stack([distance_transform_cdt(~one, metric="taxicab") for one in region.numpy()])
    np.testing.assert_array_equal(distance_to_region(region, metric="cityblock", norm="none").numpy(), expected)
    found = distance_to_region(region, metric="cityblock").numpy()
    np.testing.assert_allclose(found, expected / sum(size), rtol=2e-7, atol=0)


@pytest.mark.parametrize("metric", ["euclid", "cityblock"])
def test_norm_max_makes_the_farthest_cell_one(metric):
    region = random_regions(20, 8, 8)
    region[0] = True
    found = distance_to_region(region, metric=metric, norm="max")
    raw = distance_to_region(region, metric=metric, norm="none")
    assert (found[0] == 0).all()
    torch.testing.assert_close(found[1:].amax((1, 2)), torch.ones(19))
    torch.testing.assert_close(found * raw.amax((1, 2), keepdim=True), raw)


@pytest.mark.parametrize("norm", ["diag", "max", "none"])
def test_empty_region_has_distance_zero_and_leaves_the_others_alone(norm):
    region = random_regions(4, 8, 8)
    alone = distance_to_region(region[1:], norm=norm)
    region[0] = False
    found = distance_to_region(region, norm=norm)
    assert (found[0] == 0).all()
    torch.testing.assert_close(found[1:], alone, rtol=0, atol=0)


def map_of(*cells: tuple[int, int, float]) -> torch.Tensor:
    cam = torch.zeros(1, 8, 8, dtype=torch.float64)
    for row, column, value in cells:
        cam[0, row, column] = value
    return cam


COUNTS = torch.tensor([True])


def test_worked_losses():
    distance = distance_to_region(inner(8, 1, 6))
    near, _ = distance_aware(map_of((0, 0, 3.0), (3, 3, 1.0)), distance, COUNTS)
    assert near.item() == pytest.approx(0.09375, abs=1e-7)
    edge, _ = distance_aware(map_of((0, 3, 3.0), (3, 3, 1.0)), distance, COUNTS)
    assert edge.item() == pytest.approx(0.0662913, abs=1e-7)


def test_loss_equals_a_plain_double_loop():
    cam = torch.rand(6, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    distance = distance_to_region(random_regions(6, 5, 7))
    found, _ = distance_aware(cam, distance, torch.ones(6, dtype=torch.bool))
    for b in range(6):
        moment = sum(float(cam[b, i, j]) * float(distance[b, i, j]) for i in range(5) for j in range(7))
        assert found[b].item() == pytest.approx(moment / float(cam[b].sum()), rel=1e-12)


def test_gradient_is_distance_minus_loss_over_mass():
    cam = torch.rand(4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    distance = distance_to_region(random_regions(4, 8, 8)).double()
    loss, _ = distance_aware(cam, distance, torch.ones(4, dtype=torch.bool))
    (found,) = torch.autograd.grad(loss.sum(), cam)
    expected = (distance - loss[:, None, None]) / cam.sum((1, 2), keepdim=True)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-12, atol=1e-14)


def test_mass_inside_costs_nothing_and_moving_outward_costs_more():
    distance = distance_to_region(inner(8, 3, 4))
    inside, _ = distance_aware(map_of((3, 4, 2.0), (4, 4, 5.0)), distance, COUNTS)
    assert inside.item() == 0
    outward = [distance_aware(map_of((3, column, 1.0)), distance, COUNTS)[0].item() for column in (4, 5, 6, 7)]
    assert all(far > near for near, far in itertools.pairwise(outward))


def test_scaling_the_map_changes_nothing():
    cam = torch.rand(3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    distance, counts = distance_to_region(random_regions(3, 8, 8)), torch.ones(3, dtype=torch.bool)
    (one, _), (ten, _) = (distance_aware(scale * cam, distance, counts) for scale in (1, 1e4))
    torch.testing.assert_close(one, ten, rtol=1e-10, atol=0)


def test_samples_that_do_not_count_and_dead_maps_add_exactly_nothing():
    """Sample 0 is not annotated, 1 has a dead map, 2 has an empty region, 3 counts."""
    cam = torch.rand(4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    cam[1] = 0
    cam.requires_grad_()
    region = random_regions(4, 8, 8)
    region[2] = False
    counts = torch.tensor([False, True, True, True]) & region.flatten(1).any(1)
    loss, alive = distance_aware(cam, distance_to_region(region), counts)
    assert alive.tolist() == [False, False, False, True]
    assert loss[:3].tolist() == [0, 0, 0]
    (grad,) = torch.autograd.grad(loss.sum(), cam)
    assert (grad[:3] == 0).all()
    assert torch.isfinite(grad).all()
    assert grad[3].abs().max() > 0


def test_permuting_the_batch_permutes_the_losses_and_a_sample_alone_has_the_same():
    cam = torch.rand(6, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    region, counts = random_regions(6, 8, 8), torch.ones(6, dtype=torch.bool)
    whole, _ = distance_aware(cam, distance_to_region(region), counts)
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    permuted, _ = distance_aware(cam[order], distance_to_region(region[order]), counts)
    torch.testing.assert_close(permuted, whole[order], rtol=1e-12, atol=0)
    alone, _ = distance_aware(cam[2:3], distance_to_region(region[2:3]), counts[2:3])
    torch.testing.assert_close(alone, whole[2:3], rtol=1e-12, atol=0)


def test_energy_is_the_loss_with_a_blind_distance():
    """With D = 1 outside the region the expected distance is the share of mass outside (Rao et al. 2023)."""
    cam = torch.rand(5, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    region = random_regions(5, 8, 8)
    blind, _ = distance_aware(cam, (~region).double(), torch.ones(5, dtype=torch.bool))
    share, _ = mass_inside(cam, region)
    torch.testing.assert_close(blind, 1 - share, rtol=1e-12, atol=1e-12)


def test_any_rule_marks_every_touched_cell():
    mask = torch.zeros(2, 32, 32, dtype=torch.bool)
    mask[0, 0, 31] = mask[0, 13, 6] = True
    expected = torch.zeros(2, 8, 8, dtype=torch.bool)
    expected[0, 0, 7] = expected[0, 3, 1] = True
    assert torch.equal(pool_mask(mask, (8, 8)), expected)


def test_area_rule_needs_half_of_the_cell():
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[0, 0, 0] = mask[0, 0, 1] = True  # half of the first 2x2 cell
    mask[0, 0, 2] = True  # a quarter of the second
    assert pool_mask(mask, (4, 4), "area50")[0, 0].tolist() == [True, False, False, False]


@pytest.mark.parametrize(("pixels", "grid", "patch"), [(224, 14, 16), (32, 8, 4)])
@pytest.mark.parametrize("corner", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_corner_patch_covers_exactly_one_cell(pixels, grid, patch, corner):
    mask = torch.zeros(1, pixels, pixels, dtype=torch.bool)
    row, column = (side * (pixels - patch) for side in corner)
    mask[0, row : row + patch, column : column + patch] = True
    found = pool_mask(mask, (grid, grid))
    assert found.sum() == 1
    assert found[0, corner[0] * (grid - 1), corner[1] * (grid - 1)]
