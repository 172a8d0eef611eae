"""Image files that are decoded when they are needed: what stands for the tensor of a data set too large for memory."""

from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xfeedback.dtypes import Ints

if TYPE_CHECKING:
    from xfeedback.data.shards import Reader

Broken = Literal["error", "skip"]
Inputs = Any
"""An array or tensor of inputs, or :class:`Pictures`, which has a shape and from which rows are taken likewise."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How files become inputs.

    Attributes:
        size: side of the inputs in pixels.
        short_side: of evaluated images in pixels, before the centre is cut out.
        augment: training takes a random part, brought to ``size``, and mirrors it half of the time.
        min_scale: smallest share of the image's area that such a part may have.
        broken: what is done about a file that can't be decoded.
        workers: processes that decode for each process that trains; None: one for each of its CPU cores, at most 16.
    """

    size: int
    short_side: int
    augment: bool
    min_scale: float
    broken: Broken
    workers: int | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Shards:
    """Where the images of a set that lies in tar files stand.

    Attributes:
        paths: the tar files.
        reader: reads out of them.
        lanes, turns: of the order of an epoch; see :func:`xfeedback.data.shards.in_lanes`.
    """

    paths: tuple[Path, ...]
    reader: "Reader"
    lanes: int
    turns: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictures:
    """Files of images and of their boxes; rows are taken as from an array.

    Attributes:
        root: folder that ``files`` are relative to.
        files: path of each image ``(N,)`` bytes.
        box_root: folder that ``boxes`` are relative to.
        boxes: path of each image's boxes ``(N,)`` bytes, empty for an image without.
        recipe: how they become inputs.
        replaced: files that were found broken and replaced; one set for all parts of a data set.
        shards: the tar files that hold the images; None: they are files of their own.
        places: shard, first byte and number of bytes of each image ``(N, 3)`` int64, or None.
    """

    root: Path
    files: NDArray[np.bytes_]
    box_root: Path
    boxes: NDArray[np.bytes_]
    recipe: Recipe
    replaced: set[str] = field(default_factory=set)
    shards: Shards | None = None
    places: Ints | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(N, 3, size, size)``, as if all were decoded."""
        return len(self.files), 3, self.recipe.size, self.recipe.size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, rows: ArrayLike) -> Self:
        """Return the files of ``rows``, an array or a tensor of positions."""
        chosen = np.asarray(rows)
        places = None if self.places is None else self.places[chosen]
        return replace(self, files=self.files[chosen], boxes=self.boxes[chosen], places=places)

    def joined(self, other: "Pictures") -> Self:
        """Return these files followed by those of ``other``, from the same folders."""
        files, boxes = (np.concatenate([getattr(part, name) for part in (self, other)]) for name in ("files", "boxes"))
        places = None
        if self.places is not None and other.places is not None:
            places = np.concatenate([self.places, other.places])
        return replace(self, files=files, boxes=boxes, places=places)

    def file(self, row: int) -> Path:
        """Return the path of an image; in a shard: that of the shard, followed by the image's name."""
        if self.shards is not None and self.places is not None:
            return self.shards.paths[self.places[row][0]] / Path(self.files[row].decode()).name
        return self.root / self.files[row].decode()

    def content(self, row: int) -> Path | BytesIO:
        """Return what an image is decoded from: its path, or its bytes out of a shard."""
        if self.shards is None or self.places is None:
            return self.file(row)
        shard, start, size = self.places[row].tolist()
        return BytesIO(self.shards.reader.read(self.shards.paths[shard], start, size))

    def box_file(self, row: int) -> Path | None:
        """Return the path of its boxes, or None."""
        name = self.boxes[row].decode()
        return self.box_root / name if name else None

    @property
    def stamps(self) -> tuple[str, ...]:
        """What must stand beside a result: how many broken files were replaced."""
        count = len(self.replaced)
        return (f"{count} broken image{'s' if count > 1 else ''} replaced",) if count else ()
