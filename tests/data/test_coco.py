import json

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.draw import polygon2mask

from xfeedback.data import coco, load
from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.options import Places
from xfeedback.data.sets.coco import Config, read
from xfeedback.errors import UserError

ZEBRA, TRAIN, CAT = 24, 7, 17
rng = np.random.default_rng(0)


def compressed(runs):
    """COCO's text for run lengths, written from the format's description."""
    text = ""
    for position, run in enumerate(runs):
        value = run - (runs[position - 2] if position > 2 else 0)
        while True:
            bits, value = value & 31, value >> 5
            done = value == (-1 if bits & 16 else 0)
            text += chr(48 + (bits if done else bits | 32))
            if done:
                break
    return text


def runs_of(mask):
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat.astype(int))) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    return [0, *runs] if flat[0] else runs


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_run_lengths_plain_and_compressed(share):
    mask = rng.random((37, 53)) < share
    runs = runs_of(mask)
    for counts in (runs, compressed(runs)):
        found = coco.run_lengths({"counts": counts, "size": [37, 53]}, "f", (37, 53))
        np.testing.assert_array_equal(found, mask)


def test_run_lengths_by_hand():
    """A 2x3 mask with its second column set: columns first, background first. '3' is 3, '2' is 2."""
    expected = [[False, True, False], [False, True, False]]
    assert coco.run_lengths({"counts": [2, 2, 2], "size": [2, 3]}, "f", (2, 3)).tolist() == expected
    assert coco.run_lengths({"counts": "222", "size": [2, 3]}, "f", (2, 3)).tolist() == expected


@pytest.mark.parametrize("size", [(3, 2), (2, 4)])
def test_run_lengths_of_another_image(size):
    with pytest.raises(UserError, match="run lengths of 6 pixels"):
        coco.run_lengths({"counts": [2, 2, 2], "size": [2, 3]}, "f", size)


def test_outlines_differ_from_scikit_image_at_most_on_the_edge():
    outline = [10.0, 5.0, 50.0, 20.0, 30.0, 55.0, 12.0, 40.0]
    found = coco.polygons([outline], (60, 64))
    oracle = polygon2mask((60, 64), np.array(outline).reshape(-1, 2)[:, ::-1])
    inner = oracle & np.roll(oracle, 1, 0) & np.roll(oracle, -1, 0) & np.roll(oracle, 1, 1) & np.roll(oracle, -1, 1)
    outer = oracle | np.roll(oracle, 1, 0) | np.roll(oracle, -1, 0) | np.roll(oracle, 1, 1) | np.roll(oracle, -1, 1)
    assert (found >= inner).all()
    assert (found <= outer).all()
    two = coco.polygons([outline, [0, 0, 3, 0, 3, 3, 0, 3]], (60, 64))
    assert two[1, 1]
    assert (two >= found).all()


def write_coco(root, n=6, size=(40, 48)):
    """A tiny folder in the official layout: zebras, trains, both, a cat; ids in descending order in the file."""
    pictures, objects = [], []
    (root / "annotations").mkdir(parents=True)
    (root / "train2014").mkdir()
    kinds = [[ZEBRA]] * n + [[TRAIN]] * n + [[ZEBRA, TRAIN], [CAT]]
    order = rng.permutation(len(kinds))
    for number, kind in zip((100 + order).tolist(), kinds, strict=True):
        name = f"COCO_train2014_{number:012d}.jpg"
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        Image.new("RGB", (size[1], size[0]), colour).save(root / "train2014" / name, quality=95)
        pictures.append({"id": number, "file_name": name, "height": size[0], "width": size[1]})
        for position, category in enumerate([*kind, kind[0], CAT]):
            left = 4 + 16 * position
            outline = {"segmentation": [[left, 8, left + 10, 8, left + 10, 30, left, 30]], "bbox": [left, 8, 10, 22]}
            if position == 1 and len(kind) == 1:  # a crowd
                mask = np.zeros(size, bool)
                mask[32:38, 20:30] = True
                outline = {"segmentation": {"counts": compressed(runs_of(mask)), "size": list(size)}, "iscrowd": 1}
            objects.append({"id": len(objects), "image_id": number, "category_id": category, **outline})
    names = {ZEBRA: "zebra", TRAIN: "train", CAT: "cat"}
    content = {
        "images": sorted(pictures, key=lambda p: -p["id"]),
        "annotations": objects,
        "categories": [{"id": i, "name": name} for i, name in names.items()],
    }
    (root / "annotations" / "instances_train2014.json").write_text(json.dumps(content))
    return content


@pytest.fixture
def places(tmp_path):
    return Places(root=tmp_path / "data", cache=tmp_path / "cache")


SMALL = {"per_class": (3, 1, 2), "size": 20, "augment": "none"}


