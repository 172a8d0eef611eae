"""The grid of explanations: test samples down, input, annotation and each row's explanation across."""

import base64
import io
from collections.abc import Mapping
from functools import partial
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xfeedback.report import tokens
from xfeedback.report.evidence import Evidence, Explanations
from xfeedback.report.svg import tag

FEWEST_IMAGES, MOST_IMAGES = 8, 24
_MOST_MAPS = 480
"""Maps in one grid, for the size of the page: of many rows and explainers fewer images are shown."""
_LARGEST = 128
_ROOM = 1090
_RAMP = np.array([[0.0, 70, 22, 110], [0.35, 170, 45, 100], [0.65, 240, 110, 45], [1.0, 255, 232, 130]])
RAMP_CSS = "linear-gradient(90deg, rgb(20 20 24), rgb(170 45 100) 35%, rgb(240 110 45) 65%, rgb(255 232 130))"


def grid(evidence: Evidence, slots: Mapping[str, int], key: str) -> str:
    """HTML of the grid of one group, with a switch when there are several explainers; empty without explanations.

    Args:
        evidence: explanations of one seed by row label.
        slots: colour slot by row label.
        key: prefix of element ids, unique on the page.
    """
    shown = evidence.explanations
    if not shown:
        return ""
    first = next(iter(shown.values()))
    explainers = list(dict.fromkeys(name for found in shown.values() for name in found.maps))
    count = _MOST_MAPS // (len(shown) * len(explainers))
    picked = pick(first.label, min(max(count, FEWEST_IMAGES), MOST_IMAGES))
    classes = list(dict.fromkeys(sorted(first.label[picked].tolist())))
    pixels = first.kind != "text"
    styles = "".join(f".{key}-{n}{{background-image:url({_png(first.inputs[n])})}}" for n in picked if pixels)
    symbols = "".join(_outlines(first, n, key) for n in picked if pixels)
    heads = ["input", "annotation", *shown] if _annotated(first) and pixels else ["input", *shown]
    head = "".join(_head(name, slots) for name in heads)
    cells = partial(_cells, key=key) if pixels else tokens.cells
    body = "".join(
        tag("tr", "".join(cells(first, n, shown, explainers)), data_class=classes.index(first.label[n])) for n in picked
    )
    width = min(max(_ROOM // len(heads) - 14, 96), 148)
    table = tag(
        "table", tag("thead", tag("tr", head)) + tag("tbody", body),
        class_="maps" if pixels else "maps texts", style=f"--w:{width}px",
    )  # fmt: skip
    hidden, switches = _switches(key, explainers, classes)
    more = tag("p", f"{evidence.left_out} further rows are not drawn.", class_="note") if evidence.left_out else ""
    drawn = tag("svg", symbols, class_="defs", aria_hidden="true") + switches + tag("div", table, class_="scroll")
    return tag("style", styles + hidden) + tag("div", drawn + more, id=f"{key}-maps")


def pick(labels: NDArray[np.generic], count: int) -> list[int]:
    """Positions to show: the first image of each class, then the rest, in order; nobody chooses by hand.

    >>> pick(np.array([3, 3, 1, 3, 2]), 4)
    [0, 1, 2, 4]
    """
    firsts = [int(np.flatnonzero(labels == label)[0]) for label in dict.fromkeys(labels.tolist())]
    rest = [position for position in range(len(labels)) if position not in firsts]
    return sorted((firsts + rest)[:count])


def _head(name: str, slots: Mapping[str, int]) -> str:
    if name not in slots:
        return tag("th", escape(name), scope="col")
    swatch = tag("i", class_=f"swatch s{slots[name]}")
    return tag("th", swatch + escape(name).replace("_", "_<wbr>").replace("=", "=<wbr>"), scope="col")


def _cells(
    first: Explanations, n: int, shown: Mapping[str, Explanations], explainers: list[str], key: str
) -> list[str]:
    under = tag("figcaption", f"class {escape(str(first.label[n]))}")
    cells = [_cell(tag("div", class_=f"base {key}-{n}"), under)]
    if _annotated(first):
        cells.append(
            _cell(
                tag("div", class_=f"base {key}-{n}") + _use(f"{key}-o{n}"),
                tag("figcaption", f"test {first.kind} {first.index[n]}"),
            )
        )
    for found in shown.values():
        place = np.flatnonzero(found.index == first.index[n])
        cells.append(_explained(found, int(place[0]), (first, n), explainers, key) if len(place) else tag("td"))
    return cells


def _explained(found: Explanations, m: int, shown: tuple[Explanations, int], explainers: list[str], key: str) -> str:
    first, n = shown
    same = np.array_equal(found.inputs[m], first.inputs[n])
    own = None if same else f"background-image:url({_png(found.inputs[m])})"
    parts = [tag("div", class_=f"base dim {key}-{n}", style=own)]
    for name in explainers:
        if name in found.maps:
            hint = f"{name} of test {found.kind} {found.index[m]}"
            source = _data_uri(heat(found.maps[name][m]))
            parts.append(f'<img class="heat" data-explainer="{name}" alt="{escape(hint)}" src="{source}">')
    parts.append(_use(f"{key}-d{n}") if same else _decoy(found, m))
    right = found.prediction[m] == found.label[m]
    mark = tag("b", "✓" if right else "✗", class_="right" if right else "wrong")
    said = f"says {escape(str(found.prediction[m]))}"
    return _cell("".join(parts), tag("figcaption", f"{mark} {said}"))


def _cell(picture: str, caption: str) -> str:
    return tag("td", tag("figure", tag("div", picture, class_="stack") + caption))


def _switches(key: str, explainers: list[str], classes: list[object]) -> tuple[str, str]:
    """Style sheet and HTML of what chooses the explainer and the class: without scripts, and nothing where none is.

    A browser that does not know ``:has`` shows the first explainer of all classes.
    """
    maps = f"#{key}-maps:has(#{key}"
    rules = [f'{maps}-e{n}:checked) .heat:not([data-explainer="{e}"])' for n, e in enumerate(explainers)]
    rules += [f'{maps}-c{n}:checked) tbody tr:not([data-class="{n}"])' for n in range(len(classes))]
    sheet = "".join(f"{rule}{{display:none}}" for rule in rules)
    sheet += f"@supports not selector(:has(a)){{#{key}-maps .heat~.heat{{display:none}}}}"
    chosen = [(f"{key}-e{n}", name) for n, name in enumerate(explainers)]
    filters = [(f"{key}-all", "all"), *((f"{key}-c{n}", str(name)) for n, name in enumerate(classes))]
    switches = _switch("Explainer", f"{key}-e", chosen)
    return sheet, tag("div", switches + (_switch("Class", f"{key}-c", filters) if len(classes) > 1 else ""))


def _switch(title: str, group: str, choices: list[tuple[str, str]]) -> str:
    """Radio buttons by id and text, the first one chosen."""
    buttons = "".join(
        tag("input", type="radio", name=group, id=name, checked="" if n == 0 else None)
        + tag("label", escape(words), for_=name)
        for n, (name, words) in enumerate(choices)
    ).replace("</input>", "")
    return tag("div", tag("span", title) + buttons, class_="switch", role="radiogroup", aria_label=title)


def _annotated(found: Explanations) -> bool:
    return found.mask is not None or found.wrong is not None


def _outlines(found: Explanations, n: int, key: str) -> str:
    """Two symbols of one image: mask and decoy outline, and the decoy outline alone."""
    mask = "" if found.mask is None else _outline(found.mask[n], "mask")
    decoy = "" if found.wrong is None else _outline(found.wrong[n], "decoy")
    box = _box(found)
    return tag("symbol", mask + decoy, id=f"{key}-o{n}", **box) + tag("symbol", decoy, id=f"{key}-d{n}", **box)


def _decoy(found: Explanations, m: int) -> str:
    """The outline of the decoy of an image of its own."""
    decoy = "" if found.wrong is None else _outline(found.wrong[m], "decoy")
    return tag("svg", decoy, class_="outline", aria_hidden="true", **_box(found))


def _box(found: Explanations) -> dict[str, str]:
    """The coordinates of outlines: pixels, stretched as the image below them is."""
    height, width = found.inputs.shape[1:3]
    return {"viewBox": f"0 0 {width} {height}", "preserveAspectRatio": "none"}


def _outline(mask: NDArray[np.bool_], kind: str) -> str:
    edge = _boundary(mask)
    return tag("path", d=edge, class_="halo") + tag("path", d=edge, class_=kind)


def _use(name: str) -> str:
    return tag("svg", tag("use", href=f"#{name}"), class_="outline", aria_hidden="true")


def _boundary(mask: NDArray[np.bool_]) -> str:
    """SVG path of the pixel edges between inside and outside of ``mask`` (H, W), straight runs joined."""
    padded = np.pad(mask, 1).astype(np.int8)
    parts = []
    across, down = np.diff(padded, axis=0)[:, 1:-1], np.diff(padded, axis=1)[1:-1, :]
    for y, edge in enumerate(across):
        parts += [f"M{start} {y}H{end}" for start, end in _stretches(edge != 0)]
    for x, edge in enumerate(down.T):
        parts += [f"M{x} {start}V{end}" for start, end in _stretches(edge != 0)]
    return "".join(parts)


def _stretches(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    steps = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    return list(zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True))


def _png(image: NDArray[np.uint8]) -> str:
    pixels = image[..., 0] if image.shape[-1] != 3 else image
    return _data_uri(Image.fromarray(pixels))


def heat(values: NDArray[np.generic]) -> Image.Image:
    """Return a map (H, W) in [0, 1] as an RGBA picture that covers more the higher the value; NaN counts as 0."""
    level = np.clip(np.nan_to_num(values.astype(np.float64)), 0, 1)
    colours = [np.interp(level, _RAMP[:, 0], _RAMP[:, channel]) for channel in (1, 2, 3)]
    alpha = 255 * 0.82 * level**0.75
    return Image.fromarray(np.stack([*colours, alpha], axis=-1).round().astype(np.uint8))


def _data_uri(picture: Image.Image) -> str:
    if max(picture.size) > _LARGEST:
        picture.thumbnail((_LARGEST, _LARGEST))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
