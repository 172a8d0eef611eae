"""What stands at a pooling site: attention pooling, or one of the operations that it is compared with.

``avg`` and ``max``: plain pooling behind stride-1 convolutions. ``softpool``: Stergiou et al. 2021. ``lip``: Gao et al.
2019. ``cbam``: attention in front of the old operation (Woo et al. 2018). ``abn``: an attention branch (Fukui et al.
2019). ``strided``: the network as it was.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from xfeedback.models.lap import LAP
from xfeedback.models.lap_options import PoolOptions
from xfeedback.models.window import Window

Row = Literal["lap", "avg", "max", "strided", "softpool", "lip", "cbam", "abn"]
MANY_CLASSES = 40
"""With more classes than this one score map is the default."""
_fixed = partial(PoolOptions, p=1, merge="channel", alpha_init=1.0, alpha_param="clamp", alpha_trainable=False)
SOFTPOOL = _fixed(score_source="activation", score_act="identity")
LIP = _fixed(scorer="lip", score_scale=12.0)


@dataclass(frozen=True, kw_only=True)
class RowOptions:
    """Options of the pooling at all sites.

    Attributes:
        pool: form of attention pooling; for ``row=lap``.
        concepts: score maps: one a class (``classes``), a number, or ``auto``: one a class up to 40 classes, else one.
        window: windows of attention pooling: of the ``replaced`` operation, or ``2x2`` cells everywhere.
    """

    pool: PoolOptions = field(default_factory=PoolOptions)
    concepts: Literal["auto", "classes"] | int = "auto"
    window: Literal["replaced", "2x2"] = "replaced"

    def n_concepts(self, n_classes: int) -> int:
        """Return K for a network of ``n_classes`` logits."""
        if isinstance(self.concepts, int):
            return self.concepts
        return n_classes if self.concepts == "classes" or n_classes <= MANY_CLASSES else 1


def build_pool(  # noqa: PLR0917
    row: Row, kind: str, channels: int, window: Window | None, options: RowOptions, n_classes: int
) -> nn.Module | None:
    """Return what stands at a site; None leaves it as it is.

    Args:
        row: which operation.
        kind: of the site, see :class:`~xfeedback.models.surgery.Site`.
        channels: C of the map.
        window: None: pool the whole map.
        options: for attention pooling.
        n_classes: number of logits.
    """
    if row in ("avg", "max"):
        return _plain(row, window)
    if row == "cbam":
        return CBAM(channels) if kind == "stride" else None
    if row == "softpool":
        return LAP(channels, SOFTPOOL, window=window)
    if row == "lip":
        overlapping = Window(kernel=3, stride=2, padding=1)
        form = replace(LIP, scorer_hidden_cap=options.pool.scorer_hidden_cap)
        return LAP(channels, form, window=overlapping if kind in ("stride", "shortcut") else window)
    if window is not None and options.window == "2x2":
        window = replace(window, kernel=2, stride=2, padding=0, ceil_mode=True)
    return LAP(channels, options.pool, concepts=options.n_concepts(n_classes), window=window)


def _plain(row: str, window: Window | None) -> nn.Module:
    if window is None:
        return nn.AdaptiveAvgPool2d(1) if row == "avg" else nn.AdaptiveMaxPool2d(1)
    size = (window.kernel, window.stride, window.padding)
    if row == "max":
        return nn.MaxPool2d(*size, ceil_mode=window.ceil_mode)
    return nn.AvgPool2d(*size, ceil_mode=window.ceil_mode, count_include_pad=False)


class CBAM(nn.Module):
    """Channel attention, then spatial attention (Woo et al. 2018); the map keeps its size.

    Channel: sigm(mlp(mean) + mlp(max)), a hidden layer of C / 16; spatial: sigm(conv7x7([mean, max] over channels)).

    Args:
        channels: C of the input ``(B, C, H, W)``.
        reduction: C over the hidden channels.
    """

    keeps_stride = True

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False), nn.ReLU(), nn.Conv2d(hidden, channels, 1, bias=False)
        )
        self.spatial = nn.Sequential(nn.Conv2d(2, 1, 7, padding=3, bias=False), nn.BatchNorm2d(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated map, shape of ``x``."""
        pooled = self.mlp(x.mean((2, 3), keepdim=True)) + self.mlp(x.amax((2, 3), keepdim=True))
        x = x * torch.sigmoid(pooled)
        return x * torch.sigmoid(self.spatial(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)))


class AttentionBranch(nn.Module):
    """The attention branch of ABN (Fukui et al. 2019): features x + x * M with a map M from a classifier of its own.

    Args:
        channels: C of the features ``(B, C, H, W)``.
        n_classes: N of its own logits, which ``logits`` holds as ``(B, N)`` during a forward pass.
    """

    def __init__(self, channels: int, n_classes: int) -> None:
        super().__init__()
        self.classes = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, n_classes, 1, bias=False),
            nn.BatchNorm2d(n_classes),
            nn.ReLU(),
        )
        self.map = nn.Sequential(nn.Conv2d(n_classes, 1, 3, padding=1, bias=False), nn.BatchNorm2d(1), nn.Sigmoid())
        self.logits = nn.Sequential(nn.Conv2d(n_classes, n_classes, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return x + x * M; the module ``logits`` runs for the loss of the branch."""
        evidence = self.classes(x)
        self.logits(evidence)
        return x + x * self.map(evidence)
