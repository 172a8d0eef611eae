"""Ways to run a network that leave it as it was: with layers tapped, in evaluation mode, with statistics at rest."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.hooks import RemovableHandle

from xfeedback.models.layers import get_layer


@contextmanager
def tapped(network: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of the named layers during forwards inside the block, as parts of the graph."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> RemovableHandle:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            outputs[name] = output

        return get_layer(network, name).register_forward_hook(hook)

    handles = [keep(name) for name in layers]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def mode(network: nn.Module, *, training: bool) -> Iterator[None]:
    """Run the block in training or evaluation mode, then restore each module's own flag."""
    flags = [(module, module.training) for module in network.modules()]
    network.train(training)
    try:
        yield
    finally:
        for module, flag in flags:
            module.training = flag


@contextmanager
def resting_statistics(network: nn.Module) -> Iterator[None]:
    """Let normalisation layers use batch statistics without moving their running ones."""
    layers = [m for m in network.modules() if isinstance(m, _NormBase) and m.track_running_stats]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.track_running_stats, layer.momentum = False, 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.track_running_stats, layer.momentum = True, momentum
