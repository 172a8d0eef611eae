"""Tiny networks whose explained map is followed by global average pooling and one linear layer, or by more."""

import torch
from torch import Tensor, nn


class SmallCam(nn.Module):
    """Two convolutions with maps of 8x8 on 8x8 images; ``deep`` puts another convolution between map and pooling.

    The map has both signs, unless ``smooth`` (Softplus everywhere) or ``rectified`` (zeros and positive values).
    """

    explained_layer = "features"
    gap_head = "head"

    def __init__(
        self, *, n_classes: int = 4, smooth: bool = False, deep: bool = False, rectified: bool = False
    ) -> None:
        super().__init__()
        act = nn.Softplus if smooth else nn.ReLU
        self.features = nn.Sequential(
            nn.Conv2d(2, 5, 3, padding=1),
            act(),
            nn.Conv2d(5, 6, 3, padding=1),
            act() if smooth or deep or rectified else nn.Identity(),
        )
        self.above = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), act()) if deep else nn.Identity()
        self.head = nn.Linear(6, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.above(self.features(x)).mean((2, 3)))


def small_cam(seed: int = 0, dtype: torch.dtype = torch.float64, **options: bool) -> SmallCam:
    torch.manual_seed(seed)
    return SmallCam(**options).to(dtype)


def images(n: int = 5, seed: int = 1, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Images ``(n, 2, 8, 8)`` and classes of four."""
    numbers = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2, 8, 8, generator=numbers, dtype=torch.float64)
    return x.to(dtype), torch.arange(n) % 4


def weights_of(network: nn.Module) -> list[Tensor]:
    return list(network.parameters())
