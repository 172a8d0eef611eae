"""Anyone's series as arrays, of several lengths."""

import numpy as np
import pytest
import torch

from xfeedback.config import from_mapping
from xfeedback.data import config_class, load
from xfeedback.data.decoy import DecoyConfig
from xfeedback.errors import UserError


def loaded(folder, **options):
    values = {"name": "series_arrays", "file": str(folder / "a.npz"), **options}
    config = from_mapping(config_class("series_arrays"), values, "dataset")
    return load(config, DecoyConfig(name="none"), seed=0, root=folder, cache=folder / "cache")


def test_masks_are_stretched_with_their_series(tmp_path):
    """A marked step holds a 1 and all others a 0, so after both were stretched it is marked where the value is high."""
    lengths = [9, 5, 3, 9, 5, 3, 9, 5, 3, 9]
    x, mask = np.full((10, 9, 2), np.nan), np.zeros((10, 9, 2), dtype=np.uint8)
    for row, length in enumerate(lengths):
        x[row, :length] = 0
        x[row, length - 2, row % 2] = mask[row, length - 2, row % 2] = 1
    labels = np.array([k % 2 for k in range(10)])
    np.savez(tmp_path / "a.npz", x=x, y=labels, mask=mask, wrong=1 - mask)
    task = loaded(tmp_path, unequal="stretch", val_least=2)
    seen = 0
    for part in (task.train, task.val, task.test):
        for values, right, wrong in zip(part.x, part.mask, part.wrong, strict=True):
            assert (right == (values > 0.5)).sum() >= right.numel() - 1  # a value of a half is as near to either
            assert right.any()
            assert bool(right[values == 1].all())
            assert torch.equal(wrong, ~right)
            seen += 1
    assert seen == 10


@pytest.mark.parametrize(("name", "shape"), [("image_arrays", (20, 8, 8)), ("series_arrays", (20, 8))])
def test_annotated_without_masks_is_refused(tmp_path, name, shape):
    np.savez(tmp_path / "a.npz", x=np.zeros(shape, dtype=np.uint8), y=np.arange(20) % 2, annotated=np.ones(20))
    config = config_class(name)(name=name, file=str(tmp_path / "a.npz"))
    with pytest.raises(UserError, match="'annotated' says whose mask counts, and the file has no 'mask'"):
        load(config, DecoyConfig(name="none"), seed=0, root=tmp_path, cache=tmp_path)
