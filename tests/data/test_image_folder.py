import os

import numpy as np
import pytest
from PIL import Image

from tests.data.image_folders import (
    SIZE,
    config,
    everything,
    level,
    mask,
    parts,
    reading,
    refused,
    splits,
    with_masks,
    write,
    write_coco,
)
from xfeedback import methods, models
from xfeedback.data import annotates, load
from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.images import channel_statistics, drawn_splits, touched
from xfeedback.data.options import AnnotationConfig
from xfeedback.engine.spec import RunSpec
from xfeedback.errors import UserError


def test_images_labels_and_masks_belong_together(root):
    source = reading(with_masks(root))
    assert source.class_names == ("cat", "dog")
    assert [np.bincount(p.y).tolist() for p in parts(source)] == [[6, 6], [2, 2], [2, 2]]
    x, y, found, wrong, annotated = everything(source)
    assert y.tolist() == [0] * 10 + [1] * 10
    assert x[:, 0, 5, 5].tolist() == [level(n, i) for n in ("cat", "dog") for i in range(10)]
    assert wrong is None
    assert annotated.all()
    for row in range(20):
        whole = mask(row % 10) > 0
        rows = [(24 * r // 16, -(-24 * (r + 1) // 16)) for r in range(16)]
        cells = [[whole[top:bottom, 2 * c : 2 * c + 2].any() for c in range(16)] for top, bottom in rows]
        np.testing.assert_array_equal(found[row], cells)
    assert source.stamps == ()


def test_grey_pictures_have_one_channel_and_a_single_coloured_one_makes_three(root):
    for path in (root / "images").rglob("*.png"):
        Image.open(path).convert("L").save(path)
    assert reading(root).train.x.shape[1] == 1
    write(root / "images" / "cat" / "x.png", np.zeros((5, 5, 3)))
    assert reading(root).train.x.shape[1] == 3


def test_normalisation_is_that_of_the_training_images(root):
    source = reading(root)
    x = source.train.x / 255
    np.testing.assert_allclose(source.mean, x.mean((0, 2, 3)), atol=1e-4)
    np.testing.assert_allclose(source.std, x.std((0, 2, 3)), atol=1e-4)
    assert channel_statistics(np.zeros((1, 1, 2, 2), np.uint8)) == ((0.0,), (1e-4,))


def test_masks_for_half_the_images(root):
    """The others are not annotated, and the share is stamped; so is an empty mask's image."""
    source = reading(with_masks(root, range(5)))
    _, _, found, _, annotated = everything(source)
    assert annotated.tolist() == [i < 5 for i in range(10)] * 2
    assert not found[~annotated].any()
    assert source.stamps == ("50 % annotated",)
    write(root / "masks" / "cat" / "0.png", np.zeros(SIZE))
    assert everything(reading(root))[4].sum() == 9


def test_folders_without_masks(root):
    assert not config(root).has_masks
    source = reading(root)
    assert everything(source)[4].sum() == 0
    assert source.stamps == ()
    task = load(config(root), DecoyConfig(), seed=0, root=root, cache=root.parent / "cache")
    assert not task.has_annotations
    boxed = config(root, annotation=AnnotationConfig(object_mask="center"))
    task = load(boxed, DecoyConfig(), seed=0, root=root, cache=root.parent / "cache")
    assert task.frame is not None
    assert task.frame.sum() == 8 * 8
    with pytest.raises(UserError, match="object_mask=own: the data set has no masks"):
        load(
            config(root, annotation=AnnotationConfig(object_mask="own")),
            DecoyConfig(), seed=0, root=root, cache=root.parent / "cache",
        )  # fmt: skip


def spec(root, method="xbl"):
    feedback = {method: methods.feedback_class(method).Config()}
    model = models.config_class("gapnet")(name="gapnet")
    return RunSpec(dataset=config(root), decoy=DecoyConfig(), methods=feedback, model=model)


def test_a_method_that_needs_masks_is_refused_before_anything_is_read(root):
    """No decoys are planted in somebody's own pictures."""
    with pytest.raises(UserError, match=r"xbl needs annotations.*object_mask=center"):
        spec(root).settled()
    settled = spec(with_masks(root)).settled()
    assert not settled.decoy.on
    assert annotates(settled.dataset, settled.decoy)


def test_wrong_evidence_and_its_complement(root):
    """Given alone, everything else is right; with a mask, the mask is, but never where it is wrong."""
    write(root / "wrong" / "cat" / "0.png", mask(0))
    write(root / "wrong" / "cat" / "1.png", np.zeros(SIZE))
    assert config(root).has_masks
    _, _, found, wrong, annotated = everything(reading(root))
    assert annotated.tolist() == [True] + [False] * 19
    assert (found[0] | wrong[0]).all()
    assert (found[0] & wrong[0]).sum() <= 8  # pixels that both touch
    assert not wrong[1:].any()
    write(root / "masks" / "cat" / "0.png", np.full(SIZE, 255))
    splits(root, train=["cat/0", "dog/0"], test=["cat/1", "dog/1"])
    task = load(config(root), DecoyConfig(), seed=0, root=root, cache=root.parent / "cache")
    batch = task.train_loader(2, "cpu", seed=0).batch(0, 0)
    cat = int((batch.y == 0).nonzero())
    assert batch.mask is not None
    assert batch.wrong is not None
    assert batch.wrong[cat].any()
    assert (batch.mask[cat] == ~batch.wrong[cat]).float().mean() > 0.6  # the rest was shifted out
    assert not (batch.mask & batch.wrong).any()


def test_boxes_as_a_table_as_voc_and_as_coco(root):
    rows = [f"cat/{i}.png,{2 * i},{i},{2 * i + 6},{i + 4}" for i in range(10)]
    (root / "boxes.csv").write_text("\n".join(["file,x0,y0,x1,y1", *rows]))
    table = everything(reading(root))
    (root / "boxes.csv").unlink()
    for i in range(10):
        write_voc(root / "boxes" / "cat" / f"{i}.xml", [("ear", 2 * i, i, 2 * i + 6, i + 4)])
    voc = everything(reading(root))
    for path in (root / "boxes" / "cat").iterdir():
        path.unlink()
    (root / "boxes" / "cat").rmdir()
    (root / "boxes").rmdir()
    write_coco(root, [(f"cat/{i}.png", 1, [2 * i, i, 6, 4]) for i in range(10)])
    from_coco = everything(reading(root))
    for i in range(3, 10):
        write(root / "masks" / "cat" / f"{i}.png", mask(i))
    (root / "boxes.json").unlink()
    masks = everything(reading(root))
    for a, b, c in zip(table, voc, from_coco, strict=True):
        assert (a is None and b is None and c is None) or ((a == b).all() and (b == c).all())
    assert (masks[2][3:] == voc[2][3:]).all()
    assert voc[4].tolist() == [True] * 10 + [False] * 10


def write_voc(path, entries):
    path.parent.mkdir(parents=True, exist_ok=True)
    body = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{a + 1}</xmin><ymin>{b + 1}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>"
        "</bndbox></object>"
        for name, a, b, c, d in entries
    )
    path.write_text(f"<annotation><size><width>{SIZE[1]}</width><height>{SIZE[0]}</height></size>{body}</annotation>")


def test_only_chosen_objects_count(root):
    write_voc(root / "boxes" / "cat" / "0.xml", [("ear", 0, 0, 2, 2), ("tail", 20, 20, 24, 24)])
    write_voc(root / "boxes" / "cat" / "1.xml", [("tail", 0, 0, 2, 2)])
    whole, ears = everything(reading(root)), everything(reading(root, box_labels=("ear",)))
    assert whole[4].sum() == 2
    assert ears[4].sum() == 1
    assert ears[2][0].sum() < whole[2][0].sum()
    for path in (root / "boxes" / "cat").iterdir():
        path.unlink()
    (root / "boxes" / "cat").rmdir()
    (root / "boxes").rmdir()
    write_coco(root, [("cat/0.png", 1, [0, 0, 2, 2]), ("cat/0.png", 2, [20, 20, 4, 4]), ("cat/1.png", 2, [0, 0, 2, 2])])
    for one, other in zip(ears, everything(reading(root, box_labels=("ear",))), strict=True):
        assert one is other is None or (one == other).all()
    refused(root, "'eer'", "Did you mean 'ear'", box_labels=("eer",))


def test_given_splits(root):
    splits(root, train=["cat/1.png", "dog/2", "dog/3.png"], test=["cat/0", "dog/0.png"])
    source = reading(root)
    assert source.val is None
    assert source.train.index.tolist() == [1, 12, 13]
    assert source.test.index.tolist() == [0, 10]
    assert source.stamps == ("15 images in no split",)
    splits(root, val=["cat/4"])
    assert reading(root).val.index.tolist() == [4]  # type: ignore[union-attr]


def test_drawn_splits_are_stratified_disjoint_and_depend_on_their_seed_alone():
    y = np.repeat([0, 1, 2], [30, 50, 20])
    rows = drawn_splits(y, 17)
    assert sorted(np.concatenate(list(rows.values()))) == list(range(100))
    found = [np.bincount(y[rows[name]]).tolist() for name in ("train", "val", "test")]
    assert found == [
        [18, 30, 12],
        [6, 10, 4],
        [6, 10, 4],
    ]
    assert (drawn_splits(y, 17)["test"] == rows["test"]).all()
    assert (drawn_splits(y, 18)["test"] != rows["test"]).any()


def test_decoded_once_then_cached_until_a_file_changes(root, capsys):
    first = reading(with_masks(root))
    assert "decoding" in capsys.readouterr().err
    again = reading(root)
    assert "decoding" not in capsys.readouterr().err
    assert again.fingerprint == first.fingerprint
    path = root / "masks" / "cat" / "0.png"
    stamp = path.stat().st_mtime_ns
    write(path, mask(7))
    os.utime(path, ns=(stamp + 10**9, stamp + 10**9))
    changed = reading(root)
    assert "decoding" in capsys.readouterr().err
    assert changed.fingerprint != first.fingerprint
    reading(root, size=20)
    assert "decoding" in capsys.readouterr().err


def test_other_files_in_the_folder_decode_nothing_anew(root, capsys):
    reading(with_masks(root))
    write(root / "outputs" / "map.png", mask(0))
    splits(root, train=["cat/0", "dog/0"], test=["cat/1", "dog/1"])
    capsys.readouterr()
    reading(root)
    assert "decoding" not in capsys.readouterr().err


def test_links_to_folders_are_the_folders(root, tmp_path):
    plain = reading(with_masks(root))
    linked = tmp_path / "linked"
    (linked / "masks").mkdir(parents=True)
    (linked / "images").symlink_to(root / "images")
    for name in ("cat", "dog"):
        (linked / "masks" / name).symlink_to(root / "masks" / name)
    (linked / "again").symlink_to(linked)
    assert reading(linked).fingerprint == plain.fingerprint
    for path in root.rglob("*.png"):
        path.unlink()
    for name in ("cat", "dog"):
        for i in range(10):
            write(root / "images" / name / f"{i}.png", np.full(SIZE, level(name, i) // 2))
    assert reading(linked).fingerprint != plain.fingerprint, "what is behind a link has changed"


@pytest.mark.parametrize("shape", [(24, 32), (9, 300), (300, 9), (5, 4), (16, 16)])
def test_a_thin_object_survives_any_size(shape):
    rng = np.random.default_rng(0)
    for _ in range(20):
        place = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        whole = np.zeros(shape, bool)
        whole[place] = True
        small = touched(whole, 16)
        assert small.any()
        assert small[place[0] * 16 // shape[0], place[1] * 16 // shape[1]]
    assert touched(np.ones(shape, bool), 16).all()
    assert not touched(np.zeros(shape, bool), 16).any()


def test_reduced_masks_equal_a_loop_over_pixels():
    rng = np.random.default_rng(1)
    whole = rng.random((37, 50)) < 0.01
    expected = np.zeros((16, 16), bool)
    for r in range(16):
        for c in range(16):
            rows, columns = (37 * r // 16, -(-37 * (r + 1) // 16)), (50 * c // 16, -(-50 * (c + 1) // 16))
            expected[r, c] = any(whole[i, j] for i in range(*rows) for j in range(*columns))
    np.testing.assert_array_equal(touched(whole, 16), expected)
