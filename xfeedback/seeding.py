"""Random numbers that depend on what they are for, never on what ran before.

Every draw comes from a generator keyed by the run's seed and a purpose, e.g. ``("order", epoch)``. Nothing has to be
saved to repeat a draw, and switching one part of a run off leaves the draws of all others as they were.
"""

import hashlib

import torch
from torch import Generator


def derive(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed for one purpose of a run.

    >>> derive(0, "order", 1) == derive(0, "order", 1), derive(0, "order", 1) == derive(0, "order", 2)
    (True, False)
    """
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(device: torch.device | str, seed: int, *purpose: str | int) -> Generator:
    """Return a generator on ``device`` for one purpose of a run."""
    return Generator(device).manual_seed(derive(seed, *purpose))


def reseed(device: torch.device, seed: int) -> None:
    """Set the global generator that layers such as dropout draw from on ``device``.

    ``torch.manual_seed`` would also queue a call for each kind of accelerator that is not in use, at every step.
    """
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)
