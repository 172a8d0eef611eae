import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from sklearn.metrics import jaccard_score, precision_score, recall_score

from xfeedback.metrics import (
    WrongReasons,
    expectation,
    half_height_iou,
    mass_inside,
    peak_precision_recall,
    pixel_distance,
    pointing,
)

numbers = torch.Generator().manual_seed(0)
MAPS = torch.rand(7, 9, 13, dtype=torch.float64, generator=numbers)
REGION = torch.rand(7, 9, 13, generator=numbers) < 0.4


@pytest.fixture
def ramp():
    """Values 0..99 on 10x10; the region is the cells of values 95-97 and 0-6."""
    maps = torch.arange(100.0).reshape(1, 10, 10)
    return maps, ((maps >= 95) & (maps <= 97)) | (maps <= 6)


def test_worked_numbers_of_a_ramp(ramp):
    maps, region = ramp
    share, alive = mass_inside(maps, region)
    assert share.item() == pytest.approx((95 + 96 + 97 + 21) / 4950, abs=1e-6)
    assert share.item() == pytest.approx(0.0624242, abs=1e-6)
    assert alive.tolist() == [True]
    precision, recall = peak_precision_recall(maps, region)
    assert precision.item() == pytest.approx(0.6, abs=1e-6)
    assert recall.item() == pytest.approx(0.3, abs=1e-6)
    assert half_height_iou(maps, region).item() == pytest.approx(0.0526316, abs=1e-6)
    assert pointing(maps, region).tolist() == [0]
    reasons = WrongReasons()
    reasons.add(maps, region)
    assert reasons.percent() == pytest.approx(30, abs=1e-6)


def test_share_equals_a_plain_loop():
    found, _ = mass_inside(MAPS, REGION)
    for b in range(len(MAPS)):
        cells = [(i, j) for i in range(9) for j in range(13)]
        inside = sum(float(MAPS[b, i, j]) for i, j in cells if REGION[b, i, j])
        assert found[b].item() == pytest.approx(inside / sum(float(MAPS[b, i, j]) for i, j in cells), rel=1e-12)


@pytest.mark.parametrize("levels", [None, 3])
def test_peaks_equal_numpys_percentile_and_sklearn(levels):
    """With three levels most values are tied with the percentile."""
    maps = MAPS if levels is None else (MAPS * levels).floor()
    precision, recall = peak_precision_recall(maps, REGION)
    for b, (m, o) in enumerate(zip(maps.flatten(1).numpy(), REGION.flatten(1).numpy(), strict=True)):
        peaks = m >= np.percentile(m, 95)
        assert precision[b].item() == pytest.approx(precision_score(o, peaks), rel=1e-12)
        assert recall[b].item() == pytest.approx(recall_score(o, peaks), rel=1e-12)


@pytest.mark.parametrize("n", [2, 20, 21, 32, 101])
def test_peaks_begin_at_the_percentile_whatever_the_size(n):
    maps = torch.rand(1, 1, n, dtype=torch.float64, generator=numbers)
    everything = torch.ones(1, 1, n, dtype=torch.bool)
    expected = (maps.numpy() >= np.percentile(maps.numpy(), 95)).sum() / n
    assert peak_precision_recall(maps, everything)[1].item() == pytest.approx(expected)


def test_iou_equals_sklearn():
    found = half_height_iou(MAPS, REGION)
    for b, (m, o) in enumerate(zip(MAPS.flatten(1).numpy(), REGION.flatten(1).numpy(), strict=True)):
        level = (m - m.min()) / (m.max() - m.min())
        assert found[b].item() == pytest.approx(jaccard_score(o, level >= 0.5), rel=1e-12)


def test_pointing_takes_the_first_of_equal_maxima():
    maps = torch.tensor([[[1.0, 5.0], [5.0, 0.0]]]).expand(2, 2, 2)
    region = torch.tensor([[[False, True], [False, False]], [[False, False], [True, False]]])
    assert pointing(maps, region).tolist() == [1, 0]


def test_mean_normalised_distance_equals_scipy_and_a_loop():
    distance = pixel_distance(REGION)
    found, _ = expectation(MAPS, distance)
    for b in range(len(MAPS)):
        d = distance_transform_edt(~REGION[b].numpy()) / np.hypot(9, 13)
        np.testing.assert_allclose(distance[b], d, atol=1e-6)
        m = MAPS[b].numpy()
        assert found[b].item() == pytest.approx((m * d).sum() / m.sum(), abs=1e-6)


def test_distances_do_not_depend_on_how_many_are_computed_at_once(monkeypatch):
    whole = pixel_distance(REGION)
    monkeypatch.setattr("xfeedback.metrics.localisation._MOST", 9 * 13 * 13 * 2)
    assert torch.equal(pixel_distance(REGION), whole)
    monkeypatch.setattr("xfeedback.metrics.localisation._MOST", 1)
    assert torch.equal(pixel_distance(REGION), whole)


def test_wrong_reason_ratio_equals_a_loop_over_images():
    """One threshold for all, images without a wrong region left out; batches of any size give the same."""
    wrong = REGION.clone()
    wrong[3] = False
    reasons, parts = WrongReasons(), WrongReasons()
    reasons.add(MAPS, wrong)
    for rows in (slice(0, 2), slice(2, 2), slice(2, 7)):
        parts.add(MAPS[rows], wrong[rows])
    levels = [m / m.max() for m in MAPS.numpy()]
    tau = np.mean([level.mean() for level in levels])
    ratios = [(n > tau)[w].mean() for n, w in zip(levels, wrong.numpy(), strict=True) if w.any()]
    assert len(ratios) == 6
    assert reasons.percent() == pytest.approx(100 * np.mean(ratios), rel=1e-12)
    assert parts.percent() == pytest.approx(reasons.percent(), rel=1e-12)


def test_no_wrong_region_no_ratio():
    reasons = WrongReasons()
    assert reasons.percent() is None
    reasons.add(MAPS, torch.zeros_like(REGION))
    assert reasons.percent() is None


def test_dead_maps_have_no_share_and_extremes_are_exact():
    maps = torch.stack([torch.zeros(2, 2), torch.ones(2, 2), torch.ones(2, 2)])
    region = torch.stack([torch.ones(2, 2), torch.ones(2, 2), torch.zeros(2, 2)]).bool()
    share, alive = mass_inside(maps, region)
    assert share.tolist() == [0, 1, 0]
    assert alive.tolist() == [False, True, True]
    assert half_height_iou(maps, region).tolist() == [0, 0, 0]  # a constant map marks nothing
    assert peak_precision_recall(maps, region)[1].tolist() == [1, 1, 0]
