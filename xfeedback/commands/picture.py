"""One sample and its explanation side by side."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from xfeedback.data.entered import Sample
from xfeedback.engine.text_picture import text_picture
from xfeedback.report.heatmaps import heat
from xfeedback.report.series import as_images

if TYPE_CHECKING:
    from xfeedback.trained import TrainedRun

SMALLEST, LARGEST, GAP, TEXT = 256, 768, 8, 18
"""Pixels: of the longer side of a picture at least and at most, between two, and of a line of text."""


def drawn(loaded: "TrainedRun", sample: Sample, found: Tensor, *, headline: str, about: str) -> Image.Image:
    """Draw what the network was shown, and the same under the explanation.

    Args:
        loaded: the run.
        sample: what is explained.
        found: map in [0, 1], ``(H, W)``, ``(T, F)`` or ``(L,)``.
        headline: what is predicted, written above.
        about: what explanation it is, written above it.
    """
    if loaded.inputs.kind == "text":
        arrays: dict[str, Any] = {
            "tokens": np.array(loaded.inputs.vocabulary)[sample.x.numpy()][None],
            "prediction": np.zeros(1, dtype=np.int64),
            f"map/{about}": found.numpy()[None],
        }
        if sample.valid is not None:
            arrays["valid"] = sample.valid.numpy()[None]
        return text_picture(arrays, [headline.removeprefix("says ")])
    picture, values = _shown(loaded, sample, found)
    left = _sized(picture)
    cover = heat(values).resize(left.size, Image.Resampling.BILINEAR)
    sheet = Image.new("RGB", (2 * left.width + 3 * GAP, left.height + 2 * GAP + TEXT), "white")
    draw = ImageDraw.Draw(sheet)
    for at, line in ((GAP, headline), (left.width + 2 * GAP, about)):
        draw.text((at, GAP), line, "black")
        sheet.paste(left, (at, GAP + TEXT))
    sheet.paste(cover, (left.width + 2 * GAP, GAP + TEXT), cover)
    return sheet


def _shown(loaded: "TrainedRun", sample: Sample, found: Tensor) -> tuple[Image.Image, NDArray[np.floating]]:
    """The picture of an image, a clip or a series, and the map over it."""
    inputs = loaded.inputs
    if sample.picture is not None:
        return sample.picture.convert("RGB"), found.numpy()
    if inputs.kind == "series":
        series = (sample.x * torch.tensor(inputs.std) + torch.tensor(inputs.mean))[None]
        arrays = {"series": series.numpy(), "map/found": found.numpy()[None]}
        if sample.valid is not None:
            arrays["valid"] = sample.valid.numpy()[None]
        images = as_images(arrays)
        return Image.fromarray(images["images"][0]), images["map/found"][0]
    levels = 255 * (sample.x[0] * inputs.std[0] + inputs.mean[0]).clamp(0, 1)
    return Image.fromarray(levels.round().to(torch.uint8).numpy()).convert("RGB"), found.numpy()


def _sized(picture: Image.Image) -> Image.Image:
    longer = max(picture.size)
    if longer > LARGEST:
        width, height = (max(1, round(side * LARGEST / longer)) for side in picture.size)
        return picture.resize((width, height), Image.Resampling.LANCZOS)
    times = -(-SMALLEST // longer)
    return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
