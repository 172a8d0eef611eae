"""The sets with real annotations, on the real files."""

import numpy as np
import pytest
import torch
from PIL import Image

from xfeedback.data import config_class, load
from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.loader import balanced_order
from xfeedback.data.options import Places
from xfeedback.data.sets import bccd, camvid, magnetic_tile
from xfeedback.errors import UserError

SETS = ("magnetic_tile", "bccd", "camvid")
OFF = DecoyConfig(name="none")


@pytest.fixture(scope="module")
def tasks(shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    where = {"root": folder / "none", "extra_roots": [shared_data], "cache": folder / "cache"}

    def task(name, decoys=OFF, **options):
        return load(config_class(name)(**options), decoys, seed=0, **where)

    return task


def splits(task):
    return {name: getattr(task, name) for name in ("train", "val", "test")}


def counts(task, what):
    return {
        name: torch.bincount(what(split), minlength=task.n_classes).tolist() for name, split in splits(task).items()
    }


def test_magnetic_tiles(tasks):
    task = tasks("magnetic_tile")
    assert task.class_names == ("Blowhole", "Break", "Crack", "Fray", "Free", "Uneven")
    by_class = np.array(list(counts(task, lambda s: s.y).values()))
    assert by_class.sum(0).tolist() == [86, 64, 43, 24, 220, 77]
    assert by_class.sum(1).tolist() == [308, 103, 103]
    assert (np.abs(by_class[0] - 0.6 * by_class.sum(0)) <= 1).all()
    marked = np.array(list(counts(task, lambda s: s.y[s.annotated]).values())).sum(0)
    assert marked.tolist() == [86, 64, 43, 24, 0, 74]
    assert task.in_shape == (1, 64, 64)
    assert "subset" in task.stamps
    assert task.balanced_accuracy


def test_median_mask_shares_of_the_tiles(tasks):
    """Masks are not lost: their shares of the image are at least those of the full-size masks, and near them."""
    task = tasks("magnetic_tile", size=224)
    whole = list(splits(task).values())
    mask, y, marked = (torch.cat([getattr(s, n) for s in whole]) for n in ("mask", "y", "annotated"))
    shares = [100 * mask[(y == k) & marked].float().mean((1, 2)).median().item() for k in (0, 1, 2, 3, 5)]
    for found, published in zip(shares, (0.13, 0.86, 0.33, 14.9, 24.3), strict=True):
        assert published * 0.95 <= found <= published * 1.25 + 0.1


def test_split_seeds_move_the_tiles_and_the_runs_seed_does_not(tasks):
    one, two = tasks("magnetic_tile"), tasks("magnetic_tile", split_seed=18)
    assert one.fingerprint == two.fingerprint
    assert not torch.equal(one.test.index, two.test.index)
    indices = torch.cat([s.index for s in splits(two).values()])
    assert indices.sort().values.tolist() == list(range(514))


def test_a_tile_and_its_mask(tasks, shared_data):
    task = tasks("magnetic_tile", size=100)
    paths = [
        p for k in task.class_names for p in sorted((shared_data / "MagneticTile" / f"MT_{k}" / "Imgs").glob("*.jpg"))
    ]
    row = int(torch.nonzero(task.test.y == 3)[0])
    path = paths[int(task.test.index[row])]
    assert path.parts[-3] == "MT_Fray"
    pixels = np.asarray(Image.open(path).resize((100, 100), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(task.test.x[row, 0], pixels)
    whole = np.asarray(Image.open(path.with_suffix(".png"))) >= 128
    places = np.argwhere(whole)
    assert task.test.mask is not None
    small = task.test.mask[row]
    assert all(small[i * 100 // whole.shape[0], j * 100 // whole.shape[1]] for i, j in places[::50])
    assert whole.mean() <= small.float().mean() <= whole.mean() + 0.1


def test_every_epoch_of_the_tiles_has_all_classes_alike(tasks):
    loader = tasks("magnetic_tile").train_loader(32, "cpu", seed=0)
    y = torch.cat([batch.y for batch in loader])
    assert len(y) == 308
    assert torch.bincount(y).max() - torch.bincount(y).min() <= 1


def test_platelets(tasks):
    task = tasks("bccd")
    assert {n: c[1] for n, c in counts(task, lambda s: s.y).items()} == {"train": 117, "val": 45, "test": 39}
    assert {n: len(s) for n, s in splits(task).items()} == {"train": 205, "val": 87, "test": 72}
    for split in splits(task).values():
        assert torch.equal(split.annotated, split.y == 1)
    assert task.train.mask is not None
    share = 100 * task.train.mask[task.train.y == 1].float().mean((1, 2)).median()
    assert 0.7 < share < 1.5
    assert "subset" not in task.stamps


def test_cars(tasks):
    task = tasks("camvid")
    y = counts(task, lambda s: s.y)
    assert y["test"] == [117, 20]
    assert np.add(y["train"], y["val"]).tolist() == [226, 113]
    for split in splits(task).values():
        assert torch.equal(split.annotated, split.y == 1)
        assert split.mask is not None
        assert (split.mask[split.y == 1].float().mean((1, 2)) >= camvid.LEAST).all()


def test_no_street_scene_has_tiles_on_both_sides(shared_data, tmp_path):
    """The tiles' order is that of the frames; those of a frame are neighbours in it."""
    source = camvid.read(camvid.Config(), Places(root=shared_data, cache=tmp_path))
    frames = sorted((shared_data / "CamVid" / "train").glob("*.png"))
    frame_of = [n for n, frame in enumerate(frames) for _ in camvid._tiles(frame)]
    assert source.val is not None
    of_train, of_val = ({frame_of[i] for i in part.index} for part in (source.train, source.val))
    assert not of_train & of_val
    assert len(of_val) == 6


@pytest.mark.parametrize("name", SETS)
def test_methods_get_masks_without_decoys_and_views_with_them(tasks, name):
    batch = tasks(name).train_loader(16, "cpu", seed=0).batch(0, 0)
    assert batch.mask is not None
    assert batch.wrong is None
    assert batch.annotated is not None
    assert batch.annotated.any()
    task = tasks(name, DecoyConfig(name="corner"))
    assert set(task.test_loaders(8, "cpu")) == {"random", "clean", "conflict", "correlated"}
    batch = task.train_loader(16, "cpu", seed=0).batch(0, 0)
    assert batch.wrong is not None
    assert batch.wrong.sum((1, 2)).tolist() == [16] * 16
    assert not (batch.mask & batch.wrong).any()  # type: ignore[operator]


@pytest.mark.parametrize("module", [magnetic_tile, bccd, camvid])
def test_nowhere(module, tmp_path):
    with pytest.raises(UserError, match=r"no .* in .*nothing.*github.com/.*XFEEDBACK_DATA") as caught:
        module.read(module.Config(), Places(root=tmp_path / "nothing", cache=tmp_path))
    assert "\n" not in str(caught.value)


def test_balanced_orders():
    y = torch.tensor([0] * 50 + [1] * 7 + [2] * 3)
    generator = torch.Generator().manual_seed(0)
    orders = [balanced_order(y, generator) for _ in range(60)]
    for order in orders:
        assert torch.bincount(y[order]).tolist() == [20, 20, 20]
        times = torch.bincount(order, minlength=60)
        assert times[:50].max() == 1
        assert sorted(times[50:57].tolist()) == [2] + [3] * 6
        assert sorted(times[57:].tolist()) == [6, 7, 7]
    assert torch.stack([torch.bincount(o, minlength=60) for o in orders]).sum(0)[:50].min() > 8  # 24 on average
    y = torch.tensor([0, 0, 1, 1, 1])
    odd = {tuple(torch.bincount(y[balanced_order(y, generator)]).tolist()) for _ in range(60)}
    assert odd == {(2, 3), (3, 2)}
