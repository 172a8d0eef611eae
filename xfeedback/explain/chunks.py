"""How many inputs to run at once when there are thousands: as many as the cache likes."""

import time
from typing import Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

Chunk = int | Literal["auto", "measured"]
BUDGET = {"cpu": 2**20, "cuda": 2**30, "mps": 2**28}
"""Bytes that the input and output of the largest layer may take together, by kind of device."""
LEAST, LARGEST = 8, 4096
_measured: WeakKeyDictionary[nn.Module, dict[object, int]] = WeakKeyDictionary()


@torch.no_grad()
def largest_layer(network: nn.Module, example: Tensor) -> int:
    """Return the bytes of the input and output of the network's largest layer for one input ``(1, ...)``."""
    sizes = [example.nbytes]

    def keep(_module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        sizes.append(sum(t.nbytes for t in (*inputs, output) if isinstance(t, Tensor)))

    handles = [layer.register_forward_hook(keep) for layer in network.modules() if not list(layer.children())]
    try:
        network(example)
    finally:
        for handle in handles:
            handle.remove()
    return max(sizes)


def chunk_size(network: nn.Module, example: Tensor, chunk: Chunk = "auto") -> int:
    """Return how many inputs to run at once.

    Args:
        network: in evaluation mode.
        example: one input ``(1, ...)``.
        chunk: ``auto``: the power of two whose largest layer fits a fixed budget, the same on all machines, so that
            results are too; ``measured``: the fastest on this machine now, at most 8 times more or less; or a number.
    """
    if not isinstance(chunk, str):
        return chunk
    known = _measured.setdefault(network, {})
    key = chunk, example.shape, example.dtype, example.device
    if key not in known:
        fits = BUDGET.get(example.device.type, BUDGET["cpu"]) // largest_layer(network, example)
        ruled = min(LARGEST, max(LEAST, 2 ** (fits.bit_length() - 1) if fits else 0))
        known[key] = ruled if chunk == "auto" else _fastest(network, example, ruled)
    return known[key]


def _fastest(network: nn.Module, example: Tensor, near: int) -> int:
    candidates = [n for power in range(-3, 4) if 1 <= (n := int(near * 2.0**power)) <= LARGEST]
    return min(candidates, key=lambda n: _seconds(network, example, n))


@torch.no_grad()
def _seconds(network: nn.Module, example: Tensor, n: int, repeats: int = 3) -> float:
    """Return the least time a row of running n inputs at once."""
    rows = example.expand(n, *example.shape[1:]).contiguous()
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        network(rows)
        if rows.device.type == "cuda":
            torch.cuda.synchronize(rows.device)
        times.append((time.perf_counter() - start) / n)
    return min(times[1:])
