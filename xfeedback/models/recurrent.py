"""Running LSTM layers where a kernel lacks something."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn


def states(lstm: nn.LSTM, x: Tensor, *, cudnn: bool) -> Tensor:
    """Return the states at every step ``(B, T, H)``.

    On the CPU mixed precision leaves them in float32: not every processor has an LSTM in bfloat16.

    Args:
        lstm: the layer, batch first.
        x: what it reads ``(B, T, F)``.
        cudnn: whether it may take cuDNN's kernel, which gives no second derivatives and none in evaluation mode.
    """
    mixed = torch.is_autocast_enabled("cpu")
    whole = torch.autocast("cpu", enabled=False) if mixed else nullcontext()
    with torch.backends.cudnn.flags(enabled=cudnn and torch.backends.cudnn.enabled), whole:
        return lstm(x.float() if mixed else x)[0]
