"""How much of what a decoy shows reaches the cells of the explained map that count as right evidence."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from xfeedback.engine.localise import first, mask_of
from xfeedback.losses import pool_mask
from xfeedback.metrics import changed_cells
from xfeedback.models.running import tapped
from xfeedback.types import Batch

LEAKED = 256
"""Test images that are recoloured."""


@torch.no_grad()
def leak_share(network: nn.Module, layer: str, one: Iterable[Batch], other: Iterable[Batch]) -> float | None:
    """Return the share of O's cells of the explained map A that change when the patch is recoloured, in percent.

    The mean over annotated images whose patch differs. A map of the last layer is no attribution to pixels: where this
    share is high, a network can read the decoy inside O, and a loss on the map does not see it.

    Args:
        network: in evaluation mode.
        layer: dotted name of the explained layer, whose output is A ``(B, K, h, w)``.
        one: batches of images; the first 256 are taken.
        other: batches of the same images, which differ in the patches' colours alone.

    Returns:
        None when no annotated image has a patch that differs.
    """
    shares = list(_shares(network, layer, first(one, LEAKED), first(other, LEAKED)))
    found = torch.cat(shares) if shares else torch.zeros(0)
    return 100 * float(found.mean()) if len(found) else None


def _shares(network: nn.Module, layer: str, one: Iterator[Batch], other: Iterator[Batch]) -> Iterator[Tensor]:
    for before, after in zip(one, other, strict=True):
        maps = [_map(network, layer, batch.x) for batch in (before, after)]
        region = pool_mask(mask_of(before) & mask_of(after), (maps[0].shape[2], maps[0].shape[3]))
        cells = region.sum((1, 2))
        counts = (cells > 0) & (before.x != after.x).flatten(1).any(1)
        if before.annotated is not None:
            counts = counts & before.annotated
        yield ((changed_cells(maps[0], maps[1]) & region).sum((1, 2)).double() / cells.clamp_min(1))[counts].cpu()


def _map(network: nn.Module, layer: str, x: Tensor) -> Tensor:
    with tapped(network, [layer]) as features:
        network(x)
    return features[layer]
