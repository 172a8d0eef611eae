"""Explanations of series and texts on the page."""

import numpy as np
import pytest
from PIL import Image

from xfeedback.engine.pictures import run_picture, write_pictures
from xfeedback.engine.text_picture import LINE, text_picture
from xfeedback.report.evidence import Evidence, read_explanations
from xfeedback.report.heatmaps import grid
from xfeedback.report.series import SIDE, as_images, strip_top


def series(features=2, steps=16):
    values = np.arange(3 * steps * features, dtype=np.float32).reshape(3, steps, features)
    mask = np.zeros(values.shape, dtype=bool)
    mask[:, 4:8, 0] = True
    valid = np.ones((3, steps), dtype=bool)
    valid[2, 8:] = False
    return {"series": values, "mask": mask, "valid": valid, "map/gradient": mask.astype(np.float16)} | said()


def texts():
    tokens = np.array([["good", "<b>film</b>", "&"], ["bad", "film", "[PAD]"], ["film", "[PAD]", "[PAD]"]])
    weights = np.array([[1, 0.5, 0], [0.25, 1, 0], [0, 0, 0]], dtype=np.float16)
    return {"tokens": tokens, "valid": tokens != "[PAD]", "mask": weights == 1, "map/gradient": weights} | said()


def said():
    return {"label": np.array([0, 1, 1]), "prediction": np.array([0, 0, 1]), "index": np.array([3, 5, 8])}


def page(tmp_path, arrays):
    write_pictures(tmp_path, arrays, ["no", "yes"])
    Image.open(tmp_path / "explanations.png").verify()
    warnings: list[str] = []
    found = read_explanations(tmp_path, warnings)
    assert warnings == []
    assert found is not None
    evidence = Evidence(histories={}, seed=0, explanations={"plain": found}, left_out=0, warnings=())
    return found, grid(evidence, {"plain": 0}, "g0")


@pytest.mark.parametrize("features", [1, 2, 9])
def test_cells_lie_in_the_strip_under_the_lines_time_to_the_right(features):
    arrays = series(features)
    found = as_images(arrays)
    top = strip_top(features)
    assert (top == 0) == (features > 8)
    for name in ("mask", "map/gradient"):
        assert found[name].shape == (3, SIDE, SIDE)
        rows, columns = np.nonzero(found[name][0])
        assert rows.min() == top
        assert rows.max() - top + 1 == pytest.approx((SIDE - top) / features, abs=1)
        assert (columns.min(), columns.max()) == (32, 63)
    assert found["images"].shape == (3, SIDE, SIDE, 3)
    assert len(np.unique(found["images"][0][:, 66:].reshape(-1, 3), axis=0)) > 1
    assert len(np.unique(found["images"][2][:, 66:].reshape(-1, 3), axis=0)) == 1  # drawn up to where it ends
    assert run_picture(arrays, ["no", "yes"]).width > 3 * 96


def test_series_are_shown_as_pictures(tmp_path):
    found, html = page(tmp_path, series())
    assert (found.kind, found.valid) == ("series", None)
    assert "test series 3" in html
    assert html.count("<img") == 3


def test_texts_are_shown_as_coloured_tokens_without_padding(tmp_path):
    found, html = page(tmp_path, texts())
    assert found.kind == "text"
    assert '<span class="token" style="--a:100%">good</span>' in html
    assert '<span class="token" style="--a:50%">&lt;b&gt;film&lt;/b&gt;</span>' in html
    assert "<mark>good</mark>" in html
    assert "[PAD]" not in html
    assert html.count('class="token"') == 3 + 2 + 1
    assert "says 0" in html
    assert "<img" not in html


def test_the_picture_of_texts_marks_weights_and_wraps():
    arrays = texts()
    one = np.array(text_picture(arrays, ["no", "yes"]))
    assert (one == (240, 110, 45)).all(-1).any()
    long = arrays | {name: np.repeat(arrays[name], 30, 1) for name in ("tokens", "valid", "mask", "map/gradient")}
    assert text_picture(long, ["no", "yes"]).height >= one.shape[0] + 2 * LINE


@pytest.mark.parametrize("change", [{"map/gradient": np.zeros((3, 4))}, {"label": np.zeros(2)}])
def test_arrays_that_do_not_fit_are_reported(tmp_path, change):
    np.savez(tmp_path / "explanations.npz", **(texts() | change))
    warnings: list[str] = []
    assert read_explanations(tmp_path, warnings) is None
    assert "damaged" in warnings[0]
