"""Series as pictures: the values as lines, and under them a strip of cells where explanations and annotations lie."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIDE = 128
"""Side of a picture in pixels."""
MOST_LINES = 8
"""Features drawn as lines; of more, their values are drawn in grey, darker for lower."""
_INKS = ((86, 156, 214), (220, 160, 60), (120, 190, 120), (200, 110, 170), (170, 170, 170))
_GROUND = (24, 24, 28)


def as_images(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays of series as those of images, for whoever draws images.

    Args:
        arrays: ``series`` ``(N, T, F)``; ``mask``, ``wrong`` and ``map/<explainer>`` of the same shape; ``valid``
            ``(N, T)`` where series are padded; others stay as they are.

    Returns:
        ``images`` ``(N, SIDE, SIDE, 3)`` uint8, and masks and maps ``(N, SIDE, SIDE)``, zero above the strip. Time runs
        to the right, the first feature is on top.
    """
    series = arrays["series"].astype(np.float64)
    count, steps, features = series.shape
    valid = arrays.get("valid", np.ones((count, steps), dtype=bool)).astype(bool)
    top = strip_top(features)
    drawn = [_picture(values, real, top) for values, real in zip(series, valid, strict=True)]
    result = {name: array for name, array in arrays.items() if name not in ("series", "valid")}
    for name, array in result.items():
        if name in ("mask", "wrong") or name.startswith("map/"):
            if array.shape != series.shape:
                raise ValueError(f"{name} has shape {array.shape}, the series {series.shape}")
            result[name] = _strip(array, top)
    return result | {"images": np.stack(drawn) if drawn else np.zeros((0, SIDE, SIDE, 3), dtype=np.uint8)}


def strip_top(features: int) -> int:
    """Return where the strip begins, in pixels from the top: a quarter of the picture to all of it."""
    return 0 if features > MOST_LINES else SIDE - max(SIDE // 4, min(SIDE // 2, 8 * features))


def _strip(cells: NDArray[Any], top: int) -> NDArray[Any]:
    count, steps, features = cells.shape
    rows = np.arange(SIDE - top) * features // (SIDE - top)
    result = np.zeros((count, SIDE, SIDE), dtype=cells.dtype)
    result[:, top:] = cells.transpose(0, 2, 1)[:, rows][:, :, np.arange(SIDE) * steps // SIDE]
    return result


def _picture(values: NDArray[np.float64], real: NDArray[np.bool_], top: int) -> NDArray[np.uint8]:
    """One series ``(T, F)`` in RGB; ``real`` ``(T,)``."""
    seen = values[real] if real.any() else np.zeros((1, values.shape[1]))
    level = (values - seen.min()) / max(float(np.ptp(seen)), 1e-12)
    if top == 0:
        grey = np.where(real[:, None], np.clip(40 + 150 * level, 0, 255), 0).astype(np.uint8)
        return np.repeat(_strip(grey[None], 0)[0][..., None], 3, axis=2)
    picture = Image.new("RGB", (SIDE, SIDE), _GROUND)
    draw = ImageDraw.Draw(picture)
    across = (np.arange(len(values)) + 0.5) * SIDE / len(values)
    for feature, line in enumerate(level.T):
        down = 3 + (1 - line) * (top - 7)
        points = [(x, y) for x, y, there in zip(across, down, real, strict=True) if there]
        draw.line(points, fill=_INKS[feature % len(_INKS)], width=2)
    return np.asarray(picture)
