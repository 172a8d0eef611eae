import pytest
import torch
from torch.nn.functional import pad

from xfeedback.data.augment import CropFlip
from xfeedback.seeding import generator


def loop(images: torch.Tensor, draws: CropFlip) -> torch.Tensor:
    """One image at a time: pad, slice, mirror."""
    out = []
    for image, top, left, flip in zip(images, draws.top, draws.left, draws.flip, strict=True):
        crop = pad(image, [4] * 4)[:, top : top + image.shape[1], left : left + image.shape[2]]
        out.append(crop.flip(2) if flip else crop)
    return torch.stack(out)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bool])
@pytest.mark.parametrize("shape", [(50, 3, 32, 32), (20, 1, 28, 20)])
def test_equals_a_plain_loop(dtype, shape):
    images = torch.randint(0, 2 if dtype is torch.bool else 200, shape).to(dtype)
    draws = CropFlip.draw(shape[0], generator("cpu", 0, "test"))
    assert torch.equal(draws(images), loop(images, draws))


def test_no_offset_and_no_flip_is_the_image():
    images = torch.rand(3, 3, 32, 32)
    four = torch.full((3,), 4)
    assert torch.equal(CropFlip(four, four, torch.zeros(3, dtype=torch.bool))(images), images)


def test_draws_cover_all_offsets_and_half_flip():
    n = 20_000
    draws = CropFlip.draw(n, generator("cpu", 0, "test"))
    for offset in (draws.top, draws.left):
        share = torch.bincount(offset, minlength=9) / n
        assert len(share) == 9
        assert (share - 1 / 9).abs().max() < 4 * (8 / 81 / n) ** 0.5
    assert abs(draws.flip.float().mean() - 0.5) < 4 * 0.5 / n**0.5


def test_rows_of_the_draws_change_the_same_images():
    images = torch.rand(7, 1, 8, 8)
    draws = CropFlip.draw(7, generator("cpu", 0, "test"))
    assert torch.equal(draws[1::2](images[1::2]), draws(images)[1::2])
