"""What can be wrong with a folder of images."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.data.image_folders import (
    SIZE,
    everything,
    mask,
    reading,
    refused,
    splits,
    with_masks,
    write,
    write_coco,
)
from xfeedback.data.options import Places
from xfeedback.data.sets.image_folder import Config, read
from xfeedback.errors import UserError


def test_a_mask_of_another_size_is_refused(root):
    write(root / "masks" / "dog" / "3.png", np.zeros((24, 33)))
    refused(root, "masks/dog/3.png is 33x24", "images/dog/3.png 32x24")


def test_a_mask_that_is_not_binary_is_refused(root):
    write(root / "masks" / "dog" / "3.png", np.arange(24 * 32).reshape(SIZE) % 7)
    refused(root, "masks/dog/3.png has 7 levels up to 6")


def test_a_mask_of_an_unknown_class_is_refused(root):
    write(root / "masks" / "dgo" / "3.png", mask(3))
    refused(root, "masks", "'dgo'", "Did you mean 'dog'")


def test_a_mask_without_its_image_is_refused(root):
    write(root / "masks" / "dog" / "33.png", mask(3))
    refused(root, "masks/dog/33.png has no image", "images/dog/33", "Did you mean 'dog/3'")


def test_a_mask_that_is_no_png_is_refused(root):
    write(root / "masks" / "dog" / "3.jpg", mask(3))
    refused(root, "masks/dog/3.jpg must be a .png file")


def test_a_box_outside_its_image_is_refused_and_one_over_the_edge_cut_off(root):
    (root / "boxes.csv").write_text("file,x0,y0,x1,y1\ncat/0.png,-4,20,6,99\n")
    assert everything(reading(root))[2][0].sum() == 3 * 3
    (root / "boxes.csv").write_text("file,x0,y0,x1,y1\ncat/0.png,33,0,40,9\n")
    refused(root, "boxes.csv, cat/0.png", "33, 0, 40, 9", "no pixel", "32x24")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("file,x0,y0,x1,y1\ncat/00.png,1,1,2,2\n", ("cat/00.png", "Did you mean 'cat/0.png'")),
        ("name,x0\ncat/0.png,1\n", ("columns file, x0, y0, x1, y1",)),
        ("file,x0,y0,x1,y1\ncat/0.png,nan,1,2,2\n", ("boxes.csv, cat/0.png: the box nan, 1, 2, 2", "is no number")),
        ("file,x0,y0,x1,y1\ncat/0.png,1,1,inf,2\n", ("boxes.csv, cat/0.png: the box 1, 1, inf, 2", "is no number")),
    ],
)
def test_tables_that_do_not_fit(root, table, words):
    (root / "boxes.csv").write_text(table)
    refused(root, "boxes.csv", *words)


def test_coco_files_that_do_not_fit(root):
    write_coco(root, [("0.png", 1, [0, 0, 2, 2])])
    refused(root, "boxes.json names '0.png'", "2 images have this name", "<class>/<file>")
    write_coco(root, [("cow/0.png", 1, [0, 0, 2, 2])])
    refused(root, "there is no images/cow/0.png")
    Image.new("RGB", (9, 9)).save(root / "images" / "cat" / "x.png")
    write_coco(root, [("x.png", 1, [0, 0, 2, 2])])
    refused(root, "boxes.json, x.png is for an image of 32x24, and its image is 9x9")


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"bbox": [1, 2, 3]},
        {"bbox": None},
        {"bbox": [1, 2, "a", 4]},
        {"segmentation": [1, 2, 3, 4, 5, 6]},
        {"segmentation": [[1, 2, 3, 4, 5, 6, 7]]},
        {"segmentation": {"size": SIZE}},
        {"segmentation": {"size": SIZE, "counts": [SIZE[0] * SIZE[1] + 9, -9]}},
    ],
)
def test_malformed_entries_of_coco_are_named(root, entry):
    write_coco(root, [("cat/0.png", 1, [1, 2, 3, 4])])
    content = json.loads((root / "boxes.json").read_text())
    content["annotations"] = [{"image_id": 0, "category_id": 1, **entry}]
    (root / "boxes.json").write_text(json.dumps(content))
    refused(root, "boxes.json, cat/0.png: an annotation is not in COCO's format: ")


def test_two_forms_of_right_evidence_are_refused(root):
    with_masks(root)
    (root / "boxes.csv").write_text("file,x0,y0,x1,y1\n")
    refused(root, "masks and boxes.csv", "one form")
    (root / "boxes.csv").unlink()
    refused(root, "box_labels", box_labels=("ear",))


def test_folders_that_are_none(root, tmp_path):
    refused(tmp_path / "nowhere", "no folder images/")
    with pytest.raises(UserError, match=r"needs dataset\.root=FOLDER"):
        read(Config(), Places(root=tmp_path, cache=tmp_path))
    (tmp_path / "one" / "images" / "cat").mkdir(parents=True)
    refused(tmp_path / "one", "1 class folder(s)")
    (tmp_path / "one" / "images" / "dog").mkdir()
    refused(tmp_path / "one", "no image in its class folders")


def test_images_that_cannot_be_used(root):
    (root / "images" / "cat" / "0.jpg").write_bytes(b"x")
    refused(root, "0.jpg", "0.png", "same stem")
    (root / "images" / "cat" / "0.png").unlink()
    refused(root, "cannot read the image", "cat/0.jpg")


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        ({"train": ["cat/0", "dog/0"]}, ("test.txt", "train.txt and test.txt")),
        ({"train": ["cat/0", "dgo/0"], "test": ["cat/1"]}, ("train.txt", "dgo/0", "Did you mean 'dog/0'")),
        ({"train": ["cat/0", "dog/0"], "test": ["cat/0"]}, ("cat/0 is in the split train too",)),
        ({"train": ["cat/0"], "test": ["dog/0"]}, ("no training image of class dog",)),
        ({"train": ["cat/0", "dog/0"], "test": []}, ("test.txt names no image",)),
    ],
)
def test_splits_that_cannot_be_used(root, lists, words):
    splits(root, **lists)
    refused(root, *words)


def test_lists_and_tables_as_spreadsheets_write_them(root):
    splits(root, train=["cat/0", "dog/0"], test=["cat/1"])
    for path, text in ((root / "splits" / "train.txt", "cat/0\r\ndog/0\r\n"), (root / "boxes.csv", TABLE)):
        path.write_text(text, encoding="utf-8-sig")
    assert reading(root).train.annotated.tolist() == [True, False]
    (root / "splits" / "train.txt").write_text("cat/0", encoding="utf-16")
    refused(root, "train.txt is no utf-8 text", "Save it as UTF-8")


TABLE = "file,x0,y0,x1,y1\r\ncat/0.png,1,1,5,5\r\n"


def test_too_few_images_to_split(tmp_path):
    for name in ("cat", "dog"):
        write(tmp_path / "two" / "images" / name / "0.png", np.zeros(SIZE))
    refused(tmp_path / "two", "2 samples are too few to set 20 % of them aside twice")


@pytest.mark.parametrize("values", [np.full(SIZE, 0.5, np.float32), np.full(SIZE, 70_000, np.int32)])
def test_levels_whose_white_is_not_known_are_refused(root, values):
    Image.fromarray(values).save(root / "images" / "cat" / "x.tif")
    refused(root, "cat/x.tif has", "which of them is white can't be told", "8 or 16 bit")


def test_an_image_too_large_to_decode_is_refused(root, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    refused(root, "cannot read the image", "exceeds limit")


def test_a_link_that_leads_nowhere_is_refused(root):
    reading(with_masks(root, [0]))
    link = root / "masks" / "cat" / "1.png"
    link.symlink_to(root / "gone.png")
    refused(root, f"{link} is a link to {root / 'gone.png'}, which is not there")
    link.rename(root / "images" / "cat" / "x.png")
    refused(root, "x.png is a link to")
    (root / "images" / "cat" / "x.png").rename(root / "images" / "cat" / ".#x.png")
    reading(root)


def test_an_unknown_name_of_objects_is_refused(root):
    path = root / "boxes" / "cat" / "0.xml"
    path.parent.mkdir(parents=True)
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox>"
    path.write_text(f"<annotation><object><name>ear</name>{box}</object></annotation>")
    reading(root, box_labels=("ear",))
    refused(root, "boxes: 'eer'", "Did you mean 'ear'?", box_labels=("ear", "eer"))
