"""The small networks that score the cells of a map for attention pooling."""

import torch
from torch import Tensor, nn

from xfeedback.models.lap_options import PoolOptions

LIP_WIDTH = 128
"""Hidden channels of LIP's scorer."""


class Activation(nn.Module):
    """Bound the scores: ``scale`` times sigmoid, softplus or the identity."""

    def __init__(self, kind: str, scale: float) -> None:
        super().__init__()
        self.kind, self.scale = kind, scale

    def forward(self, x: Tensor) -> Tensor:
        """Return the bounded scores, shape of ``x``."""
        bounded = {"sigmoid": torch.sigmoid, "softplus": nn.functional.softplus}.get(self.kind)
        s = x if bounded is None else bounded(x)
        return s if self.scale == 1 else self.scale * s


def build_scorer(channels: int, concepts: int, options: PoolOptions) -> nn.Sequential | None:
    """Return g with its activation, ``(B, C, H, W)`` to scores ``(B, K, H, W)``; equation (1). None: X is the score.

    Hidden channels are max(1, C / 4), of ``lip`` 128 (``scorer_hidden_cap`` limits them). ``lip`` is the logit module
    of local importance-based pooling (Gao et al. 2019) with its last convolution at zero: it starts as average pooling.

    Args:
        channels: C.
        concepts: K.
        options: which scorer.
    """
    if options.score_source == "activation":
        return None
    hidden = max(1, channels // 4)
    hidden = hidden if options.scorer_hidden_cap is None else min(hidden, options.scorer_hidden_cap)
    end = Activation(options.score_act, options.score_scale)
    if options.scorer == "1x1":
        return nn.Sequential(nn.Conv2d(channels, concepts, 1), end)
    if options.scorer == "lip":
        return nn.Sequential(*_lip(channels, concepts, min(LIP_WIDTH, options.scorer_hidden_cap or LIP_WIDTH)), end)
    kernel = int(options.scorer[0])
    first = nn.Conv2d(channels, hidden, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(first, nn.BatchNorm2d(hidden), nn.ReLU(), nn.Conv2d(hidden, concepts, 1), end)


def _lip(channels: int, concepts: int, width: int) -> list[nn.Module]:
    last = nn.Conv2d(width, concepts, 1, bias=False)
    nn.init.zeros_(last.weight)
    return [
        nn.Conv2d(channels, width, 1, bias=False),
        nn.InstanceNorm2d(width, affine=True),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        nn.InstanceNorm2d(width, affine=True),
        nn.ReLU(),
        last,
        nn.InstanceNorm2d(concepts, affine=True),
    ]
