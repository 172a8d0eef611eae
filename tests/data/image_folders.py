"""Folders of ten cats and ten dogs, and how they are read."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xfeedback.data.options import Places
from xfeedback.data.sets.image_folder import Config, read
from xfeedback.errors import UserError

SIZE = (24, 32)
"""(height, width) of the pictures."""


def write(path: Path, values) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, dtype=np.uint8)).save(path)


def level(name: str, i: int) -> int:
    return 10 + 20 * i + (5 if name == "dog" else 0)


def mask(i: int) -> np.ndarray:
    values = np.zeros(SIZE)
    values[i : i + 4, 2 * i : 2 * i + 6] = 255
    return values


def with_masks(root: Path, which=range(10)) -> Path:
    for name in ("cat", "dog"):
        for i in which:
            write(root / "masks" / name / f"{i}.png", mask(i))
    return root


def config(root: Path, **options) -> Config:
    return Config(root=str(root), **{"size": 16, **options})


def reading(root: Path, **options):
    return read(config(root, **options), Places(root=root, cache=root.parent / "cache"))


def refused(root: Path, *words: str, **options) -> None:
    with pytest.raises(UserError) as caught:
        reading(root, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def parts(source):
    return [source.train, source.val, source.test]


def everything(source):
    """(x, y, mask, wrong, annotated) of all parts in the folder's order."""
    order = np.concatenate([p.index for p in parts(source)]).argsort()

    def joined(name):
        found = [getattr(p, name) for p in parts(source)]
        return None if found[0] is None else np.concatenate(found)[order]

    return tuple(joined(name) for name in ("x", "y", "mask", "wrong", "annotated"))


def write_coco(root, entries):
    names = sorted({name for name, _, _ in entries})
    pictures = [{"id": i, "file_name": n, "height": SIZE[0], "width": SIZE[1]} for i, n in enumerate(names)]
    objects = [{"image_id": names.index(n), "category_id": c, "bbox": box} for n, c, box in entries]
    categories = [{"id": 1, "name": "ear"}, {"id": 2, "name": "tail"}]
    (root / "boxes.json").write_text(json.dumps({"images": pictures, "annotations": objects, "categories": categories}))


def splits(root, **lists):
    (root / "splits").mkdir(exist_ok=True)
    for name, lines in lists.items():
        (root / "splits" / f"{name}.txt").write_text("\n".join(lines) + "\n")
