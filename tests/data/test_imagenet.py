"""ImageNet in a miniature of its official layout, against plain loops over PIL and ElementTree."""

import hashlib
import math
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

from tests.data.miniature import BOXED, SYNSETS, options, truncate, write_box, write_imagenet
from xfeedback.config import from_mapping
from xfeedback.data import load
from xfeedback.data.decode import read_boxes, region, transformed, transforms
from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.images import IMAGENET
from xfeedback.data.loader import Shard
from xfeedback.data.pictures import Recipe
from xfeedback.data.sets import imagenet
from xfeedback.engine.evaluate import baseline
from xfeedback.errors import UserError

EDGES = ("xmin", "ymin", "xmax", "ymax")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_imagenet(folder)
    return folder


@pytest.fixture
def own(tmp_path):
    """A copy that a test may damage."""
    write_imagenet(tmp_path)
    return tmp_path


def taken(place, /, decoy="none", seed=0, **changed):
    config = from_mapping(imagenet.Config, options(place, **changed), "dataset")
    return load(config, DecoyConfig(name=decoy), seed=seed, root=place, cache=place / "cache")


def test_splits_classes_and_stamps(root):
    found = taken(root)
    assert (len(found.train), len(found.val), len(found.test)) == (24, 8, 12)
    assert found.in_shape == (3, 16, 16)
    assert found.class_names == SYNSETS
    assert found.stamps == ("subset",)
    assert (found.streamed, found.has_annotations) == (True, False)
    assert found.test.y.tolist() == [0, 1, 2, 3] * 3
    assert found.test.index.tolist() == [3 * c + n for n in range(3) for c in range(4)]
    assert baseline(found).eq(torch.zeros(3, 16, 16)).all()


def test_validation_images_are_those_with_the_least_hash(root):
    expected = set()
    for label, synset in enumerate(SYNSETS):
        names = [f"{synset}_{number}.JPEG" for number in range(8)]
        by_hash = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        expected |= {8 * label + names.index(name) for name in by_hash[:2]}
    found = taken(root)
    assert set(found.val.index.tolist()) == expected
    assert set(found.train.index.tolist()) == set(range(32)) - expected


def test_evaluated_images_labels_and_boxes_are_those_of_a_plain_loop(root):
    found = taken(root, boxes=str(root / "boxes"), val_per_class=1)
    loader = found.ordered_loader(5, "cpu")
    batches = list(loader)
    x, y, index = (torch.cat([getattr(b, name) for b in batches]) for name in ("x", "y", "index"))
    mask, annotated = (torch.cat([getattr(b, name) for b in batches]) for name in ("mask", "annotated"))
    files = sorted((root / "imagenet" / "train").glob("*/*.JPEG"))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET)
    assert len(index) == 28
    for row, position in enumerate(index.tolist()):
        path = files[position]
        picture = Image.open(path)
        scale = 20 / min(picture.size)
        width, height = (int(side * scale) for side in picture.size)
        left, top = round((width - 16) / 2), round((height - 16) / 2)
        pixels = picture.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + 16, top + 16))
        difference = (x[row] * std + mean) * 255 - torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
        assert difference.abs().max() < 2.01  # Pillow rounds after each direction
        assert y[row] == SYNSETS.index(path.parent.name)
        boxes = root / "boxes" / "train" / path.parent.name / f"{path.stem}.xml"
        expected = np.zeros((16, 16), dtype=bool)
        if boxes.exists():
            a, b, c, d = (float(ET.parse(boxes).find(f"object/bndbox/{edge}").text) for edge in EDGES)
            sx, sy = width / picture.width, height / picture.height
            columns = slice(max(0, math.floor((a - 1) * sx - left)), max(0, math.ceil(c * sx - left)))
            expected[max(0, math.floor((b - 1) * sy - top)) : max(0, math.ceil(d * sy - top)), columns] = True
        assert (mask[row].numpy() == expected).all()
        assert annotated[row] == expected.any()
    assert int(annotated.sum()) == 1


