"""RSNA pneumonia 2018 in a miniature of Kaggle's folder, and the reading of DICOM files."""

import io
import sys

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from xfeedback.config import from_mapping
from xfeedback.data import dicom, load
from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.images import picture_of
from xfeedback.data.sets import rsna
from xfeedback.errors import UserError

NORMAL, OTHER, OPACITY = rsna.CLASSES
COUNTS = {NORMAL: 10, OTHER: 10, OPACITY: 10}
BOXES = {"p20": [(100.5, 200, 50, 101.2), (700, 800, 400, 400)], "p21": [(0, 0, 1, 1)]}


def write_dicom(path, pixels, bits=8, jpeg=False, **elements):
    data, data.file_meta = Dataset(), FileMetaDataset()
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit if jpeg else ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = "1.2", "1.2.3"
    data.Rows, data.Columns, data.SamplesPerPixel = *pixels.shape[:2], 1
    data.BitsAllocated, data.BitsStored, data.HighBit = 8 * pixels.itemsize, bits, bits - 1
    data.PixelRepresentation, data.PhotometricInterpretation = 0, "MONOCHROME2"
    for name, value in elements.items():
        setattr(data, name, value)
    content = pixels.tobytes()
    if jpeg:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
        content = encapsulate([buffer.getvalue()])
    data.PixelData = content
    data["PixelData"].VR = "OB" if jpeg or pixels.itemsize == 1 else "OW"
    data.save_as(path, enforce_file_format=True)


def patients():
    names = [name for name, count in COUNTS.items() for _ in range(count)]
    return {f"p{number:02d}": name for number, name in enumerate(names)}


def boxes_of(patient, name):
    return BOXES.get(patient, [(300, 400, 100, 50)]) if name == OPACITY else []


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number, patient in enumerate(patients()):
        write_dicom(folder / f"{patient}.dcm", np.full((1024, 1024), 8 * number, dtype=np.uint8), jpeg=True)
    return folder


@pytest.fixture
def place(tmp_path, pictures):
    folder = tmp_path / "rsna"
    (folder / rsna.PICTURES).mkdir(parents=True)
    for path in pictures.iterdir():
        (folder / rsna.PICTURES / path.name).hardlink_to(path)
    labels, details = ["patientId,x,y,width,height,Target"], ["patientId,class"]
    for patient, name in patients().items():
        own = boxes_of(patient, name)
        labels += [f"{patient},{','.join(map(str, box))},1" for box in own] or [f"{patient},,,,,0"]
        details += [f"{patient},{name}"] * max(1, len(own))
    (folder / rsna.LABELS).write_text("\n".join(labels) + "\n")
    (folder / rsna.DETAILS).write_text("\n".join(details) + "\n")
    return folder


def taken(place, sizes=(30, 11), **options):
    options = {"declared_sizes": [list(sizes)], "size": 64, **options}
    config = from_mapping(rsna.Config, {"name": "rsna", **options}, "dataset")
    return load(config, DecoyConfig(name="none"), seed=0, root=place.parent, cache=place.parent / "cache")


def collected(found, name):
    """An array of all splits in the order of the patients."""
    parts = [found.train, found.val, found.test]
    order = np.concatenate([part.index for part in parts]).argsort()
    return np.concatenate([getattr(part, name) for part in parts])[order]


def test_classes_levels_and_splits(place):
    found = taken(place)
    assert (len(found.train), len(found.val), len(found.test)) == (24, 3, 3)
    assert found.in_shape == (1, 64, 64)
    assert found.class_names == ("Normal", "Not Normal", "Lung Opacity")
    assert collected(found, "y").tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert sorted(found.test.y.tolist()) == sorted(found.val.y.tolist()) == [0, 1, 2]
    levels = collected(found, "x").mean((1, 2, 3))
    assert levels.tolist() == pytest.approx([8 * number for number in range(30)], abs=1.5)
    assert found.stamps == ("subset", "balanced accuracy")
    assert (found.name, found.balanced_sampling) == ("rsna", True)


def test_two_classes_have_the_same_split_and_pixels(place):
    detailed, opacity = taken(place), taken(place, labels="opacity")
    assert opacity.class_names == ("No Lung Opacity", "Lung Opacity")
    assert opacity.name == "rsna_opacity"
    for split in ("train", "val", "test"):
        ours, theirs = getattr(opacity, split), getattr(detailed, split)
        assert ours.index.tolist() == theirs.index.tolist()
        assert ours.y.tolist() == (theirs.y == 2).int().tolist()
    assert len(list((place.parent / "cache").glob("rsna-*.pt"))) == 1
    assert opacity.fingerprint != detailed.fingerprint


def test_boxes_after_resizing(place):
    """16 pixels become one: [100, 151) x [200, 302) touches 6..9 x 12..18; a box over the edge is cut off there."""
    found = taken(place)
    mask, annotated = collected(found, "mask"), collected(found, "annotated")
    expected = np.zeros((64, 64), dtype=bool)
    expected[12:19, 6:10] = True
    expected[50:, 43:] = True
    np.testing.assert_array_equal(mask[20], expected)
    assert np.argwhere(mask[21]).tolist() == [[0, 0]]
    assert annotated.tolist() == [False] * 20 + [True] * 10
    assert not mask[:20].any()


