"""The released explanation loss against numbers of the released program; OpenCV is the reference for its edges."""

import cv2
import numpy as np
import pytest
import torch

from xfeedback.losses.released_distance import edge_distances, resized_mask, run_edges

SQUARE = np.zeros((14, 14), dtype=bool)
SQUARE[4:10, 5:11] = True


def wrong(*cells: int) -> torch.Tensor:
    region = torch.zeros(1, 196, dtype=torch.bool)
    region[0, list(cells)] = True
    return region.view(1, 14, 14)


def test_edges_are_the_cell_before_each_run_and_its_last_cell():
    expected = sorted(14 * row + column for row in range(4, 10) for column in (4, 10))
    assert run_edges(SQUARE).tolist() == expected


def test_edges_are_opencvs_for_runs_of_any_length():
    numbers = np.random.default_rng(0)
    for density in (0.05, 0.2, 0.5, 0.9):
        region = numbers.random((14, 14)) < density
        column = np.array([[int(cell)] for row in region for cell in row], dtype=np.uint8)
        fired = [index for index, value in enumerate(cv2.Canny(column, 0.01, 0.2).ravel()) if value]
        assert run_edges(region).tolist() == fired


@pytest.mark.parametrize(
    ("cells", "distance"), [((0,), 60), ((13,), 47), ((182,), 46), ((195,), 59), ((0, 13), 53.5), ((), 0)]
)
def test_worked_distances(cells, distance):
    found = edge_distances(torch.ones(1, 14, 14), wrong(*cells), [run_edges(SQUARE)])
    assert found.tolist() == [distance]


def test_only_attended_cells_count():
    cam = torch.ones(1, 14, 14)
    cam[0, 0, 0] = 0
    assert edge_distances(cam, wrong(0, 13), [run_edges(SQUARE)]).tolist() == [47]
    assert edge_distances(cam, wrong(0), [run_edges(SQUARE)]).tolist() == [0]


def test_an_object_without_edges_costs_nothing():
    """The released program stops with an error here."""
    assert run_edges(np.ones((14, 14), dtype=bool)).tolist() == []
    assert edge_distances(torch.ones(1, 14, 14), wrong(0), [np.array([], dtype=np.int64)]).tolist() == [0]


def test_there_is_no_gradient():
    cam = torch.rand(2, 14, 14, requires_grad=True)
    found = edge_distances(cam, torch.cat([wrong(0), wrong()]), [run_edges(SQUARE)] * 2)
    assert found.tolist() == [60, 0]
    assert 0.1 * found.mean().item() == pytest.approx(3.0, rel=1e-7)
    assert not found.requires_grad


def test_masks_are_resized_as_opencv_resizes_grey_images():
    masks = torch.rand(20, 32, 32, generator=torch.Generator().manual_seed(0)) < 0.4
    for size in ((8, 8), (14, 14), (40, 48)):
        found = resized_mask(masks, size)
        for mask, grid in zip(masks.numpy(), found.numpy(), strict=True):
            grey = cv2.resize(255 * mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
            clear = np.abs(grey - 100) > 1e-3
            np.testing.assert_array_equal(grid[clear], (grey > 100)[clear])
