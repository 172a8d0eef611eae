"""torchvision's Inception-V3 with its reduction blocks' max-pooling as modules, so that it can be swapped."""

from typing import Any

import torch
from torch import Tensor, nn

_HOME = "torchvision.models.inception"


def with_pool_modules(network: nn.Module) -> None:
    """Give each reduction block of torchvision's Inception-V3 a module ``pool``; other networks stay as they are."""
    for block in network.modules():
        for name, forward in (("InceptionB", _forward_b), ("InceptionD", _forward_d)):
            if type(block).__name__ == name and type(block).__module__ == _HOME:
                block.register_module("pool", nn.MaxPool2d(3, 2))
                block.__class__ = type(f"Pooled{name}", (type(block),), {"forward": forward, "__module__": __name__})


def _forward_b(block: Any, x: Tensor) -> Tensor:
    deep = block.branch3x3dbl_3(block.branch3x3dbl_2(block.branch3x3dbl_1(x)))
    return torch.cat([block.branch3x3(x), deep, block.pool(x)], 1)


def _forward_d(block: Any, x: Tensor) -> Tensor:
    wide = block.branch7x7x3_2(block.branch7x7x3_1(x))
    wide = block.branch7x7x3_4(block.branch7x7x3_3(wide))
    return torch.cat([block.branch3x3_2(block.branch3x3_1(x)), wide, block.pool(x)], 1)