def test_training_moves_boxes_with_the_image():
    """An image that is bright in its box alone: bright pixels are those of the region, but for half-covered ones."""
    recipe = Recipe(size=32, short_side=32, augment=True, min_scale=0.08, broken="error", workers=0)
    image = torch.zeros(3, 60, 80, dtype=torch.uint8)
    image[:, 20:41, 10:33] = 255
    boxes = tv_tensors.BoundingBoxes([[10.0, 20.0, 33.0, 41.0]], format="XYXY", canvas_size=(60, 80))
    change, shares = transforms(recipe, training=True), []
    for index in range(40):
        x, mask = transformed(change, tv_tensors.Image(image), boxes, 0, 0, index)
        bright, touched = x[0] > 250, x[0] > 127
        assert not (bright & ~mask).any()
        edge = torch.nn.functional.max_pool2d((~mask).float()[None], 3, 1, 1)[0].bool()
        assert touched[mask & ~edge].all()
        shares.append(float(mask.float().mean()))
    assert min(shares) == 0  # a part without the box
    assert max(shares) > 0.3


def test_boxes_count_in_the_stated_size_and_from_one(tmp_path):
    write_box(tmp_path / "a.xml", (40, 30), (1, 1, 20, 15), (41, 1, 60, 15))
    assert read_boxes(tmp_path / "a.xml", 60, 40).tolist() == [[0, 0, 20, 30], [40, 0, 60, 30]]
    assert region(read_boxes(tmp_path / "a.xml", 40, 40).tolist(), 40).sum() == 20 * 20
    (tmp_path / "b.xml").write_text("<annotation><object/></annotation>")
    with pytest.raises(UserError, match=r"b\.xml is no Pascal VOC annotation"):
        read_boxes(tmp_path / "b.xml", 60, 40)


def numbers(batches):
    return [(b.index.tolist(), float(b.x.double().sum())) for b in batches]


