"""Windows of a pooling layer."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Window:
    """Windows of ``kernel`` x ``kernel`` cells every ``stride`` cells, over a map padded by ``padding``."""

    kernel: int
    stride: int
    padding: int = 0
    ceil_mode: bool = False

    def out(self, size: int) -> int:
        """Return how many windows fit along a side of ``size`` cells; torch's rule."""
        room = size + 2 * self.padding - self.kernel
        count = (-(-room // self.stride) if self.ceil_mode else room // self.stride) + 1
        return count - 1 if self.ceil_mode and (count - 1) * self.stride >= size + self.padding else count

    def padded(self, x: Tensor) -> Tensor:
        """Return ``x`` ``(..., H, W)`` with zeros where windows reach over its edges."""
        spare = [(self.out(side) - 1) * self.stride + self.kernel - side - self.padding for side in x.shape[-2:]]
        if self.padding == 0 and max(spare) <= 0:
            return x
        bottom, right = (max(0, s) for s in spare)
        return F.pad(x, (self.padding, right, self.padding, bottom))

    def cells(self, x: Tensor) -> Tensor:
        """Return the cells of every window ``(..., n, h, w)``, zeros outside of the map."""
        h, w = (self.out(side) for side in x.shape[-2:])
        padded, s, k = self.padded(x), self.stride, self.kernel
        places = [divmod(place, k) for place in range(k * k)]
        return torch.stack(
            [padded[..., i : i + (h - 1) * s + 1 : s, j : j + (w - 1) * s + 1 : s] for i, j in places], -3
        )

    def places(self, height: int, width: int) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
        """Yield, for each of the n places in a window, which windows have it in the map, and the cells it is there.

        Both as (rows, columns), of the output ``(h, w)`` and of the map ``(height, width)``.
        """
        for place in range(self.kernel**2):
            i, j = divmod(place, self.kernel)
            (rows, own_rows), (columns, own_columns) = self._reach(i, height), self._reach(j, width)
            yield (rows, columns), (own_rows, own_columns)

    def _reach(self, offset: int, size: int) -> tuple[slice, slice]:
        s, start = self.stride, offset - self.padding
        first = max(0, -(start // s))
        last = min(self.out(size) - 1, (size - 1 - start) // s)
        if last < first:
            return slice(0, 0), slice(0, 0)
        return slice(first, last + 1), slice(first * s + start, last * s + start + 1, s)