def test_a_shortened_folder_is_refused_unless_declared(place):
    with pytest.raises(UserError, match=r"30 images and 11 boxes of RSNA pneumonia 2018, expected 26684 and 9555"):
        taken(place, declared_sizes=[])
    (place / rsna.PICTURES / "p20.dcm").unlink()
    with pytest.raises(UserError, match=r"29 images and 9 boxes .*'dataset.declared_sizes=\[\[29,9\]\]'"):
        taken(place)
    assert len(collected(taken(place, sizes=(29, 9)), "y")) == 29
    for path in (place / rsna.PICTURES).iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"0 images and 0 boxes"):
        taken(place)


def test_a_whole_set_has_the_official_numbers_of_each_class(place, monkeypatch):
    monkeypatch.setattr(rsna, "OFFICIAL", (30, 11))
    with pytest.raises(UserError, match=r"its classes have \(10, 10, 10\) images"):
        taken(place, declared_sizes=[])
    monkeypatch.setattr(rsna, "OFFICIAL_CLASSES", (10, 10, 10))
    assert taken(place, declared_sizes=[]).stamps == ("balanced accuracy",)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (rsna.LABELS, "Target", "target", "it has no column Target"),
        (rsna.LABELS, "p00,,,,,0", "p00,,", "line 2 is cut off"),
        (rsna.LABELS, "p00,,,,,0", "p00,,,,,2", "line 2: Target is '2'"),
        (rsna.LABELS, "p21,0,", "p21,?,", "could not convert string to float"),
        (rsna.LABELS, "p21,0,", "p21,1024,", "the box has no pixel in an image of 1024x1024"),
        (rsna.LABELS, "p21,0,0,1,1,1", "p21,,,,,0", "p21 is Lung Opacity here and has 0 boxes"),
        (rsna.LABELS, "p00,,,,,0\n", "", "p00 is not in both this file and stage_2_train_labels.csv"),
        (rsna.DETAILS, "p00,Normal", "p00,normal", "the class 'normal' is none of"),
        (rsna.DETAILS, "p00,Normal", "p00,Normal\np00,Lung Opacity", "line 3: p00 has two classes"),
    ],
)
def test_damaged_tables_are_named(place, file, old, new, message):
    text = (place / file).read_text()
    assert old in text
    (place / file).write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match="is damaged") as caught:
        taken(place)
    assert message in str(caught.value)


def test_what_is_missing_is_named(place, tmp_path):
    with pytest.raises(UserError, match=r"no RSNA pneumonia 2018 .* in .*kaggle.com"):
        taken(tmp_path / "elsewhere" / "rsna")
    (place / rsna.DETAILS).unlink()
    with pytest.raises(UserError, match=r"cannot read .*stage_2_detailed_class_info.csv"):
        taken(place)


def test_a_damaged_picture_is_named(place):
    for content, message in ((b"no DICOM file", "p07.dcm"), (None, "p07.dcm")):
        file = place / rsna.PICTURES / "p07.dcm"
        whole = file.read_bytes()
        file.unlink()
        file.write_bytes(content or whole[: len(whole) // 2])
        with pytest.raises(UserError, match=rf"cannot read the image .*{message}"):
            taken(place)
        file.write_bytes(whole)


def test_without_pydicom_one_line_says_what_to_install(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UserError, match=r"p00.dcm is a DICOM file, and reading it needs pydicom: pip install pydicom"):
        taken(place)


def test_levels_of_more_bits_and_inverted_ones(tmp_path):
    levels = np.array([[0, 15, 16], [2048, 4080, 4095]], dtype=np.uint16)
    write_dicom(tmp_path / "a.dcm", levels, bits=12)
    assert np.asarray(picture_of(tmp_path / "a.dcm")).tolist() == [[0, 0, 1], [128, 255, 255]]
    write_dicom(tmp_path / "b.dcm", levels, bits=12, PhotometricInterpretation="MONOCHROME1")
    assert np.asarray(dicom.picture(tmp_path / "b.dcm")).tolist() == [[255, 255, 254], [127, 0, 0]]


def test_signed_levels_and_colours_are_refused(tmp_path):
    write_dicom(tmp_path / "a.dcm", np.zeros((2, 2), dtype=np.int16), bits=16, PixelRepresentation=1)
    colours = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    write_dicom(tmp_path / "b.dcm", np.zeros((2, 2, 3), dtype=np.uint8), **colours)
    for name in ("a", "b"):
        with pytest.raises(UserError, match=rf"{name}.dcm is no single grey picture"):
            dicom.picture(tmp_path / f"{name}.dcm")


def test_a_damaged_file_is_one_error_and_no_warning(tmp_path, recwarn):
    file = tmp_path / "a.dcm"
    write_dicom(file, np.full((64, 64), 8, dtype=np.uint8), jpeg=True)
    file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(UserError, match=r"cannot read the image .*a.dcm"):
        dicom.picture(file)
    assert not recwarn.list
