from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xfeedback.data import regions
from xfeedback.errors import UserError

VOC = """<annotation><size><width>8</width><height>6</height><depth>3</depth></size>
<object><name>cat</name><bndbox><xmin>2</xmin><ymin>1</ymin><xmax>4</xmax><ymax>3</ymax></bndbox></object>
<object><name> dog </name><bndbox><xmin>7</xmin><ymin>5</ymin><xmax>9</xmax><ymax>6</ymax></bndbox></object>
</annotation>"""


def saved(tmp_path, values, mode="L"):
    path = tmp_path / "m.png"
    picture = Image.fromarray(np.asarray(values, dtype=np.uint8))
    (picture if mode == "L" else picture.convert(mode)).save(path)
    return path


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([0, 0, 0, 0], [0, 0, 0, 0]),
        ([7, 7, 7, 7], [1, 1, 1, 1]),
        ([0, 1, 1, 0], [0, 1, 1, 0]),
        ([0, 255, 0, 3], [0, 1, 0, 0]),
        ([200, 255, 200, 200], [0, 1, 0, 0]),
        ([0, 127, 128, 255], [0, 0, 1, 1]),
    ],
)
def test_two_levels_or_grey_from_128_on(tmp_path, levels, expected):
    mask = regions.png(saved(tmp_path, [levels]), Path("p.jpg"))(1, 4)
    assert mask.tolist() == [[bool(e) for e in expected]]


def test_masks_that_are_known_to_be_grey_are_always_cut_at_128(tmp_path):
    path = saved(tmp_path, [[0, 100, 0, 100]])
    assert not regions.png(path, Path("p.jpg"), grey=True)(1, 4).any()
    assert regions.png(path, Path("p.jpg"))(1, 4).sum() == 2


@pytest.mark.parametrize("mode", ["1", "RGB", "RGBA", "LA", "P"])
def test_other_kinds_of_png(tmp_path, mode):
    path = saved(tmp_path, [[0, 255], [255, 0]], mode)
    assert regions.png(path, Path("p.jpg"))(2, 2).tolist() == [[False, True], [True, False]]


@pytest.mark.parametrize(
    ("palette", "expected"),
    [
        ([255, 255, 255, 0, 0, 0], [True, False]),
        ([0, 0, 0, 255, 255, 255], [False, True]),
        ([255, 0, 0, 0, 0, 0], [True, False]),
        ([0, 0, 0, 128, 0, 0], [False, True]),
        ([90, 0, 0, 80, 0, 0], [False, True]),
        ([0, 0, 0, 0, 0, 0], [False, True]),
    ],
)
def test_black_and_another_colour_of_a_palette_count_by_brightness(tmp_path, palette, expected):
    picture = Image.frombytes("P", (2, 1), bytes([0, 1]))
    picture.putpalette(palette)
    picture.save(tmp_path / "m.png")
    assert regions.png(tmp_path / "m.png", Path("p.jpg"))(1, 2).tolist() == [expected]
    assert regions.read_levels(tmp_path / "m.png").tolist() == [[0, 1]]


def test_a_soft_mask_whose_colours_were_reduced_is_cut_at_128(tmp_path):
    soft = np.array([[0, 60, 120, 140, 200, 255]] * 6, dtype=np.uint8)
    Image.fromarray(soft).convert("RGB").quantize(8).save(tmp_path / "m.png")
    assert Image.open(tmp_path / "m.png").mode == "P"
    assert regions.png(tmp_path / "m.png", Path("p.jpg"))(6, 6)[0].tolist() == [False] * 3 + [True] * 3


@pytest.mark.parametrize("ink", [0, 255])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_region_may_lie_in_the_transparency_alone(tmp_path, ink, mode):
    levels = np.full((2, 2, 4), ink, dtype=np.uint8)
    levels[..., 3] = [[0, 255], [255, 0]]
    Image.fromarray(levels).convert(mode).save(tmp_path / "m.png")
    assert regions.png(tmp_path / "m.png", Path("p.jpg"))(2, 2).tolist() == [[False, True], [True, False]]


@pytest.mark.parametrize(("ink", "expected"), [(0, False), (255, True)])
def test_an_opaque_mask_of_one_colour_is_empty_or_whole(tmp_path, ink, expected):
    Image.fromarray(np.full((2, 2, 3), ink, dtype=np.uint8)).convert("RGBA").save(tmp_path / "m.png")
    assert (regions.png(tmp_path / "m.png", Path("p.jpg"))(2, 2) == expected).all()


