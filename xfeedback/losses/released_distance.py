"""The explanation loss of XBL-D as the released program computes it, for the audit: it has no gradient.

Everything here happens on index lists, on the CPU and outside the graph. OpenCV finds the edges, as it does there, and
is imported when first used (``pip install 'xfeedback[audit]'``).
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xfeedback.dtypes import Bools, Ints

GREY = 100.0
"""A cell belongs to a mask when its grey value after resizing is above this, of 255."""
CANNY = (0.01, 0.2)


def resized_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Return masks on the grid, bool ``(B, h, w)``: resized bilinearly as grey images 0 and 255, then thresholded.

    Args:
        mask: bool ``(B, H, W)``.
        size: ``(h, w)``.
    """
    grey = F.interpolate(255.0 * mask[:, None].float(), size, mode="bilinear", align_corners=False)
    return grey[:, 0] > GREY


def run_edges(region: Bools) -> Ints:
    """Return X: where Canny's detector fires on a region laid out as one column of cells; equation (12).

    Args:
        region: bool ``(h, w)``.

    Returns:
        Indices into the h w cells, int64; empty where there is no edge.
    """
    import cv2

    column = np.ascontiguousarray(region.reshape(-1, 1).astype(np.uint8))
    return np.flatnonzero(cv2.Canny(column, *CANNY))


def edge_distances(cam: Tensor, wrong: Tensor, edges: Sequence[Ints]) -> Tensor:
    """Return the mean distance of the first and of the last attended wrong cell to the nearest edge; equation (13).

    Args:
        cam: M >= 0 ``(B, h, w)``.
        wrong: Wr, bool ``(B, h, w)``.
        edges: X of each sample, from :func:`run_edges`.

    Returns:
        d ``(B,)`` in cells along the raster, float32, without gradient and on the device of ``cam``; 0 where no wrong
        cell is attended or there is no edge (the released program stops with an error there).
    """
    attended = (cam.detach() * wrong > 0).flatten(1).cpu().numpy()
    distances = [_distance(np.flatnonzero(row), near) for row, near in zip(attended, edges, strict=True)]
    return torch.tensor(distances, dtype=torch.float32, device=cam.device)


def _distance(cells: Ints, edges: Ints) -> float:
    if not len(cells) or not len(edges):
        return 0.0
    return float(np.abs(edges - cells[0]).min() + np.abs(edges - cells[-1]).min()) / 2
