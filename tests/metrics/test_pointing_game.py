"""Other looks at where maps look, against hand-worked numbers, plain loops, scipy and scikit-learn."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import jaccard_score

from xfeedback.metrics.localisation import pointing
from xfeedback.metrics.pointing_game import best_iou, confidence_change, on_coarse_grid, pointing_near, rank_correlation

draws = torch.Generator().manual_seed(0)
MAPS = torch.rand(6, 9, 7, generator=draws, dtype=torch.float64)
REGION = torch.rand(6, 9, 7, generator=draws) > 0.7


def test_a_peak_may_lie_a_margin_outside():
    maps, region = torch.zeros(1, 10, 10), torch.zeros(1, 10, 10, dtype=torch.bool)
    maps[0, 2, 2] = 1.0
    region[0, 5, 6] = True  # 3 rows and 4 columns away
    assert pointing_near(maps, region, 0.5) == 1
    assert pointing_near(maps, region, 0.49) == 0
    assert pointing_near(MAPS, REGION, 0.0).equal(pointing(MAPS, REGION))
    assert pointing_near(MAPS, torch.zeros_like(REGION), 1.0).sum() == 0


def test_the_coarse_grid_takes_areas():
    maps = torch.arange(16.0).view(1, 4, 4)
    region = torch.tensor([[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]).bool()[None]
    cells, inside = on_coarse_grid(maps, region, 2)
    assert cells.tolist() == [[[2.5, 4.5], [10.5, 12.5]]]
    assert inside.tolist() == [[[True, False], [False, False]]]
    _, small = on_coarse_grid(maps, region & (maps == 15), 2)
    assert small.tolist() == [[[False, False], [False, True]]]
    assert not on_coarse_grid(maps, torch.zeros_like(region), 2)[1].any()


def test_the_best_threshold_equals_trying_all():
    maps = (MAPS * 5).round()  # with equal values
    found = best_iou(maps, REGION)
    for one, region, value in zip(maps, REGION, found, strict=True):
        tried = [jaccard_score(region.flatten(), (one >= t).flatten()) for t in one.unique()]
        assert value == pytest.approx(max(tried))


def test_rank_correlation_is_spearmans():
    first, second = (MAPS * 4).round(), MAPS.flip(0)
    expected = [spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(rank_correlation(first, second), expected, rtol=1e-12)
    assert rank_correlation(torch.ones(1, 3, 3), MAPS[:1, :3, :3]).isnan().all()


def test_confidence_by_hand():
    drop, increase = confidence_change(torch.tensor([0.8, 0.5]), torch.tensor([0.6, 0.9]))
    torch.testing.assert_close(drop, torch.tensor([0.25, 0.0]))
    assert increase.tolist() == [0, 1]
