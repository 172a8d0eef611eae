"""CelebA in a miniature of its official layout."""

import numpy as np
import pytest
import torch
from PIL import Image

from xfeedback.config import from_mapping
from xfeedback.data import load
from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.sets import celeba
from xfeedback.errors import UserError

NAMES = [f"{number:06d}.jpg" for number in range(1, 13)]
SPLITS = [0] * 6 + [1] * 2 + [2] * 4
SMILING = [1, -1, 1, -1, -1, 1, 1, -1, 1, -1, -1, -1]
POINTS = (69, 111, 109, 111, 88, 135, 73, 152, 107, 152)
"""Eyes 40 pixels apart, their centre at (89, 111), the mouth's at (90, 152)."""
ATTRIBUTES = list(celeba.get_args(celeba.Attribute))


def write_list(path, header, rows):
    lines = [
        str(len(rows)),
        " ".join(header),
        *(f"{n} {' '.join(map(str, v))}" for n, v in zip(NAMES, rows, strict=True)),
    ]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        Image.new("RGB", (178, 218), (20 * number, 0, 200)).save(folder / "img_align_celeba" / name, quality=95)
    (folder / celeba.PARTITION).write_text("".join(f"{n} {s}\n" for n, s in zip(NAMES, SPLITS, strict=True)))
    rows = [[own if name == "Smiling" else -1 for name in ATTRIBUTES] for own in SMILING]
    write_list(folder / celeba.LABELS, ATTRIBUTES, rows)
    header = [f"{point}_{axis}" for point in celeba.POINTS for axis in "xy"]
    write_list(folder / celeba.LANDMARKS, header, [POINTS] * len(NAMES))
    return folder


def taken(place, sizes=(6, 2, 4), **options):
    options = {"declared_sizes": [list(sizes)], "size": 64, **options}
    config = from_mapping(celeba.Config, {"name": "celeba", **options}, "dataset")
    return load(config, DecoyConfig(name="none"), seed=0, root=place.parent, cache=place.parent / "cache")


def test_official_split_labels_and_stamps(place):
    found = taken(place)
    assert found.name == "celeba_Smiling"
    assert found.class_names == ("not Smiling", "Smiling")
    for split, number in (("train", 0), ("val", 1), ("test", 2)):
        own = [row for row, of in enumerate(SPLITS) if of == number]
        part = getattr(found, split)
        assert part.index.tolist() == own
        assert part.y.tolist() == [int(SMILING[row] > 0) for row in own]
        assert part.x.float().mean((2, 3))[:, 0].tolist() == pytest.approx([20 * row for row in own], abs=3)
    assert found.stamps == ("subset",)
    assert found.train.annotated.all()


