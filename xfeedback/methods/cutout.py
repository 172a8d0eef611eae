"""Cutout and random erasing: hide a part of each image (DeVries and Taylor 2017; Zhong et al. 2020).

Equation (7): `docs/methods/peers.md`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor

from xfeedback.config import require
from xfeedback.feedback import Feedback, FeedbackConfig, PresetModule
from xfeedback.types import Batch


@dataclass(frozen=True, kw_only=True)
class CutoutConfig(FeedbackConfig):
    """Options of Cutout.

    Attributes:
        shape: ``square``: Cutout, its middle anywhere, so that it may reach beyond the edge; ``rectangle``: random
            erasing, all of it in the image.
        size: side of the square as a share of the image's shorter side.
        area: least and largest share of the image that a rectangle takes.
        ratio: smallest height over width of a rectangle, at most 1; the largest is 1 / ``ratio``.
        fill: ``mean``: 0 in normalised images; ``noise``: uniform over the batch's range of each channel.
        probability: share of the images from which a part is cut; 0 switches the method off.
    """

    shape: Literal["square", "rectangle"] = "square"
    size: float = 0.5
    area: tuple[float, ...] = (0.02, 0.33)
    ratio: float = 0.3
    fill: Literal["mean", "noise"] = "mean"
    probability: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.size <= 2, "size", self.size, "above 0 and at most 2")
        fits = len(self.area) == 2 and 0 < self.area[0] <= self.area[-1] <= 1
        require(fits, "area", self.area, "[smallest, largest] share, above 0 and at most 1")
        require(0 < self.ratio <= 1, "ratio", self.ratio, "above 0 and at most 1")
        require(0 <= self.probability <= 1, "probability", self.probability, "from 0 to 1")


class CutoutFeedback(Feedback[CutoutConfig]):
    """Hide a square or a rectangle of each image; what is hidden is no evidence, neither right nor wrong."""

    name = "cutout"
    stacks = True
    compiles = True
    Config = CutoutConfig

    @property
    def full_strength(self) -> float:
        """The probability after warm-up."""
        return self.config.probability

    def change(self, batch: Batch, epoch: int, draws: Callable[[str], Generator]) -> Batch:
        """Return the images with a part cut from each that is drawn; equation (7)."""
        count, _, height, width = batch.x.shape
        draw = draws(self.name)
        u = torch.rand((count, 5), device=batch.x.device, generator=draw)
        hole = self.holes(u, height, width) & (u[:, 4] < self.strength(epoch))[:, None, None]
        x = torch.where(hole[:, None], self._filling(batch.x, draw), batch.x)
        masks = {name: getattr(batch, name) for name in ("mask", "wrong")}
        left = {name: mask & ~hole for name, mask in masks.items() if mask is not None}
        return replace(batch, x=x, hidden=hole if batch.hidden is None else hole | batch.hidden, **left)

    def holes(self, u: Tensor, height: int, width: int) -> Tensor:
        """Return the parts to cut ``(B, H, W)`` bool from uniform numbers ``(B, 4 or more)``; equation (7)."""
        if self.config.shape == "square":
            side = u.new_full((len(u),), max(1, round(self.config.size * min(height, width))))
            tall = wide = side
            top, left = (u[:, 0] * height).floor() - side // 2, (u[:, 1] * width).floor() - side // 2
        else:
            low, high = self.config.area
            area = (low + (high - low) * u[:, 2]) * height * width
            ratio = self.config.ratio ** (1 - 2 * u[:, 3])
            tall = (area * ratio).sqrt().round().clamp(1, height)
            wide = (area / ratio).sqrt().round().clamp(1, width)
            top, left = (u[:, 0] * (height - tall + 1)).floor(), (u[:, 1] * (width - wide + 1)).floor()
        rows, columns = torch.arange(height, device=u.device), torch.arange(width, device=u.device)
        inside = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
        across = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
        return inside[:, :, None] & across[:, None, :]

    def _filling(self, x: Tensor, draw: Generator) -> Tensor:
        if self.config.fill == "mean":
            return torch.zeros((), dtype=x.dtype, device=x.device)
        low, high = x.amin((0, 2, 3), keepdim=True), x.amax((0, 2, 3), keepdim=True)
        return low + (high - low) * torch.rand(x.shape, device=x.device, dtype=x.dtype, generator=draw)


class Cutout(PresetModule):
    """LightningModule for Cutout."""

    feedback_class: ClassVar[type[Feedback]] = CutoutFeedback
