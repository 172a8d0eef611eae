from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.test_device import make
from xfeedback.data import controls, load
from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.options import AnnotationConfig
from xfeedback.data.sets.digits import Config
from xfeedback.engine.spec import RunSpec
from xfeedback.errors import UserError
from xfeedback.losses import pool_mask
from xfeedback.methods import feedback_class
from xfeedback.models import config_class

ON = DecoyConfig(name="corner")
KINDS = ("shuffled", "shuffled_in_class", "torus", "random_cells")
rng = np.random.default_rng(3)
MASKS = rng.random((60, 12, 20)) < 0.2
INDEX = rng.permutation(200)[:60]


def digits(seed=0, decoy=ON, limit=None, **annotation):
    config = Config(annotation=AnnotationConfig(**annotation), limit_train=limit)
    return load(config, decoy, seed=seed, root=Path("nowhere"), cache=Path("nowhere"))


def train(task, batch_size=2000):
    return task.train_loader(batch_size, "cpu", seed=0).batch(0, 0)


def told(control, masks, y=None, annotated=None, seed=0, cell=4):
    n = len(masks[0])
    y = np.zeros(n, int) if y is None else y
    annotated = np.ones(n, bool) if annotated is None else annotated
    config = AnnotationConfig(control=control, control_cell=cell)
    return controls.told(config, seed, y=y, index=np.arange(n), annotated=annotated, masks=masks)[0]


def test_torus_covers_every_cell_alike_and_keeps_the_area():
    """10,000 boxes of 6x6 cells on 8x8: each cell is covered 36/64 of the time, within 4 standard deviations."""
    box = np.zeros((1, 32, 32), bool)
    box[:, 4:28, 4:28] = True
    (moved,) = told("torus", [box.repeat(10_000, 0)])
    cells = pool_mask(torch.from_numpy(moved), (8, 8)).float()
    assert (cells.sum((1, 2)) == 36).all()
    share, spread = 36 / 64, (36 / 64 * 28 / 64 / 10_000) ** 0.5
    assert (cells.mean(0) - share).abs().max() < 4 * spread
    assert len(np.unique(moved.reshape(len(moved), -1), axis=0)) == 64


@pytest.mark.parametrize(("height", "step"), [(12, 4), (10, 2), (9, 1)])
def test_torus_steps_divide_the_side(height, step):
    mask = np.zeros((500, height, 8), bool)
    mask[:, 0, 0] = True
    (moved,) = told("torus", [mask])
    assert sorted(set(np.argwhere(moved)[:, 1].tolist())) == list(range(0, height, step))


def test_torus_equals_numpys_roll():
    found = controls.shifted(MASKS, INDEX, 4, seed=1)
    rolls = [np.roll(m, (d, r), (0, 1)) for m in MASKS for d in (0, 4, 8) for r in range(0, 20, 4)]
    of = np.array(rolls).reshape(60, 15, 12, 20)
    assert all((of[i] == found[i]).all((1, 2)).any() for i in range(60))


def test_random_cells_keep_how_many_cells_and_spread_them_alike():
    mask = np.zeros((10_000, 8, 8), bool)
    mask[:, 0, 0:6] = True  # touches two cells of four pixels
    (moved,) = told("random_cells", [mask])
    cells = moved.reshape(-1, 2, 4, 2, 4)
    assert (cells.all((2, 4)) == cells.any((2, 4))).all()
    grid = cells.any((2, 4))
    assert (grid.sum((1, 2)) == 2).all()
    assert np.abs(grid.mean(0) - 0.5).max() < 4 * (0.25 / 10_000) ** 0.5


@pytest.mark.parametrize("in_class", [False, True])
def test_partners(in_class):
    y = np.arange(60) % 7
    groups = y if in_class else np.zeros(60, int)
    annotated = np.arange(60) % 5 != 0
    rows = controls.partners(groups, annotated, seed=0)
    assert sorted(rows) == list(range(60))
    assert (rows[~annotated] == np.flatnonzero(~annotated)).all()
    assert (rows[annotated] != np.flatnonzero(annotated)).all()
    assert annotated[rows[annotated]].all()
    assert (groups[rows] == groups).all()
    assert in_class or (y[rows] != y).any()
    assert (controls.partners(groups, annotated, seed=1) != rows).any()


@pytest.mark.parametrize("control", KINDS)
def test_right_and_wrong_evidence_move_together(control):
    """With the complement as right evidence both stay complements (cells: where they are whole)."""
    masks = MASKS.repeat(4, 1).repeat(4, 2)
    right, wrong = told(control, [masks, ~masks], y=np.arange(60) % 3)
    assert (right == ~wrong).all()
    assert not (right == masks).all()


@pytest.mark.parametrize("control", ["torus", "random_cells"])
def test_draws_follow_the_official_index(control):
    """Whichever images are in the set, each one's draw stays."""
    change = {"torus": controls.shifted, "random_cells": controls.cells_permuted}[control]
    whole = change(MASKS, INDEX, 4, 0)
    np.testing.assert_array_equal(change(MASKS[7:30], INDEX[7:30], 4, 0)[:5], whole[7:12])
    assert (change(MASKS, INDEX, 4, 1) != whole).any()