def test_batches_are_functions_of_seed_epoch_and_index_alone(root):
    """Whatever decodes them, in however many processes, wherever a pass begins."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    here, beside = (taken(root, workers=n).train_loader(5, "cpu", seed=3) for n in (0, 2))
    for loader in (here, beside):
        loader.sampler.set_epoch(2)
    whole = numbers(here)
    assert len(whole) == len(here) == 5
    assert numbers(beside) == whole
    here.skip(3)
    assert numbers(here) == whole[3:]
    assert numbers(here) == whole
    assert here.batch(2, 1).x.equal(list(here)[1].x)
    assert torch.equal(torch.get_rng_state(), before)
    here.set_epoch(3)
    assert numbers(here) != whole
    assert numbers(taken(root).train_loader(5, "cpu", seed=4)) != whole


def test_processes_share_a_batch_sample_by_sample(root):
    task = taken(root)
    whole = task.train_loader(6, "cpu", seed=0)
    parts = [task.train_loader(6, "cpu", seed=0, rank=rank, world=2) for rank in (0, 1)]
    for step, batch in enumerate(whole):
        for rank, part in enumerate(parts):
            assert part.batch(0, step).x.equal(batch.x[Shard(rank=rank, world=2).of(6)])
    with pytest.raises(UserError, match=r"trainer.batch_size=5 must be a multiple of the 2 processes"):
        task.train_loader(5, "cpu", seed=0, world=2)


def test_a_pass_says_how_long_it_waited(root):
    loader = taken(root).train_loader(5, "cpu", seed=0, rank=0, world=1)
    assert sum(len(batch) for batch in loader) == loader.pace.served == 24
    assert loader.pace.waited > 0


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_image_is_named(own, workers):
    path = own / "imagenet" / "val" / SYNSETS[2] / "ILSVRC2012_val_00000007.JPEG"
    truncate(path)
    (loader,) = taken(own, workers=workers).test_loaders(4, "cpu").values()
    with pytest.raises(UserError) as caught:
        list(loader)
    assert str(caught.value).startswith(f"cannot decode the image {path}: image file is truncated")
    assert str(caught.value).endswith("Restore the file, or replace such images with dataset.broken=skip.")
    assert "\n" not in str(caught.value)


def test_broken_images_are_replaced_by_the_next_of_their_class(own):
    """The last one by the first; a file that holds no image counts as broken too."""
    folder = own / "imagenet" / "val" / SYNSETS[2]
    truncate(folder / "ILSVRC2012_val_00000007.JPEG")
    (folder / "ILSVRC2012_val_00000008.JPEG").write_bytes(b"")
    task = taken(own, broken="skip", workers=1)
    (loader,) = task.test_loaders(12, "cpu").values()
    batch = next(iter(loader))
    at = {int(index): row for row, index in enumerate(batch.index)}
    assert batch.x[at[7]].equal(batch.x[at[6]])
    assert batch.x[at[8]].equal(batch.x[at[6]])
    assert batch.y[at[7]] == 2
    assert task.stamps == ("subset",)
    assert task.stamps_now == ("subset", "2 broken images replaced")
    truncate(folder / "ILSVRC2012_val_00000006.JPEG")
    with pytest.raises(UserError, match=r"ILSVRC2012_val_00000006.JPEG: .* No other one of its class can be"):
        loader.batch(0, 0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"declared_sizes": ()}, r"32 training and 12 test images of ImageNet, expected 1281167 and 50000"),
        ({"val_per_class": 8}, "dataset.val_per_class=8: class n01440764 has 8 training images"),
        ({"root": "nowhere"}, "no ImageNet in nowhere. ImageNet is not downloaded"),
        ({"boxes": "nowhere"}, "dataset.boxes=nowhere has no folder train/"),
        ({"short_side": 12}, r"dataset.short_side=12 must be at least size \(16\)"),
        ({"decoy": "corner"}, "decoy=corner needs all images in memory"),
        ({"annotation": {"object_mask": "foreground"}}, "object_mask=foreground needs all images in memory"),
    ],
)
def test_what_can_not_work_is_refused(root, changed, message):
    with pytest.raises(UserError, match=message):
        taken(root, **changed)


def test_refused_controls_and_a_kept_share_of_the_boxes(own):
    for number in range(8):
        write_box(own / "boxes" / "train" / SYNSETS[0] / f"{SYNSETS[0]}_{number}.xml", (40, 24), (1, 1, 40, 24))
    boxed = {"boxes": str(own / "boxes")}
    with pytest.raises(UserError, match="control=shuffled needs all images in memory"):
        taken(own, **boxed, annotation={"control": "shuffled"})
    whole, half = taken(own, **boxed), taken(own, **boxed, annotation={"fraction": 0.5})
    assert int(half.train.annotated.sum()) == round(0.5 * int(whole.train.annotated.sum()))
    assert whole.stamps == ("subset", "28 % annotated")
    assert half.stamps[-1] == "annotation.fraction=0.5"


def test_a_box_in_the_middle_serves_methods_that_need_one(root):
    batch = taken(root, annotation={"object_mask": "center"}).train_loader(6, "cpu", seed=0).batch(0, 0)
    assert batch.mask.sum((1, 2)).tolist() == [64] * 6
    assert batch.annotated.all()


def test_folders_that_differ_are_named(own):
    (own / "imagenet" / "val" / SYNSETS[3]).rename(own / "imagenet" / "val" / "n09999999")
    with pytest.raises(UserError, match="must have the same class folders; n03888257 does not"):
        taken(own)


def test_an_image_of_another_name_is_boxed_nowhere(root):
    found = taken(root, boxes=str(root / "boxes"))
    boxed = [row for part in (found.train, found.val) for row in part.index[part.annotated].tolist()]
    assert boxed == [8 + int(BOXED[-1])]
    assert not found.test.annotated.any()


def test_few_samples_and_limits_take_files(root):
    found = taken(root, samples_per_class=3, limit_test=4)
    assert len(found.train) == len(found.train.x) == 12
    assert sorted(found.test.y.tolist()) == [0, 1, 2, 3]
    assert "samples_per_class=3" in found.stamps
