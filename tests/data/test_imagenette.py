"""Imagenette, Imagewoof and Tiny-ImageNet in small copies of their archives."""

import numpy as np
import pytest
from PIL import Image

from xfeedback.data import load
from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.sets import imagenette, tiny_imagenet
from xfeedback.errors import UserError

rng = np.random.default_rng(0)


def picture(path, size=(20, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path, "JPEG")


def taken(config, root):
    return load(config, DecoyConfig(name="none"), seed=0, root=root, cache=root / "cache")


def write_imagenette(root, name="imagewoof2-160", which="imagewoof"):
    for synset in imagenette.CLASSES[which]:
        for part, count in (("train", 4), ("val", 2)):
            for number in range(count):
                picture(root / name / part / synset / f"{synset}_{part}{number}.JPEG")


def test_imagewoof_in_its_official_layout(tmp_path):
    write_imagenette(tmp_path)
    found = taken(imagenette.Config(which="imagewoof", size=16, val_share=0.25), tmp_path)
    assert (len(found.train), len(found.val), len(found.test)) == (30, 10, 20)
    assert found.stamps == ("subset",)
    assert found.class_names[9] == "dingo"
    assert np.unique(found.val.y, return_counts=True)[1].tolist() == [1] * 10
    assert found.test.y.tolist() == sorted([*range(10), *range(10)])
    assert not found.has_annotations


def test_boxes_of_the_original_image_are_scaled(tmp_path):
    write_imagenette(tmp_path)
    synset = next(iter(imagenette.CLASSES["imagewoof"]))
    box = "<bndbox><xmin>21</xmin><ymin>1</ymin><xmax>40</xmax><ymax>32</ymax></bndbox>"
    text = f"<annotation><size><width>40</width><height>32</height></size><object><name>{synset}</name>{box}</object>"
    file = tmp_path / "boxes" / synset / f"{synset}_val0.xml"
    file.parent.mkdir(parents=True)
    file.write_text(text + "</annotation>")
    config = imagenette.Config(which="imagewoof", size=16, val_share=0.25, boxes=str(tmp_path / "boxes"))
    found = taken(config, tmp_path)
    assert found.test.annotated.tolist() == [True] + 19 * [False]
    assert found.test.mask[0, :, 8:].all()
    assert not found.test.mask[0, :, :8].any()
    assert found.stamps == ("subset", "2 % annotated")


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no imagenette in .*imagenette2-160\.tgz"):
        taken(imagenette.Config(), tmp_path)
    write_imagenette(tmp_path)
    for file in (tmp_path / "imagewoof2-160" / "val" / "n02115641").iterdir():
        file.unlink()
    with pytest.raises(UserError, match="has no images of n02115641"):
        taken(imagenette.Config(which="imagewoof"), tmp_path)


def write_tiny(root):
    place = root / tiny_imagenet.FOLDER
    synsets = ("n1", "n2", "n3")
    for synset in synsets:
        lines = []
        for number in range(4):
            picture(place / "train" / synset / "images" / f"{synset}_{number}.JPEG", (64, 64))
            lines.append(f"{synset}_{number}.JPEG\t0\t10\t31\t63")
        (place / "train" / synset / f"{synset}_boxes.txt").write_text("\n".join(lines) + "\n")
    for number in range(6):
        picture(place / "val" / "images" / f"val_{number}.JPEG", (64, 64))
    lines = [f"val_{number}.JPEG\t{synsets[number % 3]}\t5\t5\t5\t5" for number in range(6)]
    (place / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    (place / "wnids.txt").write_text("\n".join(synsets))
    (place / "words.txt").write_text("n1\tfish, a\nn2\tfish, b\nn3\tbird\n")
    return place


def test_tiny_imagenet_in_its_official_layout(tmp_path):
    write_tiny(tmp_path)
    found = taken(tiny_imagenet.Config(val_share=0.25), tmp_path)
    assert (len(found.train), len(found.val), len(found.test)) == (9, 3, 6)
    assert found.class_names == ("fish (n1)", "fish (n2)", "bird")
    assert found.test.y.tolist() == [0, 1, 2, 0, 1, 2]
    assert found.train.mask[0, 10:, :32].all()
    assert int(found.train.mask[0].sum()) == 54 * 32
    assert found.test.mask[0].nonzero().tolist() == [[5, 5]]
    assert found.stamps == ("subset",)


def test_a_damaged_list_is_named(tmp_path):
    place = write_tiny(tmp_path)
    table = place / "val" / "val_annotations.txt"
    table.write_text("val_0.JPEG\tn9\t0\t0\t1\t1\n")
    with pytest.raises(UserError, match=r"val_annotations.txt is damaged: no class"):
        taken(tiny_imagenet.Config(), tmp_path)
    table.write_text("val_0.JPEG\tn1\t0\t0\n")
    with pytest.raises(UserError, match=r"not the four edges"):
        taken(tiny_imagenet.Config(), tmp_path)
