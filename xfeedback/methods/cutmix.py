"""CutMix: paste a box of another image, and mix the labels by area (Yun et al. 2019).

Equations (4) and (5): `docs/methods/peers.md`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Generator, Tensor, nn

from xfeedback.config import require
from xfeedback.feedback import Feedback, FeedbackConfig, PresetModule
from xfeedback.feedback.mixing import mixed, numbers, partners, shape_of
from xfeedback.types import Batch


@dataclass(frozen=True, kw_only=True)
class CutMixConfig(FeedbackConfig):
    """Options of CutMix.

    Attributes:
        alpha: of the Beta distribution that the share of the image outside the box is drawn from.
        probability: share of the batches that are mixed; 0 switches the method off.
    """

    alpha: float = 1.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.alpha < float("inf"), "alpha", self.alpha, "above 0")
        require(0 <= self.probability <= 1, "probability", self.probability, "from 0 to 1")


class CutMixFeedback(Feedback[CutMixConfig]):
    """Paste the same box of a partner into each image of a batch."""

    name = "cutmix"
    stacks = True
    compiles = True
    Config = CutMixConfig
    n_classes = 0

    @property
    def full_strength(self) -> float:
        """The probability after warm-up."""
        return self.config.probability

    def prepare(self, network: nn.Module, example: Tensor) -> nn.Module:
        """Count the classes; the network stays as it is."""
        self.n_classes = shape_of(network, example)[0]
        return network

    def change(self, batch: Batch, epoch: int, draws: Callable[[str], Generator]) -> Batch:
        """Return the images with pasted boxes; equations (4) and (5). Annotations are pasted like the pixels."""
        random = numbers(draws, self.name)
        if random.random() >= self.strength(epoch):
            return batch
        height, width = batch.x.shape[2:]
        top, bottom, left, right = box(random.beta(self.config.alpha, self.config.alpha), height, width, random)
        partner = partners(batch, draws, self.name)
        inside = torch.zeros(height, width, dtype=torch.bool, device=batch.x.device)
        inside[top:bottom, left:right] = True
        share = torch.full((1,), 1 - (bottom - top) * (right - left) / (height * width), device=batch.x.device)

        def pasted(values: Tensor) -> Tensor:
            return torch.where(inside, values[partner], values)

        masks = {name: getattr(batch, name) for name in ("mask", "wrong", "hidden")}
        moved = {name: pasted(mask) for name, mask in masks.items() if mask is not None}
        return replace(mixed(batch, pasted(batch.x), share, partner, self.n_classes), **moved)


class CutMix(PresetModule):
    """LightningModule for CutMix."""

    feedback_class: ClassVar[type[Feedback]] = CutMixFeedback


def box(share: float, height: int, width: int, random: np.random.Generator) -> tuple[int, int, int, int]:
    """Return (top, bottom, left, right) of a box with 1 - ``share`` of the area and the image's proportions.

    Equation (4). Its middle is anywhere in the image, and what reaches beyond the edge is cut off.
    """
    half_height, half_width = (int(side * (1 - share) ** 0.5) // 2 for side in (height, width))
    row, column = int(random.integers(height)), int(random.integers(width))
    top, bottom = max(row - half_height, 0), min(row + half_height, height)
    left, right = max(column - half_width, 0), min(column + half_width, width)
    return top, bottom, left, right