def test_classes_splits_and_masks(places):
    content = write_coco(places.root / "coco")
    found = read(Config(**SMALL), places)
    assert found.class_names == ("zebra", "train")
    assert [len(p.y) for p in (found.train, found.val, found.test)] == [6, 2, 4]
    assert [np.bincount(p.y).tolist() for p in (found.train, found.val, found.test)] == [[3, 3], [1, 1], [2, 2]]
    assert found.stamps == ("per_class=[3, 1, 2]",)
    assert found.mean == (0.485, 0.456, 0.406)
    by_kind = {
        c: sorted({o["image_id"] for o in content["annotations"] if o["category_id"] == c}) for c in (ZEBRA, TRAIN)
    }
    alone = [sorted(set(by_kind[a]) - set(by_kind[b])) for a, b in ((ZEBRA, TRAIN), (TRAIN, ZEBRA))]
    order = alone[0] + alone[1]  # the set's order: by class, then by COCO's number
    for part in (found.train, found.val, found.test):
        for row, position in enumerate(part.index):
            path = places.root / "coco" / "train2014" / f"COCO_train2014_{order[position]:012d}.jpg"
            pixels = np.asarray(Image.open(path).convert("RGB").resize((20, 20), Image.Resampling.BILINEAR))
            np.testing.assert_array_equal(part.x[row], pixels.transpose(2, 0, 1))
    mask = found.train.mask[0]  # type: ignore[index]
    inside = np.argwhere(mask)
    assert mask[6:14, 3].all()  # the outline: columns 4 to 14 of 48, rows 8 to 30 of 40
    assert mask[17, 10]  # the crowd: columns 20 to 30, rows 32 to 38
    assert not mask[6:14, 16:].any()  # the cat is no evidence
    assert len(inside) < 120


def test_decoys_on_coco_have_all_views(places):
    write_coco(places.root / "coco")
    decoys = DecoyConfig(name="corner", code="hue", size=4)
    task = load(Config(**SMALL), decoys, seed=0, root=places.root, cache=places.cache)
    assert task.name == "decoy_coco"
    batch = task.train_loader(6, "cpu", seed=0).batch(0, 0)
    assert batch.mask is not None
    assert batch.wrong is not None
    assert batch.annotated is not None
    assert batch.annotated.all()
    assert not (batch.mask & batch.wrong).any()
    assert set(task.test_loaders(4, "cpu")) == {"random", "clean", "conflict", "correlated"}


def test_released_decoys_tell_nothing_about_the_class(places):
    """The training patch differs from image to image, also within a class; the test set is seen clean first."""
    write_coco(places.root / "coco")
    decoys = DecoyConfig(name="corner", code="released", size=4)
    task = load(Config(**SMALL), decoys, seed=0, root=places.root, cache=places.cache)
    assert "decoys independent of class" in task.stamps
    assert list(task.test_loaders(4, "cpu")) == list(task.val_loaders(4, "cpu")) == ["clean", "correlated"]
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (task.mean, task.std))
    batch = task.train_loader(6, "cpu", seed=0).batch(0, 0)
    assert batch.wrong is not None
    seen = set()
    for x, wrong in zip(batch.x, batch.wrong, strict=True):
        assert wrong.sum() in (16, 20, 25)
        colours = ((x * std + mean)[:, wrong] * 255).round()
        assert (colours == colours[:, :1]).all()
        red, green, blue = colours[:, 0].tolist()
        assert green == 0
        assert 50 <= red <= 255
        assert 50 <= blue <= 255
        seen.add((red, blue))
    assert len(seen) == 6
    clean, decoyed = (next(iter(loader)) for loader in task.test_loaders(4, "cpu").values())
    assert clean.wrong is None
    assert decoyed.wrong is not None
    assert torch.equal(clean.x[~decoyed.wrong[:, None].expand_as(clean.x)],
                       decoyed.x[~decoyed.wrong[:, None].expand_as(clean.x)])  # fmt: skip


def test_what_is_not_there(places):
    with pytest.raises(UserError, match=r"no COCO \(annotations/instances_train2014.json\).*cocodataset"):
        read(Config(), places)
    write_coco(places.root / "coco")
    with pytest.raises(UserError, match=r"6 images of 'zebra' alone.*needs 1300"):
        read(Config(), places)
    with pytest.raises(UserError, match=r"'zebr'\. Did you mean 'zebra'"):
        read(Config(classes=("zebr", "train"), per_class=(1, 1, 1)), places)
    for path in (places.root / "coco" / "train2014").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="12 of 12 images are missing"):
        read(Config(**SMALL), places)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"images": [], "annotations": []}',
        '{"images": [{"id": 1}], "annotations": [], "categories": []}',
        '{"images": [], "annotations": [{"image_id": 5, "category_id": 1}], "categories": []}',
    ],
)
def test_no_coco_file(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match=r"a\.json is no COCO annotation file"):
        coco.read(tmp_path / "a.json")


@pytest.mark.parametrize("wrong", [{"per_class": (1, 2)}, {"per_class": (1, 0, 2)}, {"classes": ("zebra",)}])
def test_refused_options(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)
