"""Cutting inputs into segments that explanations hide or show: superpixels, grids, bands of time, tokens.

Letters: B samples, S segments. Labels run from 0 to S - 1 in each sample; -1 marks padding, which is never hidden.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfeedback.config import require
from xfeedback.errors import UserError
from xfeedback.precision import widened

Kind = Literal["auto", "slic", "grid", "time", "tokens"]
KEPT_MAPS = 16384
"""How many superpixel maps a segmenter remembers; a clip of 124 x 129 takes 32 kB."""


@dataclass(frozen=True, kw_only=True)
class Segments:
    """Segments of a batch.

    Attributes:
        labels: ``(B, H, W)``, ``(B, T, F)`` or ``(B, L)`` int64; -1: never hidden.
        counts: S of each sample.
    """

    labels: Tensor
    counts: tuple[int, ...]

    def spread(self, values: Tensor) -> Tensor:
        """Return a value a segment ``(B, S)`` as a map of the shape of ``labels``, 0 where nothing is ever hidden."""
        padded = torch.cat([values, values.new_zeros(len(values), 1)], 1)
        flat = self.labels.flatten(1)
        return padded.gather(1, torch.where(flat < 0, values.shape[1], flat)).view(self.labels.shape)


def grid_labels(size: tuple[int, int], rows: int, columns: int) -> Tensor:
    """Return the cells of a grid, row by row, ``(H, W)`` int64; rows and columns beyond the size are dropped.

    >>> grid_labels((2, 4), 1, 2)[0].tolist()
    [0, 0, 1, 1]
    """
    rows, columns = min(rows, size[0]), min(columns, size[1])
    row, column = (torch.arange(side) * n // side for side, n in zip(size, (rows, columns), strict=True))
    return row[:, None] * columns + column


def band_labels(valid: Tensor, n: int) -> Tensor:
    """Return n bands of equal length along what is real of each sample, ``(B, L)`` int64, -1 in padding.

    Args:
        valid: real positions ``(B, L)`` bool.
        n: bands; a sample with fewer real positions has as many as these.
    """
    lengths = valid.sum(1, keepdim=True)
    bands = (valid.cumsum(1) - 1) * lengths.clamp_max(n) // lengths.clamp_min(1)
    return torch.where(valid, bands, -1)


def token_labels(valid: Tensor) -> Tensor:
    """Return a segment for each real position, ``(B, L)`` int64, -1 in padding."""
    return torch.where(valid, valid.cumsum(1) - 1, -1)


def slic_labels(image: Tensor, n: int, *, compactness: float = 10.0, sigma: float = 1.0, channels: int = 1) -> Tensor:
    """Return superpixels by SLIC (Achanta et al. 2012; scikit-image), labelled 0 to S - 1, ``(H, W)`` int64 on the CPU.

    Args:
        image: ``(C, H, W)``; its range does not matter.
        n: wanted number; SLIC finds about as many.
        compactness: nearness in space against nearness in colour.
        sigma: of the Gaussian that smooths first, in pixels.
        channels: channels of zeros are appended up to this number; 3 channels are taken for RGB and turned into Lab.
    """
    from skimage.segmentation import slic

    values = image.detach().cpu().double().permute(1, 2, 0).numpy()
    if (missing := channels - values.shape[2]) > 0:
        values = np.concatenate([values, np.zeros((*values.shape[:2], missing))], 2)
    found = slic(values, n_segments=n, compactness=compactness, sigma=sigma, start_label=1, channel_axis=-1)
    labels = np.unique(found, return_inverse=True)[1]
    return torch.from_numpy(labels.reshape(found.shape).astype(np.int64))


@dataclass(frozen=True, kw_only=True)
class Segmenter:
    """Cuts batches of any kind into segments; superpixels are remembered by the content of the image.

    Attributes:
        kind: ``slic`` superpixels (images); ``grid`` cells (images, series as time by feature); ``time`` bands along
            the last axis of a spectrogram, the steps of a series or the tokens of a text; ``tokens`` each a segment;
            ``auto``: superpixels, cells and tokens, by kind.
        n: number of superpixels or bands.
        grid: rows and columns of cells.
        compactness, sigma, channels: of :func:`slic_labels`.
    """

    kind: Kind = "auto"
    n: int = 10
    grid: tuple[int, ...] = (3, 3)
    compactness: float = 10.0
    sigma: float = 1.0
    channels: int = 1
    _known: OrderedDict[bytes, NDArray[np.int16]] = field(default_factory=OrderedDict, repr=False, compare=False)

    def __post_init__(self) -> None:
        require(self.n >= 1, "n_segments", self.n, "1 or more")
        require(len(self.grid) == 2 and min(self.grid) >= 1, "grid", self.grid, "two numbers of 1 or more")

    def __call__(self, x: Tensor, valid: Tensor | None = None) -> Segments:
        """Cut inputs.

        Args:
            x: images ``(B, C, H, W)``, series ``(B, T, F)`` or ids ``(B, L)``.
            valid: real steps or tokens ``(B, T)`` or ``(B, L)``; None: of ids all but 0, else all.

        Raises:
            UserError: this kind of segment does not exist on this kind of input.
        """
        kind = {4: "slic", 3: "grid", 2: "tokens"}.get(x.ndim, "none") if self.kind == "auto" else self.kind
        if x.ndim == 4 and kind in ("slic", "grid", "time"):
            labels = self._of_images(x, kind)
        elif x.ndim == 3 and kind in ("grid", "time"):
            labels = self._of_series(x, kind, valid)
        elif x.ndim == 2 and kind in ("tokens", "time"):
            real = x != 0 if valid is None else valid
            labels = token_labels(real) if kind == "tokens" else band_labels(real, self.n)
        else:
            raise UserError(_refusal(kind, x.ndim))
        counts = labels.flatten(1).amax(1) + 1
        return Segments(labels=labels.to(x.device), counts=tuple(counts.tolist()))

    def _of_images(self, x: Tensor, kind: str) -> Tensor:
        if kind == "slic":
            return torch.stack([self._superpixels(image) for image in x.cpu()])
        rows, columns = self.grid if kind == "grid" else (1, self.n)
        return grid_labels((x.shape[2], x.shape[3]), rows, columns).expand(len(x), -1, -1)

    def _of_series(self, x: Tensor, kind: str, valid: Tensor | None) -> Tensor:
        valid = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if valid is None else valid
        steps = band_labels(valid, self.grid[0] if kind == "grid" else self.n)[..., None]
        columns = min(self.grid[1], x.shape[2]) if kind == "grid" else 1
        column = torch.arange(x.shape[2], device=x.device) * columns // x.shape[2]
        return torch.where(steps < 0, -1, steps * columns + column)

    def _superpixels(self, image: Tensor) -> Tensor:
        content = repr((image.shape, image.dtype)).encode() + widened(image).contiguous().numpy().tobytes()
        key = hashlib.sha1(content, usedforsecurity=False).digest()
        if key not in self._known:
            found = slic_labels(image, self.n, compactness=self.compactness, sigma=self.sigma, channels=self.channels)
            self._known[key] = found.numpy().astype(np.int16)
            if len(self._known) > KEPT_MAPS:
                self._known.popitem(last=False)
        return torch.from_numpy(self._known[key]).long()


_FITS: dict[int, tuple[str, Sequence[str]]] = {
    4: ("images", ("slic", "grid", "time")),
    3: ("series", ("grid", "time")),
    2: ("texts", ("tokens", "time")),
}


def _refusal(kind: str, axes: int) -> str:
    name, fits = _FITS.get(axes, (f"inputs of {axes} axes", ()))
    return f"segments={kind} does not fit {name}; choose {' or '.join(fits) or 'another data set'}."
