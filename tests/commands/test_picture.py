"""Pictures of inputs that are no photographs: the same twice, the second under the map."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from xfeedback.commands.picture import GAP, SMALLEST, TEXT, drawn
from xfeedback.data.entered import Sample
from xfeedback.data.inputs import Inputs


@pytest.mark.parametrize(("kind", "shape"), [("image", (1, 40, 30)), ("series", (20, 3))])
def test_the_right_half_differs_where_the_map_is(kind, shape):
    inputs = Inputs(kind=kind, in_shape=shape, class_names=("a", "b"), mean=(0.2,) * shape[-1], std=(0.5,) * shape[-1])
    heat = torch.zeros(shape[1:] if kind == "image" else shape)
    heat[: len(heat) // 2] = 1.0
    loaded: Any = SimpleNamespace(inputs=inputs)
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    sheet = np.asarray(drawn(loaded, Sample(name="s", x=x), heat, headline="says a", about="gradient of a"))
    width = (sheet.shape[1] - 3 * GAP) // 2
    assert max(width, sheet.shape[0] - 2 * GAP - TEXT) >= SMALLEST
    left, right = (sheet[GAP + TEXT : -GAP, at : at + width].astype(int) for at in (GAP, width + 2 * GAP))
    differs = (left != right).any(-1)
    axis = 1 if kind == "image" else 0  # rows of spectrograms are frequencies; the time of series runs to the right
    halves = np.array_split(differs, 2, axis=1 - axis)
    assert halves[0].mean() > 0.2
    assert halves[1].mean() < 0.1
