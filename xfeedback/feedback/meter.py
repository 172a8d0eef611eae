"""Means and accuracies over an epoch, summed on the device and read once."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F


class Meter:
    """Sample-weighted means of named scalars; adding never waits for the device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, n: int, values: Mapping[str, Tensor]) -> None:
        """Add scalars that are means over ``n`` samples."""
        for name, value in values.items():
            total = value.detach().double() * n
            self._sums[name] = self._sums[name] + total if name in self._sums else total
            self._counts[name] = self._counts.get(name, 0) + n

    def read(self) -> dict[str, float]:
        """Return the means and start anew."""
        names = list(self._sums)
        values = torch.stack([self._sums[n] for n in names]).tolist() if names else []
        means = {name: value / self._counts[name] for name, value in zip(names, values, strict=True)}
        self._sums.clear()
        self._counts.clear()
        return means

    def state(self) -> dict[str, tuple[Tensor, int]]:
        """Return the sums and counts so far, by name."""
        return {name: (total, self._counts[name]) for name, total in self._sums.items()}

    def restore(self, state: Mapping[str, tuple[Tensor, int]]) -> None:
        """Go on from sums and counts."""
        self._sums = {name: total for name, (total, _) in state.items()}
        self._counts = {name: count for name, (_, count) in state.items()}


class Accuracies:
    """Accuracy in percent by the name of a validation set, of one network or of several at once.

    Args:
        balanced: the mean over the classes that occur, instead of over the samples.
    """

    def __init__(self, *, balanced: bool = False) -> None:
        self.balanced = balanced
        self._meter = Meter()

    def add(self, name: str, logits: Tensor, y: Tensor) -> None:
        """Add a batch: logits ``(..., B, N)`` and labels ``(..., B)``, leading axes for several networks."""
        hits = logits.argmax(-1) == y
        if not self.balanced:
            self._meter.add(y.shape[-1], {name: 100 * hits.float().mean(-1)})
            return
        own = F.one_hot(y, logits.shape[-1]).double()
        right = (own * hits.unsqueeze(-1)).mean(-2)
        self._meter.add(y.shape[-1], {name: torch.stack([right, own.mean(-2)])})

    def read(self) -> dict[str, Tensor]:
        """Return each accuracy, a scalar ``()`` or of several networks ``(K,)``, float64, and start anew."""
        means = {name: total / count for name, (total, count) in self._meter.state().items()}
        self._meter.restore({})
        return {name: 100 * (mean[0] / mean[1]).nanmean(-1) if self.balanced else mean for name, mean in means.items()}
