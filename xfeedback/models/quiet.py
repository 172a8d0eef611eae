"""The first part of a network that training and evaluation mode compute alike: what needs no pass of its own."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xfeedback.models.layers import get_layer, is_cut
from xfeedback.models.running import mode, resting_statistics
from xfeedback.models.stages import Trace, before
from xfeedback.models.torch_bases import DropoutNd, NormBase


@dataclass(frozen=True)
class Quiet:
    """The layers before the first BatchNorm or dropout.

    Attributes:
        last: dotted name of the layer that ends them; all evidence passes through its output.
        layers: names of the outermost modules that have run by then, ``last`` among them.
        places: names of all modules that have run by then.
    """

    last: str
    layers: tuple[str, ...]
    places: frozenset[str]


def quiet_part(network: nn.Module, found: Trace) -> Quiet | None:
    """Return the longest quiet first part of a network, tried out on noise.

    None where it has fewer than two layers with weights: the gradient of a first layer's input, which the clean pass
    then computes too, costs what is saved.

    Args:
        network: in any mode, which it keeps, as it does its statistics and the global random state.
        found: what a forward pass did.
    """
    order = [run.name for run in found.runs]
    last = None
    for run in found.runs:
        if _noisy(network.get_submodule(run.name)):
            break
        value = run.value
        if value is None or value.grad_fn is None or value._version != run.version or order.count(run.name) > 1:
            continue
        if is_cut(value.grad_fn, found.x, found.logits):
            last = run.name
    places = frozenset(order[: order.index(last) + 1] if last else ())
    weighted = [
        name for name in places if next(network.get_submodule(name).parameters(recurse=False), None) is not None
    ]
    if last is None or len(weighted) < 2 or not _alike(network, found.x, last):
        return None
    return Quiet(last, before(found, last), places)


def _noisy(module: nn.Module) -> bool:
    recurrent = isinstance(module, nn.RNNBase) and module.dropout > 0
    return recurrent or isinstance(module, NormBase | DropoutNd)


def _alike(network: nn.Module, x: Tensor, layer: str) -> bool:
    """Whether a layer's output is the same in both modes and twice in training mode, and stays so to the end."""
    outputs: list[Tensor] = []

    def hook(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        outputs.append(output[0] if isinstance(output, tuple) else output)

    handle = get_layer(network, layer).register_forward_hook(hook)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), resting_statistics(network):
            torch.default_generator.manual_seed(0)
            noise = torch.randn(2, *x.shape[1:], dtype=x.dtype).to(x.device)
            for training in (False, True, True):
                with mode(network, training=training):
                    network(noise)
    finally:
        handle.remove()
    return all(torch.equal(output, outputs[0]) for output in outputs)
