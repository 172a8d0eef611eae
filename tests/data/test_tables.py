"""Boxes in reduced images against the full-size way."""

import numpy as np
import pytest
from PIL import Image

from xfeedback.data import images, regions, tables
from xfeedback.errors import UserError


@pytest.mark.parametrize("size", [8, 13, 64, 300])
def test_masks_of_boxes_are_those_of_full_size(size):
    rng = np.random.default_rng(size)
    height, width = 218, 178
    corner, extent = rng.uniform(0, (width, height), (40, 2)), rng.uniform(0.1, 90, (40, 2))
    boxes = np.concatenate([corner, corner + extent], 1)
    rows = rng.integers(0, 12, 40)
    found = tables.masks(boxes, rows, 13, (height, width), size)
    for row in range(13):
        full = regions.boxes([tuple(box) for box in boxes[rows == row]], "table")(height, width)
        np.testing.assert_array_equal(found[row], images.touched(full, size))
    assert not found[12].any()


@pytest.mark.parametrize("box", [(-9, -9, 0, 5), (178, 3, 190, 9), (5, 5, 5, 9)])
def test_a_box_without_a_pixel_marks_nothing(box):
    assert not tables.masks(np.array([box], dtype=float), np.array([0]), 1, (218, 178), 16).any()


def test_an_image_of_another_size_is_refused_by_name(tmp_path):
    Image.new("RGB", (9, 8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png is 9x8, and the images of Faces are 8x8"):
        tables.part(
            [tmp_path / "a.png"],
            np.zeros(1, dtype=np.int64),
            None,
            stated=(8, 8),
            size=8,
            channels=3,
            store=tmp_path / "cache" / "faces",
            what="Faces",
        )
