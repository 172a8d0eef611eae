"""BatchNorm's statistics of given weights, rather than those that training left behind."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import nn

from xfeedback.models.running import mode
from xfeedback.models.torch_bases import BatchNorm
from xfeedback.types import Batch


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Iterable[Batch], samples: int) -> int:
    """Replace the running statistics of all BatchNorm layers by their means over some batches; in place.

    Nothing else changes: other layers stay in evaluation mode. Under several processes each layer gets the mean over
    their statistics.

    Args:
        network: with the weights whose statistics are wanted.
        batches: of mixed classes, as trained on.
        samples: stop after the batch with which so many have been seen.

    Returns:
        How many samples were seen; 0 for a network without such layers.
    """
    layers = [m for m in network.modules() if isinstance(m, BatchNorm) and m.track_running_stats]
    if not layers:
        return 0
    usual, seen = [layer.momentum for layer in layers], 0
    with mode(network, training=False):
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # the mean over all batches
            layer.train()
        for batch in batches:
            network(batch.x)
            seen += len(batch)
            if seen >= samples:
                break
    for layer, momentum in zip(layers, usual, strict=True):
        layer.momentum = momentum
        _shared(layer)
    return seen


def _shared(layer: BatchNorm) -> None:
    if not (dist.is_available() and dist.is_initialized()):
        return
    for statistic in (layer.running_mean, layer.running_var):
        if statistic is not None:
            dist.all_reduce(statistic)
            statistic.div_(dist.get_world_size())
