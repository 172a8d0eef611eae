"""Write a run's explanations: arrays for the report, and a picture to look at."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from xfeedback import files
from xfeedback.dtypes import Array, Bytes
from xfeedback.engine.text_picture import text_picture

CELL, GAP, LEFT, TEXT = 96, 2, 80, 18
"""Pixels of one small picture, between two, of the margin with the rows' names, and of a line of text."""
GREEN, RED, BLACK = (20, 150, 60), (200, 30, 45), (0, 0, 0)


def write_pictures(folder: Path, arrays: Mapping[str, Array], class_names: Sequence[str]) -> None:
    """Write ``explanations.npz`` and ``explanations.png``, when there is anything to show.

    Args:
        folder: the run's folder.
        arrays: ``images`` ``(N, H, W, C)`` uint8, ``series`` ``(N, T, F)`` or ``tokens`` ``(N, L)`` text; ``label``,
            ``prediction`` and ``index`` ``(N,)``; ``map/<explainer>`` in [0, 1] and where there are any ``mask`` and
            ``wrong`` bool, ``(N, H, W)``, ``(N, T, F)`` or ``(N, L)``; of padded inputs ``valid`` ``(N, T)`` or
            ``(N, L)`` bool.
        class_names: one per class.
    """
    if not arrays:
        return
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays, allow_pickle=False)
    files.write_bytes(folder / "explanations.npz", buffer.getvalue())
    picture = io.BytesIO()
    drawn = text_picture if "tokens" in arrays else run_picture
    drawn(arrays, class_names).save(picture, "PNG")
    files.write_bytes(folder / "explanations.png", picture.getvalue())


def run_picture(arrays: Mapping[str, Array], class_names: Sequence[str]) -> Image.Image:
    """Return the test images or series across, and down: the input with its annotation, then each explanation."""
    from xfeedback.report.heatmaps import heat
    from xfeedback.report.series import as_images

    arrays = as_images(arrays) if "series" in arrays else arrays
    names = ["input", *(name.removeprefix("map/") for name in arrays if name.startswith("map/"))]
    count = len(arrays["images"])
    pitch = CELL + GAP
    sheet = Image.new("RGB", (LEFT + count * pitch, 2 * TEXT + len(names) * pitch), "white")
    draw = ImageDraw.Draw(sheet)
    for row, name in enumerate(names):
        draw.text((4, TEXT + row * pitch + CELL // 2), name, BLACK)
    for n in range(count):
        left, right = LEFT + n * pitch, arrays["label"][n] == arrays["prediction"][n]
        draw.text((left + 4, 2), str(class_names[arrays["label"][n]]), BLACK)
        said = f"says {class_names[arrays['prediction'][n]]}"
        draw.text((left + 4, sheet.height - TEXT + 2), said, GREEN if right else RED)
        image = _enlarged(arrays["images"][n])
        sheet.paste(_outlined(image, arrays, n), (left, TEXT))
        for row, name in enumerate(names[1:], start=1):
            cover = heat(arrays[f"map/{name}"][n]).resize((CELL, CELL), Image.Resampling.BILINEAR)
            sheet.paste(image, (left, TEXT + row * pitch))
            sheet.paste(cover, (left, TEXT + row * pitch), cover)
    return sheet


def _enlarged(image: Bytes) -> Image.Image:
    pixels = image if image.shape[-1] == 3 else image[..., 0]
    return Image.fromarray(pixels).convert("RGB").resize((CELL, CELL), Image.Resampling.NEAREST)


def _outlined(image: Image.Image, arrays: Mapping[str, Array], n: int) -> Image.Image:
    pixels = np.array(image)
    for name, colour in (("mask", GREEN), ("wrong", RED)):
        if name in arrays:
            mask = Image.fromarray(arrays[name][n]).resize((CELL, CELL), Image.Resampling.NEAREST)
            pixels[_edge(np.array(mask, dtype=bool))] = colour
    return Image.fromarray(pixels)


def _edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of ``mask`` (H, W) with a neighbour outside it."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner
