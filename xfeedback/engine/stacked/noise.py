"""Dropout of several seeds at once: each draws from its own stream, the one that it would draw from alone."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xfeedback.seeding import reseed


class Noise:
    """One stream of random numbers a seed, on the global generator of the device, as layers draw from it."""

    def __init__(self) -> None:
        self._seeds: tuple[int, ...] = ()
        self._states: dict[int, Tensor] = {}

    def begin(self, seeds: Sequence[int]) -> None:
        """Begin a pass: each stream stands where ``torch.manual_seed`` would set it."""
        self._seeds, self._states = tuple(seeds), {}

    def draw(self, layer: nn.Module, x: Tensor) -> Tensor:
        """Run a layer that draws on the samples of each seed, with that seed's stream, ``(K * B, ...)``."""
        return torch.cat([self._one(number, layer, part) for number, part in enumerate(x.chunk(len(self._seeds)))])

    def _one(self, number: int, layer: nn.Module, x: Tensor) -> Tensor:
        own = torch.cuda.default_generators[x.device.index] if x.device.type == "cuda" else torch.default_generator
        if number in self._states:
            own.set_state(self._states[number])
        else:
            reseed(x.device, self._seeds[number])
        result = layer(x)
        self._states[number] = own.get_state()
        return result


class StackedDropout(nn.Module):
    """A dropout layer for the samples of several seeds.

    Args:
        layer: drops entries of a batch.
        noise: the seeds' streams, begun before each pass.
    """

    def __init__(self, layer: nn.Module, noise: Noise) -> None:
        super().__init__()
        self.layer = layer
        self._noise = noise

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(K * B, ...)`` to the same shape."""
        return self._noise.draw(self.layer, x) if self.training and self.layer.training else self.layer(x)
