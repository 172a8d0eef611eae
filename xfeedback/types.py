"""The core types: what a data set yields and what a stage of training consists of.

Shape letters: B batch, C channels, H height, W width, T time, F features, L tokens.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One batch of any data set.

    Attributes:
        x: inputs: images and spectrograms ``(B, C, H, W)``, series ``(B, T, F)``, ids of tokens ``(B, L)`` int64.
        y: class labels ``(B,)``, int64.
        index: position of each sample in its data set ``(B,)``, int64.
        mask: where the right evidence lies, bool ``(B, H, W)`` (series ``(B, T, F)``, text ``(B, L)``), or None.
        wrong: where known wrong evidence lies (a decoy), same shape as ``mask``, or None.
        hidden: what is evidence of nothing, neither right nor wrong, same shape as ``mask``, or None.
        annotated: whether the sample's ``mask`` counts ``(B,)``, bool, or None when there are no annotations.
        valid: real positions as against padding, bool ``(B, T)`` or ``(B, L)``; None where all are real.
        target: shares of the classes ``(B, N)`` that the cross-entropy takes instead of ``y``, or None.
    """

    x: Tensor
    y: Tensor
    index: Tensor
    mask: Tensor | None = None
    wrong: Tensor | None = None
    hidden: Tensor | None = None
    annotated: Tensor | None = None
    valid: Tensor | None = None
    target: Tensor | None = None

    def __len__(self) -> int:
        return self.y.shape[0]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Return the batch with every tensor on ``device``."""
        moved = {
            f.name: value.to(device, non_blocking=non_blocking)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)

    def contiguous(self, memory_format: torch.memory_format) -> Self:
        """Return the batch with 4-D inputs in the given memory format."""
        return replace(self, x=self.x.contiguous(memory_format=memory_format)) if self.x.ndim == 4 else self

    @classmethod
    def of(cls, batch: Any) -> "Batch":
        """Return ``batch`` itself, or what an ordinary loader yields: :func:`xfeedback.batches.as_batch`.

        Raises:
            UserError: it can't be understood; the message says what is expected.
        """
        if isinstance(batch, Batch):
            return batch
        from xfeedback.batches import as_batch

        return as_batch(batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One stage of incremental training; ordinary training is a single phase.

    Attributes:
        name: shown in logs, e.g. ``"0"``.
        train: batches to train on; re-iterable, one pass is one epoch.
        val: validation sets by name (``random``, ``clean``, ``correlated`` or ``val``); empty when there is none.
        number: which phase it is, from 0.
        count: how many phases the run has.
        seed: keys whatever is drawn in this phase (:func:`xfeedback.seeding.generator`).
        ordered: the samples of ``train`` once each, in a fixed order and not augmented; re-iterable.
        added: those of them that this phase adds to the common training set, likewise; empty when there are none.
    """

    name: str
    train: Iterable[Batch]
    val: Mapping[str, Iterable[Batch]]
    number: int = 0
    count: int = 1
    seed: int = 0
    ordered: Iterable[Batch] = ()
    added: Iterable[Batch] = ()
