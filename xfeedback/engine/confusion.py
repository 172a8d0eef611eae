"""Which classes are taken for which: ``confusion.json`` for programs and ``confusion.png`` to look at."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from xfeedback import files
from xfeedback.dtypes import Ints
from xfeedback.tracking.pictures import CONFUSION, PICTURES

MOST_CLASSES = 100
"""Of more classes no matrix is kept: nobody can look at it, and wandb's charts end at 10,000 entries."""
ROOM, SIDES, LEFT, TOP, LETTER, LEAST = 560, (6, 44), 96, 40, 6, 360
"""Pixels of the whole grid, least and most of an entry, of the margins, of a letter, and of the sheet's width."""
INK, PALE = np.array([70, 22, 110]), np.array([250, 246, 252])


def confusion(predicted: Tensor, y: Tensor, n_classes: int) -> NDArray[np.int64]:
    """Count how often each class was taken for each.

    Args:
        predicted: classes ``(N,)``.
        y: labels ``(N,)``.
        n_classes: K.

    Returns:
        ``(K, K)``: rows are labels, columns predictions.

    >>> confusion(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    counts = torch.bincount(y.long() * n_classes + predicted.long(), minlength=n_classes**2)
    return counts.view(n_classes, n_classes).numpy()


def write_confusion(folder: Path, counts: Mapping[str, Ints], class_names: Sequence[str]) -> None:
    """Write both files; none where nothing was counted.

    Args:
        folder: the run's folder.
        counts: ``(K, K)`` by test view, the headline first, which is what the picture shows.
        class_names: one per class.
    """
    if not counts:
        return
    names = [str(name) for name in class_names]
    plain = {view: found.tolist() for view, found in counts.items()}
    files.write_json(folder / CONFUSION, {"classes": names, "views": list(plain), "counts": plain})
    buffer = io.BytesIO()
    confusion_picture(next(iter(counts.values())), names).save(buffer, "PNG")
    files.write_bytes(folder / PICTURES["confusion"], buffer.getvalue())


def confusion_picture(counts: Ints, class_names: Sequence[str]) -> Image.Image:
    """Draw the matrix: darkness is the share of the row's class, the numbers are counts."""
    k = len(counts)
    side = min(max(ROOM // k, SIDES[0]), SIDES[1])
    sheet = Image.new("RGB", (max(LEFT + k * side + 8, LEAST), TOP + k * side + 8), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((4, 4), f"rows: true class; columns: predicted; {int(np.trace(counts))} of {int(counts.sum())} right", 0)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    for i in range(k):
        if side >= 2 * LETTER:
            draw.text((4, TOP + i * side + side // 2 - 5), class_names[i][: LEFT // LETTER - 1], 0)
        if side >= 5 * LETTER:
            draw.text((LEFT + i * side + 3, TOP - 14), class_names[i][: side // LETTER], 0)
        for j in range(k):
            _entry(draw, (LEFT + j * side, TOP + i * side), side, counts[i, j], shares[i, j])
    return sheet


def _entry(draw: ImageDraw.ImageDraw, place: tuple[int, int], side: int, count: int, share: float) -> None:
    x, y = place
    colour = tuple(int(value) for value in PALE + share * (INK - PALE))
    draw.rectangle((x, y, x + side - 2, y + side - 2), fill=colour)
    text = str(count)
    if count and LETTER * len(text) <= side - 4:
        draw.text((x + (side - LETTER * len(text)) // 2, y + side // 2 - 5), text, "white" if share > 0.5 else 0)
