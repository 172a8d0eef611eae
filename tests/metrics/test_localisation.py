import pytest
import torch

from xfeedback.metrics import mass_inside


def test_worked_share_of_a_ramp():
    """Values 0..99 on 10x10, the region is the cells of values 95-97 and 0-6: (95 + 96 + 97 + 21) / 4950."""
    maps = torch.arange(100.0).reshape(1, 10, 10)
    region = ((maps >= 95) & (maps <= 97)) | (maps <= 6)
    share, alive = mass_inside(maps, region)
    assert share.item() == pytest.approx(0.0624242, abs=1e-6)
    assert alive.tolist() == [True]


def test_equals_a_plain_loop():
    numbers = torch.Generator().manual_seed(0)
    maps = torch.rand(4, 3, 5, dtype=torch.float64, generator=numbers)
    region = torch.rand(4, 3, 5, generator=numbers) < 0.5
    found, _ = mass_inside(maps, region)
    for b in range(4):
        cells = [(i, j) for i in range(3) for j in range(5)]
        inside = sum(float(maps[b, i, j]) for i, j in cells if region[b, i, j])
        assert found[b].item() == pytest.approx(inside / sum(float(maps[b, i, j]) for i, j in cells), rel=1e-12)


def test_dead_maps_have_no_share_and_extremes_are_exact():
    maps = torch.stack([torch.zeros(2, 2), torch.ones(2, 2), torch.ones(2, 2)])
    region = torch.stack([torch.ones(2, 2), torch.ones(2, 2), torch.zeros(2, 2)]).bool()
    share, alive = mass_inside(maps, region)
    assert share.tolist() == [0, 1, 0]
    assert alive.tolist() == [False, True, True]
