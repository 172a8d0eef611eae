"""A data set that lives on the device as tensors, and a loader that makes batches of it there.

Order and augmentation are functions of (seed, epoch, step): nothing has to be saved to repeat a batch, and no global
random number generator is touched. Nothing here waits for the device.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from xfeedback.data.augment import CropFlip
from xfeedback.data.loader import ALONE, Loader, Shard
from xfeedback.seeding import generator
from xfeedback.types import Batch


@dataclass(frozen=True, kw_only=True)
class Painter:
    """Paints class-coded patches.

    Attributes:
        patches: the four patches ``(4, H, W)`` bool.
        colours: the colour of each class in [0, 1], ``(n_classes, C)`` float32.
        corner: which patch each image has ``(N,)`` int64.
        shown: which class's colour it shows, by view, each ``(N,)`` int64; the view ``clean`` has none.
    """

    patches: Tensor
    colours: Tensor
    corner: Tensor
    shown: Mapping[str, Tensor]

    def to(self, device: torch.device | str) -> Self:
        """Return the painter with its tensors on ``device``."""
        moved = {n: getattr(self, n).to(device) for n in ("patches", "colours", "corner")}
        return replace(self, shown={view: k.to(device) for view, k in self.shown.items()}, **moved)

    def __call__(self, x: Tensor, rows: Tensor, patch: Tensor, view: str) -> Tensor:
        """Paint images ``rows`` of the set, ``x`` ``(B, C, H, W)`` in [0, 1], where ``patch`` ``(B, H, W)`` is set."""
        colour = self.colours[self.shown[view][rows]]
        if view == "inverted":
            colour = 1 - colour
        return torch.where(patch[:, None], colour[:, :, None, None], x)


@dataclass(frozen=True, kw_only=True)
class Samples:
    """All samples of one split on one device.

    Attributes:
        x: images ``(N, C, H, W)``, uint8 or float32 in [0, 1]; series ``(N, T, F)`` float32; texts ``(N, L)`` int64.
        y, index: ``(N,)`` int64.
        mean, std: ``(C, 1, 1)`` or ``(F,)`` float32; None for texts, which are not normalised.
        valid: real positions as against padding ``(N, T)`` or ``(N, L)`` bool; None: all. Padded steps of series become
            0, the mean, and no evidence lies in padding.
        mask: right evidence per sample, bool ``(N, H, W)``, moved with the image, ``(N, T, F)`` or ``(N, L)``; or None.
        fixed: ``mask`` stays in the frame instead.
        wrong: wrong evidence per sample beside the decoy, likewise; or None.
        told: where the batch says that the decoy is ``(N, H, W)`` bool; None: where it is.
        frame: right evidence of all images ``(H, W)`` bool, fixed in the frame; or None.
        annotated: ``(N,)`` bool, or None without annotations. With neither ``mask`` nor ``frame``, right evidence is
            everything but the decoy's patch.
        painter: the decoys, or None.
    """

    x: Tensor
    y: Tensor
    index: Tensor
    mean: Tensor | None
    std: Tensor | None
    valid: Tensor | None = None
    mask: Tensor | None = None
    fixed: bool = False
    wrong: Tensor | None = None
    told: Tensor | None = None
    frame: Tensor | None = None
    annotated: Tensor | None = None
    painter: Painter | None = None

    def __len__(self) -> int:
        return self.y.shape[0]

    def to(self, device: torch.device | str) -> Self:
        """Return the samples with every tensor on ``device``."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{n: v.to(device) for n, v in values.items() if isinstance(v, Tensor | Painter)})

    def normalised(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return inputs ``(B, ...)`` as networks see them; ``valid`` ``(B, T)``."""
        if self.mean is None or self.std is None:
            return x
        x = (x - self.mean) / self.std
        return x if valid is None else x.masked_fill(~valid[..., None], 0.0)


class DeviceLoader(Loader):
    """Batches of one view of a split; one pass is one epoch, the last partial batch is kept.

    Args:
        samples: all of the split, on their device.
        batch_size: samples per step over all processes together.
        view: which decoy view, or ``"clean"``.
        seed: the run's seed for order and augmentation; None: the given order and no augmentation.
        augment: ``crop_flip`` (images) or ``none``.
        balanced: draw every class equally often; an epoch has as many samples as the set.
        shard: this process's share of each batch.
    """

    def __init__(
        self,
        samples: Samples,
        batch_size: int,
        *,
        view: str = "clean",
        seed: int | None = None,
        augment: str = "none",
        balanced: bool = False,
        shard: Shard = ALONE,
    ) -> None:
        super().__init__(samples.y, batch_size, seed=seed, balanced=balanced, shard=shard)
        self.samples, self.view = samples, view
        self._augments = augment == "crop_flip" and seed is not None

    @property
    def device(self) -> torch.device:
        """Where the batches are made."""
        return self.samples.x.device

    def _placed(self, rows: Tensor) -> Tensor:
        if self.device.type == "cuda":
            rows = rows.pin_memory()  # else the copy would wait for the device
        return rows.to(self.device, non_blocking=True)

    def batch(self, epoch: int, step: int) -> Batch:
        """Return this process's part of batch ``step`` of ``epoch``, whichever was made before."""
        rows = self.rows(epoch, step)
        mine = self.shard.of(len(rows))
        change = None
        if self._augments:
            numbers = generator(self.device, self.seed or 0, "augment", epoch, step)
            change = CropFlip.draw(len(rows), numbers)[mine]
        return self._make(rows[mine], change)

    def _make(self, rows: Tensor, change: CropFlip | None) -> Batch:
        data = self.samples
        x = data.x.index_select(0, rows)
        mask = _moved(data.mask, rows, None if data.fixed else change)
        wrong = _moved(data.wrong, rows, change)
        if change is not None:
            x = change(x)
        if x.dtype == torch.uint8:
            x = x.float().div_(255)
        patch = None if data.painter is None else data.painter.patches[data.painter.corner[rows]]
        if data.painter is not None and patch is not None and self.view != "clean":
            x = data.painter(x, rows, patch, self.view)
        patch = patch if data.told is None else data.told[rows]
        wrong = wrong if patch is None or self.view == "clean" else patch if wrong is None else patch | wrong
        valid = None if data.valid is None else data.valid[rows]
        return Batch(
            x=data.normalised(x, valid),
            y=data.y[rows],
            index=data.index[rows],
            mask=_real(self._right(rows, mask, patch, wrong), valid),
            wrong=_real(wrong, valid),
            annotated=None if data.annotated is None else data.annotated[rows],
            valid=valid,
        )

    def _right(self, rows: Tensor, mask: Tensor | None, patch: Tensor | None, wrong: Tensor | None) -> Tensor | None:
        """Right evidence of a batch: never where evidence is said to be wrong."""
        if self.samples.annotated is None:
            return None
        if mask is None and self.samples.frame is None:
            return None if patch is None else ~patch
        right = self.samples.frame.expand(len(rows), -1, -1) if mask is None else mask  # type: ignore[union-attr]
        return right if wrong is None else right & ~wrong


def _moved(mask: Tensor | None, rows: Tensor, change: CropFlip | None) -> Tensor | None:
    """The masks of some images, cropped and flipped as these are."""
    if mask is None:
        return None
    chosen = mask.index_select(0, rows)
    return chosen if change is None else change(chosen[:, None])[:, 0]


def _real(region: Tensor | None, valid: Tensor | None) -> Tensor | None:
    """A region without padding: ``(B, T, F)`` with ``(B, T)``, ``(B, L)`` with ``(B, L)``."""
    return region if region is None or valid is None else region & (valid if region.ndim == 2 else valid[..., None])
