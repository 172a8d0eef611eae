"""A task: the splits of a data set with their decoys and annotations, and the loaders that serve them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.device import DeviceLoader, Painter, Samples
from xfeedback.data.loader import ALONE, Loader, Shard
from xfeedback.data.pictures import Inputs, Pictures
from xfeedback.errors import UserError
from xfeedback.kinds import Kind


@dataclass(frozen=True, kw_only=True)
class Split:
    """Some samples, on the CPU.

    Attributes:
        x: images ``(N, C, H, W)``, uint8 or float32 in [0, 1], without decoys; series ``(N, T, F)`` float32, not
            normalised; texts ``(N, L)`` int64. Or image files that are decoded when they are needed.
        y: labels ``(N,)``, int64.
        index: position in the official set ``(N,)``, int64.
        mask: object pixels of each image ``(N, H, W)`` bool, cells ``(N, T, F)``, tokens ``(N, L)``; or None.
        fixed: the masks stay in the frame when the images are moved.
        wrong: known wrong evidence of each sample beside the decoy, likewise, or None.
        told: where training is told that the decoy is ``(N, H, W)`` bool; None: where it is.
        annotated: whether the sample's annotation counts ``(N,)`` bool, or None without annotations.
        valid: which steps of series are real ``(N, T)`` bool, or None: all.
        group: samples that belong together, e.g. of one speaker ``(N,)`` int64, or None.
        corner: which corner the decoy takes ``(N,)`` int64, or None without decoys.
        shown: the class whose colour the decoy shows ``(N,)`` int64, by view; empty without decoys.
    """

    x: Inputs
    y: Tensor
    index: Tensor
    mask: Tensor | None = None
    fixed: bool = False
    wrong: Tensor | None = None
    told: Tensor | None = None
    annotated: Tensor | None = None
    valid: Tensor | None = None
    group: Tensor | None = None
    corner: Tensor | None = None
    shown: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.y.shape[0]


@dataclass(kw_only=True)
class Task:
    """A data set ready to train on.

    Attributes:
        name: as it stands in tables, e.g. ``decoy_digits``.
        class_names: one per class.
        kind: what the inputs are.
        in_shape: of one input: ``(C, H, W)``, ``(T, F)`` or ``(L,)``.
        mean, std: of the normalisation ``(x - mean) / std``: per channel with x in [0, 1], per feature of series;
            empty for texts.
        vocabulary: the token of each id of texts; id 0 is padding.
        augment: ``none`` or ``crop_flip`` (training only).
        balanced_sampling: training draws every class equally often.
        balanced_accuracy: accuracy is the mean over the classes.
        stamps: what must stand beside every result, e.g. ``subset``.
        fingerprint: SHA-256 of the content.
        train, val, test: the splits; ``val`` may be None.
        pool: further samples that phases of training may draw on, or None.
        frame: right evidence fixed in the frame ``(H, W)`` bool, or None.
        blank: of generated series: one more without any evidence, not normalised ``(T, F)`` float32; or None.
        decoy: settings of the decoys, or None.
        patches, colours: the decoy's four places ``(4, H, W)`` and colours ``(n_classes, C)``, or None.
    """

    name: str
    class_names: tuple[str, ...]
    kind: Kind = "image"
    vocabulary: tuple[str, ...] = ()
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: str
    balanced_sampling: bool = False
    balanced_accuracy: bool = False
    stamps: tuple[str, ...]
    fingerprint: str
    train: Split
    val: Split | None
    test: Split
    pool: Split | None = None
    frame: Tensor | None = None
    blank: Tensor | None = None
    decoy: DecoyConfig | None = None
    patches: Tensor | None = None
    colours: Tensor | None = None
    _resident: dict[tuple[str, str], Samples] = field(default_factory=dict, repr=False)

    @property
    def n_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def in_shape(self) -> tuple[int, ...]:
        """``(C, H, W)`` of one image, ``(T, F)`` of one series, ``(L,)`` of one text."""
        return tuple(self.train.x.shape[1:])

    @property
    def streamed(self) -> bool:
        """Whether inputs are decoded when they are needed, rather than held in memory."""
        return isinstance(self.train.x, Pictures)

    @property
    def stamps_now(self) -> tuple[str, ...]:
        """The stamps, and how many broken files have been replaced so far."""
        return (*self.stamps, *(self.train.x.stamps if isinstance(self.train.x, Pictures) else ()))

    @property
    def has_annotations(self) -> bool:
        """Whether batches say where the right evidence lies."""
        return self.train.annotated is not None

    def train_loader(
        self, batch_size: int, device: torch.device | str, seed: int, rank: int = 0, world: int = 1
    ) -> Loader:
        """Return the loader of the training set: decoys show the class, unless training is without them.

        Args:
            batch_size: samples per step over all ``world`` processes together, so results don't depend on their number.
            device: where the set lives and batches are made.
            seed: the run's seed, for order and augmentation.
            rank: which process this is.
            world: of how many.

        Raises:
            UserError: ``batch_size`` can't be shared evenly.
        """
        if batch_size % world:
            raise UserError(f"trainer.batch_size={batch_size} must be a multiple of the {world} processes")
        return self._loader("train", batch_size, device, seed=seed, shard=Shard(rank=rank, world=world))

    def ordered_loader(self, batch_size: int, device: torch.device | str) -> Loader:
        """Return a loader of the training set in its given order, each sample once, not augmented."""
        return self._loader("train", batch_size, device)

    def pool_loader(self, batch_size: int, device: torch.device | str) -> Loader:
        """Return a loader of the pool, seen as the first validation view is."""
        return self._loader("pool", batch_size, device, self.decoy.val_views[0] if self.decoy else "clean")

    def val_loaders(self, batch_size: int, device: torch.device | str) -> dict[str, Loader]:
        """Return the validation views by name, {} without a set.

        With decoys ``random`` and ``correlated`` (``clean`` first with ``decoy.code=released``), else ``val``.
        """
        views = self.decoy.val_views if self.decoy else ()
        return {} if self.val is None else self._views("val", views, batch_size, device, "val")

    def test_loaders(self, batch_size: int, device: torch.device | str) -> dict[str, Loader]:
        """Return the test views by name.

        With decoys ``random``, ``clean``, ``conflict``, ``correlated`` (``inverted`` when asked for; ``clean`` and
        ``correlated`` with ``decoy.code=released``), else ``test``; see :meth:`on_validation`.
        """
        known = ("clean", *self.test.shown)
        views = tuple(view for view in self.decoy.test_views if view in known) if self.decoy else ()
        return self._views("test", views, batch_size, device, "val" if self.test is self.val else "test")

    def on_validation(self) -> Self:
        """Return the task with its validation set in the place of its test set, which it knows no more.

        With decoys the views are ``random``, ``clean`` and ``correlated``, else the one view is called ``val``.

        Raises:
            UserError: there is no validation set.
        """
        if self.val is None:
            raise UserError(f"{self.name} has no validation set, and options must not be chosen on test data")
        return replace(self, test=self.val, stamps=(*self.stamps, "validation"), _resident={})

    def _views(
        self, split: str, views: tuple[str, ...], batch_size: int, device: torch.device | str, name: str
    ) -> dict[str, Loader]:
        named = {view: view for view in views} or {name: "clean"}
        return {name: self._loader(split, batch_size, device, view) for name, view in named.items()}

    def _loader(
        self,
        split: str,
        batch_size: int,
        device: torch.device | str,
        view: str | None = None,
        *,
        seed: int | None = None,
        shard: Shard = ALONE,
    ) -> Loader:
        """The loader of a split, trained on where there is a seed; ``view``: of the decoys, None: training's."""
        pictures = getattr(self, split).x
        if isinstance(pictures, Pictures):
            return self._streaming(getattr(self, split), pictures, batch_size, device=device, seed=seed, shard=shard)
        view = view or (self.decoy.train if self.decoy else "clean")
        augment, balanced = ("none", False) if seed is None else (self.augment, self.balanced_sampling)
        return DeviceLoader(
            self._samples(split, device),
            batch_size,
            view=view,
            seed=seed,
            augment=augment,
            balanced=balanced,
            shard=shard,
        )

    def _streaming(self, split: Split, pictures: Pictures, batch_size: int, **options: Any) -> Loader:
        from xfeedback.data.streaming import Streamed, StreamingLoader  # torchvision takes a second to import

        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        known = {name: getattr(split, name) for name in ("y", "index", "annotated")}
        data = Streamed(pictures=pictures, **known, frame=self.frame, mean=mean, std=std)
        return StreamingLoader(data, batch_size, **options)

    def _samples(self, name: str, device: torch.device | str) -> Samples:
        """All views of a split share one copy on the device."""
        key = name, str(torch.device(device))
        if key not in self._resident:
            self._resident[key] = self._on_cpu(getattr(self, name)).to(device)
        return self._resident[key]

    def _on_cpu(self, split: Split) -> Samples:
        painter = None
        if split.corner is not None and self.patches is not None and self.colours is not None:
            painter = Painter(patches=self.patches, colours=self.colours, corner=split.corner, shown=split.shown)
        shape = (-1, 1, 1) if self.kind == "image" else (-1,)
        return Samples(
            x=split.x,
            y=split.y,
            index=split.index,
            mean=torch.tensor(self.mean).view(shape) if self.mean else None,
            std=torch.tensor(self.std).view(shape) if self.std else None,
            valid=split.x != 0 if self.kind == "text" else split.valid,
            mask=split.mask,
            fixed=split.fixed,
            wrong=split.wrong,
            told=split.told,
            frame=self.frame,
            annotated=split.annotated,
            painter=painter,
        )
