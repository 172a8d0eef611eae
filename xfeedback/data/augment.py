"""Random crop and flip of a whole batch at once, images and masks with the same draws."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad


@dataclass(frozen=True, slots=True)
class CropFlip:
    """The draws for ``B`` images.

    Attributes:
        top, left: where the crop starts in the padded image, 0..2*PADDING, ``(B,)`` int64.
        flip: whether the crop is mirrored left to right, ``(B,)`` bool.
    """

    top: Tensor
    left: Tensor
    flip: Tensor

    PADDING = 4

    @classmethod
    def draw(cls, n: int, generator: Generator) -> "CropFlip":
        """Draw for ``n`` images on the generator's device."""
        device = generator.device
        offsets = torch.randint(0, 2 * cls.PADDING + 1, (2, n), generator=generator, device=device)
        return cls(offsets[0], offsets[1], torch.rand(n, generator=generator, device=device) < 0.5)

    def __getitem__(self, rows: slice) -> "CropFlip":
        return CropFlip(self.top[rows], self.left[rows], self.flip[rows])

    def __call__(self, images: Tensor) -> Tensor:
        """Crop, then flip, ``(B, C, H, W)`` of any type; what lies outside the image is 0."""
        height, width = images.shape[-2:]
        padded = pad(images, [self.PADDING] * 4)
        rows = self.top[:, None] + torch.arange(height, device=images.device)
        columns = self.left[:, None] + torch.arange(width, device=images.device)
        columns = torch.where(self.flip[:, None], columns.flip(1), columns)
        flat = (rows[:, :, None] * padded.shape[-1] + columns[:, None, :]).flatten(1)
        index = flat[:, None].expand(-1, images.shape[1], -1)
        return padded.flatten(2).gather(2, index).view(images.shape)
