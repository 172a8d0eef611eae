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
        batch, channels, height, width = images.shape
        padded = pad(images, [self.PADDING] * 4)
        rows = self.top[:, None] + torch.arange(height, device=images.device)
        planes = torch.arange(batch * channels, device=images.device).view(batch, channels, 1)
        cut = padded.flatten(0, 2).index_select(0, (planes * padded.shape[2] + rows[:, None]).flatten())
        columns = self.left[:, None] + torch.arange(width, device=images.device)
        columns = torch.where(self.flip[:, None], columns.flip(1), columns)
        columns = columns[:, None, None].expand(-1, channels, height, -1)
        return cut.view(batch, channels, height, -1).gather(3, columns)