def test_palettes_count_by_number_not_by_colour(tmp_path):
    picture = Image.fromarray(np.array([[0, 1, 1, 0]], dtype=np.uint8), mode="P")
    picture.putpalette([0, 0, 0, 10, 0, 0])
    picture.save(tmp_path / "p.png")
    assert regions.png(tmp_path / "p.png", Path("p.jpg"))(1, 4).tolist() == [[False, True, True, False]]


def refused(region, height, width, *words):
    with pytest.raises(UserError) as caught:
        region(height, width)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def test_a_mask_of_another_size(tmp_path):
    region = regions.png(saved(tmp_path, np.zeros((4, 5))), Path("images/cat/a.jpg"))
    refused(region, 4, 6, "m.png is 5x4", "images/cat/a.jpg 6x4")


def test_a_mask_that_is_no_mask(tmp_path):
    refused(regions.png(saved(tmp_path, [[0, 1, 2, 3]]), Path("p")), 1, 4, "4 levels up to 3", "255")
    (tmp_path / "broken.png").write_bytes(b"nothing")
    refused(regions.png(tmp_path / "broken.png", Path("p")), 1, 4, "cannot read the mask", "broken.png")
    refused(regions.png(tmp_path / "nowhere.png", Path("p")), 1, 4, "cannot read the mask", "nowhere.png")
    Image.fromarray(np.zeros((1, 4), dtype=np.uint16)).save(tmp_path / "deep.png")
    refused(regions.png(tmp_path / "deep.png", Path("p")), 1, 4, "8 bit")


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ((1, 2, 3, 4), range(2, 4), range(1, 3)),
        ((-5, -1, 2, 1), range(1), range(2)),
        ((6, 4, 99, 99), range(4, 6), range(6, 8)),
        ((0.5, 0.5, 1.5, 1.2), range(2), range(2)),
    ],
)
def test_boxes_are_cut_off_at_the_edge(box, rows, columns):
    expected = np.zeros((6, 8), dtype=bool)
    expected[np.ix_(rows, columns)] = True
    np.testing.assert_array_equal(regions.boxes([box], "b")(6, 8), expected)


@pytest.mark.parametrize("box", [(8, 0, 9, 3), (-3, 0, 0, 3), (2, 2, 2, 4), (4, 2, 2, 4), (0, 6, 3, 9)])
def test_a_box_without_a_pixel_in_the_image_is_refused(box):
    refused(regions.boxes([(0, 0, 1, 1), box], "boxes.csv, a.jpg"), 6, 8, "boxes.csv, a.jpg", "no pixel", "8x6")


def test_voc_counts_from_one_and_includes_the_last_pixel(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(VOC)
    expected = np.zeros((6, 8), dtype=bool)
    expected[0:3, 1:4] = True
    np.testing.assert_array_equal(regions.read_voc(path, ["cat"])(6, 8), expected)
    expected[4:6, 6:8] = True
    np.testing.assert_array_equal(regions.read_voc(path)(6, 8), expected)
    assert not regions.read_voc(path, ["cow"])(6, 8).any()
    refused(regions.read_voc(path), 8, 6, "a.xml is for an image of 8x6", "6x8")


UNKNOWN = '<?xml version="1.0" encoding="nonsense"?><annotation/>'


@pytest.mark.parametrize(
    "content", [UNKNOWN, "<annotation>", "", "<a><object><bndbox><xmin>x</xmin></bndbox></object></a>"]
)
def test_no_voc(tmp_path, content):
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(UserError, match=r"a\.xml is no Pascal VOC"):
        regions.read_voc(tmp_path / "a.xml")


def test_tables_of_boxes(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text("file,x0,y0,x1,y1\ncat/a.jpg,0,1,2,3\ncat/b.jpg,1,1,2,2\ncat/a.jpg,4,4,5.5,6\n")
    assert regions.read_csv(path) == {"cat/a.jpg": [(0, 1, 2, 3), (4, 4, 5.5, 6)], "cat/b.jpg": [(1, 1, 2, 2)]}
    for content in ("file,x0,y0\na,1,2\n", "file,x0,y0,x1,y1\na,1,2,3\n", "file,x0,y0,x1,y1\na,1,2,3,z\n"):
        path.write_text(content)
        with pytest.raises(UserError, match="no table with the columns file, x0, y0, x1, y1"):
            regions.read_csv(path)
