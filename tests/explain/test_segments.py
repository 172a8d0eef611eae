"""Segments of images, series and texts: labels run from 0, padding has none, superpixels are those of scikit-image."""

import numpy as np
import pytest
import torch
from skimage.segmentation import slic

from xfeedback.errors import UserError
from xfeedback.explain.segments import Segmenter, Segments, band_labels, grid_labels, slic_labels, token_labels


def clips(n: int = 3, channels: int = 1) -> torch.Tensor:
    return torch.rand(n, channels, 31, 33, generator=torch.Generator().manual_seed(0))


def test_cells_of_a_grid_are_as_equal_as_can_be():
    labels = grid_labels((7, 6), 3, 2)
    assert labels[:, 0].tolist() == [0, 0, 0, 2, 2, 4, 4]
    assert labels[0].tolist() == [0, 0, 0, 1, 1, 1]
    assert grid_labels((2, 2), 3, 3).unique().tolist() == [0, 1, 2, 3]


def test_bands_and_tokens_leave_padding_out():
    valid = torch.tensor([[1, 1, 1, 1, 1, 0], [1, 0, 0, 0, 0, 0], [0] * 6, [0, 1, 1, 0, 1, 1]]).bool()
    assert band_labels(valid, 2).tolist() == [
        [0, 0, 0, 1, 1, -1],
        [0, -1, -1, -1, -1, -1],
        [-1] * 6,
        [-1, 0, 0, -1, 1, 1],
    ]
    assert token_labels(valid)[3].tolist() == [-1, 0, 1, -1, 2, 3]


@pytest.mark.parametrize(("channels", "extra"), [(1, 0), (1, 2), (3, 0)])
def test_superpixels_are_those_of_scikit_image(channels, extra):
    image = clips(1, channels)[0]
    values = np.concatenate([image.permute(1, 2, 0).numpy(), np.zeros((31, 33, extra))], 2)
    expected = slic(values, n_segments=10, compactness=10, sigma=1, start_label=1, channel_axis=-1)
    found = slic_labels(image, 10, channels=channels + extra)
    assert torch.equal(found + 1, torch.from_numpy(expected))
    assert found.unique().tolist() == list(range(int(found.max()) + 1))


def test_constant_images_have_superpixels_too():
    labels = slic_labels(torch.full((1, 20, 20), 0.3), 4)
    assert labels.unique().tolist() == list(range(int(labels.max()) + 1))


def test_images_in_half_precision_have_superpixels_too():
    x = clips().bfloat16()
    assert torch.equal(Segmenter(kind="slic")(x).labels, Segmenter(kind="slic")(x.float()).labels)


def test_superpixels_are_computed_once_a_clip(monkeypatch):
    calls = []
    real = slic_labels
    monkeypatch.setattr("xfeedback.explain.segments.slic_labels", lambda *a, **k: calls.append(1) or real(*a, **k))
    segmenter, x = Segmenter(kind="slic"), clips()
    first = segmenter(x)
    again = segmenter(x.flip(0))
    assert len(calls) == 3
    assert torch.equal(first.labels, again.labels.flip(0))
    assert first.counts == tuple(int(labels.max()) + 1 for labels in first.labels)


def test_blank_images_of_other_proportions_have_their_own_superpixels():
    """Their bytes are the same."""
    segmenter = Segmenter(kind="slic", n=4)
    assert [segmenter(torch.zeros(1, 1, *size)).labels.shape[1:] for size in ((8, 16), (16, 8))] == [(8, 16), (16, 8)]


def test_each_kind_of_input_has_its_own_segments():
    auto = Segmenter()
    assert auto(clips()).labels.shape == (3, 31, 33)
    assert auto(torch.rand(2, 9, 5)).counts == (9, 9)
    assert auto(torch.tensor([[4, 2, 0], [1, 0, 0]])).counts == (2, 1)
    bands = Segmenter(kind="time", n=4)
    assert bands(clips()).labels[0, 5].unique_consecutive().tolist() == [0, 1, 2, 3]
    assert (bands(clips()).labels == bands(clips()).labels[:, :1]).all()
    assert bands(torch.rand(2, 9, 5)).labels[0, :, 2].unique().tolist() == [0, 1, 2, 3]
    assert bands(torch.ones(1, 12, dtype=torch.int64)).counts == (4,)


def test_padded_steps_of_a_series_belong_to_no_cell():
    valid = torch.tensor([[True] * 6 + [False] * 3, [True] * 9])
    found = Segmenter(kind="grid", grid=(3, 2))(torch.rand(2, 9, 4), valid)
    assert found.counts == (6, 6)
    assert (found.labels[0, 6:] == -1).all()
    assert found.labels[0, :6, 0].tolist() == [0, 0, 2, 2, 4, 4]


def test_values_spread_over_their_segments():
    segments = Segments(labels=torch.tensor([[0, 1, -1], [0, 0, 0]]), counts=(2, 1))
    assert segments.spread(torch.tensor([[3.0, 5.0], [7.0, 0.0]])).tolist() == [[3, 5, 0], [7, 7, 7]]


@pytest.mark.parametrize(
    ("kind", "x", "choices"),
    [
        ("slic", torch.rand(1, 4, 4), "series; choose grid or time"),
        ("tokens", torch.rand(1, 1, 4, 4), "images; choose slic or grid or time"),
        ("grid", torch.ones(1, 4, dtype=torch.int64), "texts; choose tokens or time"),
    ],
)
def test_segments_that_do_not_fit_are_refused(kind, x, choices):
    with pytest.raises(UserError, match=f"segments={kind} does not fit {choices}"):
        Segmenter(kind=kind)(x)
