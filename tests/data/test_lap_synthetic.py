"""The drawn set against its own description."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from xfeedback.data import load
from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.sets.lap_synthetic import CLASSES, COLOURS, Config, draw

SMALL = {"train": 40, "val": 12, "test": 20}


def task(tmp_path, decoy="none", seed=0, **options):
    decoys = DecoyConfig(name=decoy, code="hue", size=8, p=0.95)
    return load(Config(**{**SMALL, **options}), decoys, seed=seed, root=tmp_path, cache=tmp_path)


def test_each_image_has_one_coloured_patch_and_three_grey_ones_as_bright():
    y = np.arange(12) % 4
    x, mask = draw(y, np.random.default_rng(0), distractors=3, noise=0.0)
    values = x / 255
    for image in range(12):
        patches, count = ndimage.label(values[image].mean(0) > 0.4)
        assert count == 4
        assert {int((patches == i).sum()) for i in range(1, 5)} == {64}
        colours = {tuple(np.round(values[image][:, patches == i].mean(1), 1)) for i in range(1, 5)}
        assert colours == {(0.5, 0.5, 0.5), tuple(np.round(COLOURS[y[image]], 1))}
        np.testing.assert_allclose(values[image][:, mask[image]].mean(1), COLOURS[y[image]], atol=0.01)
        assert mask[image].sum() == 64
        assert not mask[image][:8].any()
        assert not mask[image][:, -8:].any()
    np.testing.assert_allclose(COLOURS.mean(1), 0.5)


def test_sizes_classes_and_masks(tmp_path):
    found = task(tmp_path)
    assert (len(found.train), len(found.val), len(found.test)) == (40, 12, 20)
    assert (found.in_shape, found.class_names, found.name) == ((3, 64, 64), CLASSES, "lap_synthetic")
    assert np.unique(found.test.y, return_counts=True)[1].tolist() == [5, 5, 5, 5]
    assert not set(found.train.index.tolist()) & set(found.test.index.tolist())
    batch = next(iter(found.test_loaders(20, "cpu")["test"]))
    assert batch.mask.flatten(1).sum(1).eq(64).all()
    assert batch.annotated.all()


def test_images_depend_on_their_own_seed_alone(tmp_path):
    assert task(tmp_path, seed=0).fingerprint == task(tmp_path, seed=1).fingerprint
    assert task(tmp_path).fingerprint != task(tmp_path, draw_seed=1).fingerprint
    assert torch.equal(task(tmp_path).train.x, task(tmp_path).train.x)


def test_markers_stand_beside_the_patches_and_tell_the_class_in_training(tmp_path):
    found = task(tmp_path, "corner", train=4000, val=4, test=400)
    batch = next(iter(found.train_loader(4000, "cpu", seed=0)))
    assert not (batch.wrong & batch.mask).any()
    assert batch.mask.flatten(1).sum(1).eq(64).all()
    assert batch.wrong.flatten(1).sum(1).eq(64).all()
    shown = found.train.shown["correlated"]
    assert float((shown == found.train.y).float().mean()) == pytest.approx(0.95 + 0.05 / 4, abs=0.01)
    views = found.test_loaders(400, "cpu")
    assert list(views) == ["random", "clean", "conflict", "correlated"]
    assert float((found.test.shown["random"] == found.test.y).float().mean()) == pytest.approx(0.25, abs=0.07)


@pytest.mark.parametrize("options", [{"train": 3}, {"distractors": 16}, {"noise": -0.1}, {"draw_seed": -1}])
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Config(**options)
