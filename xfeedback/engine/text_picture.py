"""A picture of texts: for each, what was predicted, and each explainer's weights as the colour behind the tokens."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from xfeedback.dtypes import Array

WIDTH, LINE, MARGIN, LEFT = 1000, 18, 8, 130
"""Pixels: of the sheet, of a line of text, at the edges, of the margin with the explainers' names."""
MOST_TOKENS = 80
"""Tokens of a text that are drawn."""
GREEN, RED, BLACK, GREY, HOT = (20, 150, 60), (200, 30, 45), (0, 0, 0), (120, 120, 120), (240, 110, 45)


def text_picture(arrays: Mapping[str, Array], class_names: Sequence[str]) -> Image.Image:
    """Draw texts one below the other; annotated tokens are underlined in the first line of each.

    Args:
        arrays: as :func:`~xfeedback.engine.pictures.write_pictures` takes them, of texts; ``label`` may be missing.
        class_names: one per class.
    """
    rows = list(_rows(arrays, class_names))
    lines = [list(_wrapped(words)) for *_, words in rows]
    height = 2 * MARGIN + sum(LINE * len(found) + MARGIN for found in lines)
    sheet = Image.new("RGB", (WIDTH, height), "white")
    draw, top = ImageDraw.Draw(sheet), MARGIN
    for (name, colour, _), found in zip(rows, lines, strict=True):
        draw.text((MARGIN, top + 2), name, colour)
        for line in found:
            for left, word, ink, underlined in line:
                box = (left - 2, top + 1, left + _width(word) + 2, top + LINE - 2)
                draw.rectangle(box, fill=ink)
                draw.text((left, top + 2), word, BLACK)
                if underlined:
                    draw.line((left, top + LINE - 2, left + _width(word), top + LINE - 2), GREEN, 2)
            top += LINE
        top += MARGIN
    return sheet


_Word = tuple[str, tuple[int, int, int], bool]


def _rows(
    arrays: Mapping[str, Array], class_names: Sequence[str]
) -> Iterator[tuple[str, tuple[int, int, int], list[_Word]]]:
    """For each text the prediction with its tokens, then each explainer with its weights."""
    names = [name for name in arrays if name.startswith("map/")]
    for n, tokens in enumerate(arrays["tokens"]):
        real = np.flatnonzero(arrays["valid"][n])[:MOST_TOKENS] if "valid" in arrays else np.arange(len(tokens))
        words = [str(token) for token in tokens[real]]
        marked = arrays["mask"][n][real] if "mask" in arrays else np.zeros(len(real), dtype=bool)
        said = str(class_names[arrays["prediction"][n]])
        head, colour = f"says {said}", BLACK
        if "label" in arrays:
            label = str(class_names[arrays["label"][n]])
            head, colour = f"{label}: says {said}", GREEN if label == said else RED
        yield head, colour, [(word, (255, 255, 255), bool(flag)) for word, flag in zip(words, marked, strict=True)]
        for name in names:
            weights = np.clip(np.nan_to_num(arrays[name][n].astype(np.float64)), 0, 1)[real]
            inks = [_ink(weight) for weight in weights]
            yield name.removeprefix("map/"), GREY, [(word, ink, False) for word, ink in zip(words, inks, strict=True)]


def _wrapped(words: list[_Word]) -> Iterator[list[tuple[int, str, tuple[int, int, int], bool]]]:
    line, left = [], LEFT
    for word, ink, flag in words:
        if line and left + _width(word) > WIDTH - MARGIN:
            yield line
            line, left = [], LEFT
        line.append((left, word, ink, flag))
        left += _width(word) + 6
    yield line


def _ink(weight: float) -> tuple[int, int, int]:
    red, green, blue = (round(255 + weight * (part - 255)) for part in HOT)
    return red, green, blue


def _width(word: str) -> int:
    return round(ImageFont.load_default().getlength(word))
