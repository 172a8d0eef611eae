"""Texts with the weight of each token as the colour behind it."""

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeedback.report.evidence import Explanations
from xfeedback.report.svg import tag

MOST_TOKENS = 120
"""Tokens of a text that are shown."""


def cells(first: Explanations, n: int, shown: Mapping[str, Explanations], explainers: list[str]) -> list[str]:
    """HTML cells of one text: its class and annotation, then what each row of the comparison looks at.

    Args:
        first: whose texts and annotations are shown.
        n: position of the text.
        shown: explanations by row label.
        explainers: names, the first is visible until another is chosen.
    """
    rows = _rows(first, n)
    flags = np.zeros(len(rows), dtype=bool) if first.mask is None else first.mask[n][rows]
    words = [tag("mark", escape(word)) if flag else escape(word) for word, flag in _paired(first, n, flags)]
    said = tag("p", f"test text {first.index[n]}, class {escape(str(first.label[n]))}", class_="said")
    line = [tag("td", tag("div", " ".join(words), class_="text") + said)]
    for found in shown.values():
        place = np.flatnonzero(found.index == first.index[n])
        line.append(_explained(found, int(place[0]), explainers) if len(place) else tag("td"))
    return line


def _explained(found: Explanations, m: int, explainers: list[str]) -> str:
    lines = ""
    for name in explainers:
        if name in found.maps:
            level = np.clip(np.nan_to_num(found.maps[name][m].astype(np.float64)), 0, 1)[_rows(found, m)]
            words = [
                tag("span", escape(word), class_="token", style=f"--a:{round(100 * weight)}%")
                for word, weight in _paired(found, m, level)
            ]
            lines += tag("div", " ".join(words), class_="text heat", data_explainer=name)
    right = found.prediction[m] == found.label[m]
    mark = tag("b", "✓" if right else "✗", class_="right" if right else "wrong")
    return tag("td", lines + tag("p", f"{mark} says {escape(str(found.prediction[m]))}", class_="said"))


def _rows(found: Explanations, n: int) -> NDArray[np.int64]:
    """Positions of a text's real tokens, as many as are shown."""
    real = np.ones(found.inputs.shape[1], dtype=bool) if found.valid is None else found.valid[n]
    return np.flatnonzero(real)[:MOST_TOKENS]


def _paired(found: Explanations, n: int, values: NDArray[Any]) -> list[tuple[str, Any]]:
    """The tokens that are shown, each with its value."""
    return list(zip(map(str, found.inputs[n][_rows(found, n)]), values.tolist(), strict=True))
