"""A small network and images for LIME."""

import torch
from torch import Tensor, nn

CHANNELS, SIDE, CLASSES = 3, 12, 4


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(channels: int = CHANNELS) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(channels, 5, 3), nn.Tanh(), nn.Flatten(), nn.Linear(5 * (SIDE - 2) ** 2, CLASSES)
    return nn.Sequential(*layers).double()


def images(n: int = 3, channels: int = CHANNELS) -> Tensor:
    return torch.rand(n, channels, SIDE, SIDE, dtype=torch.float64, generator=draws(1))
