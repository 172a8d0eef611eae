import time

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from xfeedback.data.decoy import DecoyConfig, codes, draw, drawn_colours, patches, shown

N = 10_000
Y = np.arange(N) % 10


@pytest.fixture(scope="module")
def draws():
    return draw(3, "test", np.arange(N), 10)


def test_draws_follow_the_published_order():
    found = draw(5, "val", np.array([0, 41]), 10)
    for row, position in enumerate((0, 41)):
        rng = np.random.default_rng([5, 1, position])
        r, s, u, o = rng.integers(0, 2), rng.integers(0, 2), rng.integers(0, 10), rng.integers(1, 10)
        assert (found.corner[row], found.u[row], found.o[row]) == (2 * r + s, u, o)
        assert found.t[row] == rng.random()


def test_an_image_keeps_its_draws_in_any_worker(draws):
    few = draw(3, "test", np.array([9, 4321, 7]), 10)
    np.testing.assert_array_equal(few.corner, draws.corner[[9, 4321, 7]])
    np.testing.assert_array_equal(few.t, draws.t[[9, 4321, 7]])


def test_seed_and_split_change_the_draws(draws):
    assert (draw(4, "test", np.arange(N), 10).corner != draws.corner).mean() > 0.7
    assert (draw(3, "train", np.arange(N), 10).corner != draws.corner).mean() > 0.7


def test_corners_and_colours_are_uniform(draws):
    share = np.bincount(draws.corner, minlength=4) / N
    assert np.abs(share - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / N)
    assert chisquare(np.bincount(draws.u, minlength=10)).pvalue > 1e-3
    assert chisquare(np.bincount(draws.o, minlength=10)[1:]).pvalue > 1e-3
    assert abs(draws.t.mean() - 0.5) < 4 / np.sqrt(12 * N)
    assert 0 <= draws.t.min() < draws.t.max() < 1


def test_conflict_never_shows_the_class(draws):
    colour = shown("conflict", Y, draws, 10, 1.0)
    assert (colour != Y).all()
    assert chisquare(np.bincount((colour - Y) % 10, minlength=10)[1:]).pvalue > 1e-3


@pytest.mark.parametrize("p", [0.0, 0.9, 1.0])
def test_share_of_correlated_patches(draws, p):
    colour = shown("correlated", Y, draws, 10, p)
    np.testing.assert_array_equal(colour[draws.t >= p], draws.u[draws.t >= p])
    expected = p + (1 - p) / 10
    assert abs((colour == Y).mean() - expected) <= 4 * np.sqrt(expected * (1 - expected) / N)


def test_gray_codes_of_ten_classes():
    levels = codes("gray", 10, 1)[:, 0] * 255
    np.testing.assert_allclose(levels, 255 - 25 * np.arange(10), atol=1e-4)
    assert levels[0] == 255


def test_gray_codes_of_other_counts_span_the_same_range():
    np.testing.assert_allclose(codes("gray", 4, 3)[:, 2] * 255, [255, 180, 105, 30], atol=1e-4)


def test_hue_codes():
    expected = [(255, 0, 0), (255, 153, 0), (204, 255, 0), (51, 255, 0), (0, 255, 102), (0, 255, 255), (0, 102, 255)]
    expected += [(51, 0, 255), (204, 0, 255), (255, 0, 153)]
    np.testing.assert_allclose(codes("hue", 10, 3) * 255, expected, atol=1e-4)


def test_hue_needs_colour():
    with pytest.raises(ValueError, match="code=hue must be gray"):
        codes("hue", 10, 1)


@pytest.mark.parametrize(("side", "size", "grid"), [(32, 4, 8), (28, 4, 7), (224, 16, 14)])
def test_a_patch_covers_exactly_one_cell(side, size, grid):
    masks = torch.from_numpy(patches(size, side, side))
    assert (masks.sum((1, 2)) == size * size).all()
    cells = torch.nn.functional.adaptive_max_pool2d(masks[:, None].float(), grid)[:, 0]
    assert (cells.sum((1, 2)) == 1).all()
    assert [int(c.flatten().argmax()) for c in cells] == [0, grid - 1, grid * (grid - 1), grid * grid - 1]


def test_patch_too_large():
    with pytest.raises(ValueError, match="size=15"):
        patches(15, 28, 28)


@pytest.mark.parametrize(
    "wrong", [{"size": 0}, {"p": 1.5}, {"p": -0.1}, {"inverted": True, "code": "hue"}, {"p": 0.9, "code": "released"}]
)
def test_refused_options(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DecoyConfig(**wrong)


def test_drawing_a_whole_training_set_takes_seconds():
    start = time.process_time()
    draw(0, "train", np.arange(60_000), 10)
    assert time.process_time() - start < 4  # 1.1 s when idle


def test_released_patches_are_filled_rectangles_with_both_ends_drawn():
    """OpenCV draws the rectangle from a corner to the pixel 16 further on, both included, cut off at the edge."""
    cv2 = pytest.importorskip("cv2")
    found = patches(16, 224, 224, both_ends=True)
    for corner, mask in enumerate(found):
        top, left = (208 * side for side in divmod(corner, 2))
        drawn = cv2.rectangle(np.zeros((224, 224), np.uint8), (left, top), (left + 16, top + 16), 1, -1)
        np.testing.assert_array_equal(mask, drawn > 0)
    assert [int(mask.sum()) for mask in found] == [17 * 17, 17 * 16, 16 * 17, 16 * 16]


def test_released_colours_are_red_and_blue_drawn_for_each_image():
    table = codes("released", 2, 3) * 255
    rows = drawn_colours(3, "train", np.arange(N))
    red, green, blue = table[rows].T
    assert (green == 0).all()
    for level in (red, blue):
        counts = np.bincount(level.round().astype(int), minlength=256)
        assert counts[:50].sum() == 0
        assert chisquare(counts[50:]).pvalue > 1e-3
    assert abs(np.corrcoef(red, blue)[0, 1]) < 4 / np.sqrt(N)
    np.testing.assert_array_equal(drawn_colours(3, "train", np.array([4321, 7])), rows[[4321, 7]])
    assert (drawn_colours(3, "test", np.arange(N)) != rows).mean() > 0.9
    with pytest.raises(ValueError, match="code=released must be gray"):
        codes("released", 2, 1)