def test_fractions_are_nested_and_exact():
    annotated = np.arange(60) % 3 != 0  # 40 of them
    kept = [controls.thinned(annotated, INDEX, f, seed=0) for f in (0.01, 0.1, 0.5, 1.0)]
    assert [k.sum() for k in kept] == [1, 4, 20, 40]
    assert all((small <= large).all() for small, large in pairwise(kept))
    assert (kept[2] != controls.thinned(annotated, INDEX, 0.5, seed=1)).any()


def test_noise_rules():
    mask = np.zeros((2, 4, 6), bool)
    mask[0, [0, 1, 1, 3], [2, 1, 4, 2]] = True
    box = controls.noisy(mask, "box")
    expected = np.zeros_like(mask)
    expected[0, 0:4, 1:5] = True
    np.testing.assert_array_equal(box, expected)
    half = controls.noisy(mask, "half")
    assert np.argwhere(half).tolist() == [[0, 0, 2], [0, 1, 1]]
    wrong = controls.noisy(mask, "wrong")
    assert sorted(map(tuple, np.argwhere(wrong[0]).tolist())) == [(1, 5), (2, 5), (3, 1), (3, 4)]
    assert not wrong[1].any()


def test_half_rounds_up():
    assert [controls.noisy(np.ones((1, 1, n), bool), "half").sum() for n in range(6)] == [0, 1, 1, 2, 2, 3]


@pytest.mark.parametrize("control", KINDS)
@pytest.mark.parametrize("object_mask", ["foreground", "complement"])
def test_training_is_told_and_evaluation_is_not(control, object_mask):
    true, task = digits(object_mask=object_mask), digits(object_mask=object_mask, control=control)
    assert task.stamps == (f"annotation.control={control}",)
    before, after = train(true), train(task)
    assert torch.equal(before.x, after.x)  # the images, with their real decoys
    assert before.mask is not None
    assert after.mask is not None
    assert after.wrong is not None
    assert before.wrong is not None
    assert (before.mask != after.mask).any(2).any(1).float().mean() > 0.3
    assert (before.wrong != after.wrong).any(2).any(1).float().mean() > 0.3
    assert not (after.mask & after.wrong).any()
    if object_mask == "complement":
        assert torch.equal(after.mask, ~after.wrong)
    for view, loader in task.test_loaders(600, "cpu").items():
        a, b = loader.batch(0, 0), true.test_loaders(600, "cpu")[view].batch(0, 0)
        assert torch.equal(a.x, b.x)
        assert a.mask is not None
        assert b.mask is not None
        assert torch.equal(a.mask, b.mask)
        assert view == "clean" or torch.equal(a.wrong, b.wrong)  # type: ignore[arg-type]


def test_shuffled_patches_are_other_images_patches():
    plain, task = train(digits(object_mask="foreground")), train(digits(object_mask="foreground", control="shuffled"))
    assert plain.wrong is not None
    assert task.wrong is not None
    assert torch.equal(plain.wrong.sum(0), task.wrong.sum(0))
    assert torch.equal(plain.wrong.sum((1, 2)), task.wrong.sum((1, 2)))


def test_a_moved_box_stays_in_the_frame_when_the_image_is_cropped():
    """The annotation of an image is the same in every epoch, though crop and flip are not."""
    task = make(object_mask="center")
    moved = make(object_mask="center")
    config = AnnotationConfig(object_mask="center", control="torus")
    from xfeedback.data.build import _as_told

    moved.train = _as_told(config, 0, moved.train, task.frame.numpy(), task.patches)  # type: ignore[union-attr]
    loader = moved.train_loader(103, "cpu", seed=0)
    by_index = []
    for epoch in (0, 1):
        batch = loader.batch(epoch, 0)
        by_index.append(batch.mask[batch.index.argsort()])  # type: ignore[index]
    assert torch.equal(*by_index)
    assert (by_index[0] != task.frame).any()


def test_thinned_annotations_reach_the_batch():
    task = digits(object_mask="foreground", fraction=0.1)
    batch = train(task)
    assert batch.annotated is not None
    assert batch.annotated.sum() == 120
    assert task.test.annotated is not None
    assert task.test.annotated.all()
    assert task.stamps == ("annotation.fraction=0.1",)


@pytest.mark.parametrize("control", ["shuffled", "shuffled_in_class"])
def test_shuffling_a_common_box_is_refused(control):
    with pytest.raises(UserError, match=r"changes nothing where all images share the box.*torus"):
        digits(object_mask="center", control=control)


def test_a_control_without_annotations_is_refused():
    with pytest.raises(UserError, match=r"annotation\.control=torus needs annotations"):
        digits(decoy=DecoyConfig(name="none"), control="torus")


@pytest.mark.parametrize("wrong", [{"fraction": 0.0}, {"fraction": 1.5}, {"control_cell": 0}])
def test_refused_options(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AnnotationConfig(**wrong)


def spec(method, **annotation):
    feedback = {} if method == "plain" else {method: feedback_class(method).Config()}
    dataset = Config(annotation=AnnotationConfig(**annotation))
    return RunSpec(dataset=dataset, decoy=ON, methods=feedback, model=config_class("gapnet")()).settled()


def test_methods_that_read_no_annotations_are_one_cell_whatever_training_is_told():
    """A sweep over controls trains plain once; the others have a cell for each."""
    assert spec("plain", control="torus").run == spec("plain", fraction=0.5, control_cell=2).run == spec("plain").run
    assert "plain reads no annotations" in spec("plain", control="torus").notices[0]
    assert spec("xbl", control="torus").run != spec("xbl").run
    assert spec("xbl", control="torus").notices == ()
