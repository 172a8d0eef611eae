import numpy as np
import pytest

from xfeedback.data import annotates, load
from xfeedback.data.annotation import box
from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.options import AnnotationConfig
from xfeedback.data.sets.digits import Config
from xfeedback.errors import UserError

ON, OFF = DecoyConfig(name="corner"), DecoyConfig(name="none")


def digits(tmp_path, decoy=ON, **annotation):
    config = Config(annotation=AnnotationConfig(**annotation))
    return load(config, decoy, seed=0, root=tmp_path, cache=tmp_path), annotates(config, decoy)


@pytest.mark.parametrize(
    ("decoy", "object_mask", "expected"),
    [
        (ON, "auto", True),
        (OFF, "auto", False),
        (DecoyConfig(), "auto", False),
        (OFF, "center", True),
        (OFF, "foreground", True),
        (ON, "complement", True),
    ],
)
def test_what_annotates(tmp_path, decoy, object_mask, expected):
    task, foretold = digits(tmp_path, decoy, object_mask=object_mask)
    assert task.has_annotations is foretold is expected
    assert (next(iter(task.train_loader(8, "cpu", seed=0))).mask is not None) is expected


def test_complement_needs_decoys(tmp_path):
    with pytest.raises(UserError, match="add decoy=corner"):
        digits(tmp_path, OFF, object_mask="complement")


def test_boxes():
    np.testing.assert_array_equal(np.flatnonzero(box(24, 32, 32).any(1)), np.arange(4, 28))
    np.testing.assert_array_equal(np.flatnonzero(box(20, 28, 28).any(0)), np.arange(4, 24))
    assert box(16, 32, 32).sum() == 256
    with pytest.raises(UserError, match="center_box=32"):
        box(32, 32, 32)


def test_box_of_the_digits_and_a_box_of_ones_own(tmp_path):
    task, _ = digits(tmp_path, object_mask="center")
    assert task.frame is not None
    assert task.frame.sum() == 24 * 24
    task, _ = digits(tmp_path, object_mask="center", center_box=8)
    assert task.frame is not None
    assert task.frame.sum() == 64


@pytest.fixture
def masks(tmp_path):
    """One mask per digit of the official set: a pixel whose place tells the index; the first ten are empty."""
    index = np.arange(1797)
    array = np.zeros((1797, 32, 32), dtype=np.uint8)
    array[index, index // 32 % 32, index % 32] = 200
    array[:10] = 0
    path = tmp_path / "masks.npz"
    np.savez_compressed(path, train=array, test=array)
    return path, array


def test_masks_from_a_file_follow_the_official_index(tmp_path, masks):
    path, array = masks
    task, foretold = digits(tmp_path, OFF, object_mask="file", file=str(path))
    assert foretold
    for loader in (task.train_loader(600, "cpu", seed=0), task.test_loaders(600, "cpu")["test"]):
        for batch in loader:
            assert batch.mask is not None
            np.testing.assert_array_equal(batch.mask.numpy(), array[batch.index.numpy()] > 0)
            np.testing.assert_array_equal(batch.annotated, batch.index >= 10)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"train": np.zeros((1797, 32, 32), bool)}, "'train' and 'test'"),
        ({"train": np.zeros((1796, 32, 32), bool), "test": np.zeros((1797, 32, 32), bool)}, r"\(1797, 32, 32\)"),
        ({"train": np.zeros((1797, 8, 8), bool), "test": np.zeros((1797, 32, 32), bool)}, "array 'train'"),
        ({"train": np.zeros((1797, 32, 32)), "test": np.zeros((1797, 32, 32), bool)}, "whole numbers"),
        ({"train": np.array([None]), "test": np.array([None])}, "cannot read the masks"),
    ],
)
def test_masks_that_do_not_fit(tmp_path, arrays, message):
    np.savez_compressed(tmp_path / "m.npz", **arrays)
    with pytest.raises(UserError, match=message) as caught:
        digits(tmp_path, object_mask="file", file=str(tmp_path / "m.npz"))
    assert "\n" not in str(caught.value)


def test_damaged_and_missing_mask_files(tmp_path, masks):
    path, _ = masks
    path.write_bytes(path.read_bytes()[:500])
    np.save(tmp_path / "m.npy", np.zeros(3))
    (tmp_path / "empty.npz").touch()
    for name in ("masks.npz", "nowhere.npz", "m.npy", "empty.npz"):
        with pytest.raises(UserError, match=f"file=.*{name}"):
            digits(tmp_path, object_mask="file", file=str(tmp_path / name))


@pytest.mark.parametrize("wrong", [{"object_mask": "file"}, {"file": "x.npz"}, {"center_box": 0}])
def test_refused_options(wrong):
    with pytest.raises(ValueError, match=r"file|center_box"):
        AnnotationConfig(**wrong)