def expected(left, top, right, bottom, size=64):
    """A loop over the reduced pixels: which of them touch a whole pixel that the box touches."""
    edges = np.floor([left, top]), np.ceil([right, bottom])
    mask = np.zeros((size, size), dtype=bool)
    for y in range(size):
        for x in range(size):
            low = np.array([x * 178 // size, y * 218 // size])
            high = np.ceil([(x + 1) * 178 / size, (y + 1) * 218 / size])
            mask[y, x] = bool((high > edges[0]).all() and (low < edges[1]).all())
    return mask


@pytest.mark.parametrize(
    ("options", "box"),
    [
        ({}, (90 - 28, 152 - 16, 90 + 28, 152 + 16)),
        ({"region": "eyes"}, (89 - 48, 111 - 20, 89 + 48, 111 + 20)),
        ({"region": "eyes", "region_size": [1.0, 0.5]}, (69, 101, 109, 121)),
        ({"region": "above_eyes"}, (29, 11, 149, 91)),
        ({"region": "above_eyes", "region_gap": 1.0, "region_size": [8, 4]}, (0, 0, 178, 71)),
    ],
)
def test_boxes_by_landmarks_after_resizing(place, options, box):
    found = taken(place, **options)
    np.testing.assert_array_equal(found.test.mask[0].numpy(), expected(*box))
    assert torch.equal(found.test.mask[0], found.train.mask[-1])


def test_attributes_with_and_without_a_region(place):
    places = {name: celeba.Config(attribute=name).place for name in ATTRIBUTES}
    assert {n: where for n, where in places.items() if where != "none"} == {
        "Eyeglasses": "eyes",
        "Smiling": "mouth",
        "Wearing_Hat": "above_eyes",
    }
    assert len(places) == 40
    (place / celeba.LANDMARKS).unlink()
    assert not taken(place, region="none").has_annotations
    with pytest.raises(UserError, match=r"cannot read .*list_landmarks"):
        taken(place)


def test_another_attribute_decodes_nothing_anew(place):
    taken(place)
    (stored,) = (place.parent / "cache").glob("celeba-*.pt")
    before = stored.stat().st_mtime_ns
    text = (place / celeba.LABELS).read_text()
    (place / celeba.LABELS).write_text(text.replace("000001.jpg -1", "000001.jpg 1"))
    found = taken(place, attribute="5_o_Clock_Shadow", size=64)
    assert found.train.y.tolist() == [1, 0, 0, 0, 0, 0]
    assert [path.stat().st_mtime_ns for path in (place.parent / "cache").glob("celeba-*.pt")] == [before]


def test_a_shortened_folder_is_refused_unless_declared(place):
    with pytest.raises(
        UserError, match=r"6 training, 2 validation and 4 test images of CelebA, expected 162770, 19867 a"
    ):
        taken(place, declared_sizes=[])
    (place / "img_align_celeba" / NAMES[-1]).unlink()
    with pytest.raises(UserError, match=r"declare a shortened set: 'dataset.declared_sizes=\[\[6,2,3\]\]'"):
        taken(place)
    found = taken(place, sizes=(6, 2, 3))
    assert (len(found.test), found.stamps) == (3, ("subset",))


def test_a_whole_set_bears_no_stamp(place, monkeypatch):
    monkeypatch.setattr(celeba, "OFFICIAL", (6, 2, 4))
    assert taken(place, declared_sizes=[]).stamps == ()
    assert taken(place, declared_sizes=[], balanced_sampling=True).stamps == ("balanced accuracy",)


def test_what_is_missing_or_misspelt(place, tmp_path):
    with pytest.raises(UserError, match=r"attribute=Smilling must be one of .*Did you mean 'Smiling'\?"):
        taken(place, attribute="Smilling")
    with pytest.raises(UserError, match="no training image of class Male"):
        taken(place, attribute="Male")
    with pytest.raises(UserError, match=r"no CelebA .* in .*mmlab.ie.cuhk.edu.hk"):
        taken(tmp_path / "elsewhere" / "celeba")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (celeba.PARTITION, "000003.jpg 0", "000003.jpg", "list_eval_partition.txt is damaged: line 3"),
        (celeba.LABELS, "12\n", "13\n", "says 13 images, and 12 follow"),
        (celeba.LABELS, "Smiling ", "Smilling ", "does not name the 40 columns"),
        (celeba.LABELS, "000003.jpg -1", "000003.jpg", "no line with 40 numbers for 000003.jpg"),
        (celeba.LABELS, "000003.jpg", "000033.jpg", "no line with 40 numbers for 000003.jpg"),
        (celeba.LANDMARKS, "000003.jpg 69", "000003.jpg ?", "000003.jpg: invalid literal"),
    ],
)
def test_damaged_lists_are_named(place, file, old, new, message):
    text = (place / file).read_text()
    assert old in text
    (place / file).write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        taken(place)


def test_a_label_that_is_neither(place):
    text = (place / celeba.LABELS).read_text()
    (place / celeba.LABELS).write_text(text.replace("000003.jpg -1", "000003.jpg 0"))
    with pytest.raises(UserError, match=r"5_o_Clock_Shadow of 000003.jpg is 0, neither 1 nor -1"):
        taken(place, attribute="5_o_Clock_Shadow")


def test_a_damaged_image_is_named(place):
    file = place / "img_align_celeba" / NAMES[4]
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(UserError, match=r"cannot read the image .*000005.jpg"):
        taken(place)
