"""Ways to run a network that leave it as it was: with layers tapped, in evaluation mode, with statistics at rest."""

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from xfeedback.models.layers import get_layer
from xfeedback.models.torch_bases import BatchNorm, NormBase


@contextmanager
def tapped(network: nn.Module, layers: Sequence[str]) -> Generator[dict[str, Tensor]]:
    """Collect the named layers' outputs, of any shape, during forwards inside the block, as parts of the graph.

    One that nothing trained has made, behind frozen weights, becomes a start of the graph: it can be explained as well.
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> RemovableHandle:
        def hook(_module: nn.Module, _inputs: object, output: Any) -> Any:
            fixed = isinstance(output, Tensor) and output.is_floating_point() and not output.requires_grad
            if fixed and torch.is_grad_enabled():
                output = output.detach().requires_grad_().clone()  # the next layer may work in place
            outputs[name] = output
            return output

        return get_layer(network, name).register_forward_hook(hook)

    handles = [keep(name) for name in layers]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def mode(network: nn.Module, *, training: bool) -> Generator[None]:
    """Run the block in training or evaluation mode, then restore each module's own flag."""
    flags = [(module, module.training) for module in network.modules()]
    network.train(training)
    try:
        yield
    finally:
        for module, flag in flags:
            module.training = flag


@contextmanager
def resting_statistics(network: nn.Module) -> Generator[None]:
    """Let normalisation layers use batch statistics without moving their running ones."""
    layers = [m for m in network.modules() if isinstance(m, NormBase) and m.track_running_stats]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.track_running_stats, layer.momentum = False, 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.track_running_stats, layer.momentum = True, momentum


def trained_outside(network: nn.Module, modules: Collection[str]) -> tuple[str, ...]:
    """Return the names of all parameters and BatchNorm layers in training that lie in none of the named modules."""
    inside = tuple(f"{name}." for name in modules)
    found = [name for name, p in network.named_parameters() if p.requires_grad]
    found += [name for name, layer in network.named_modules() if isinstance(layer, BatchNorm) and layer.training]
    return tuple(name for name in found if not name.startswith(inside))


def hold(network: nn.Module, names: Collection[str], *, still: bool) -> None:
    """Keep parameters and BatchNorm layers as they are, or let them be trained again; ``names`` is of both."""
    for name, parameter in network.named_parameters():
        if name in names:
            parameter.requires_grad = not still
    for name, layer in network.named_modules():
        if name in names:
            layer.train(not still)


def is_compiled(network: nn.Module) -> bool:
    """Whether ``torch.compile`` runs a network or a part of it: what looks into its layers later may go unnoticed."""
    return any("_orig_mod" in m._modules or m._compiled_call_impl is not None for m in network.modules())  # pyright: ignore[reportPrivateUsage]


@contextmanager
def altered(network: nn.Module, *changes: Mapping[str, Callable[[Tensor], Tensor]]) -> Generator[None]:
    """Replace the named layers' outputs (the first of several) by what ``changes`` make of them, of the same shape.

    Of several for one layer each changes what the one before has made.
    """

    def hook_for(change: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
        def hook(_module: nn.Module, _inputs: object, output: Any) -> Any:
            return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

        return hook

    ordered = [(name, change) for of_layers in changes for name, change in of_layers.items()]
    handles = [get_layer(network, name).register_forward_hook(hook_for(change)) for name, change in ordered]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def recalled(network: nn.Module, outputs: Mapping[str, Any]) -> Generator[None]:
    """Let the named layers, which run once a forward pass, return known outputs instead of computing them."""
    layers = {name: get_layer(network, name) for name in outputs}
    former = {name: layer.__dict__.get("forward") for name, layer in layers.items()}

    def known(output: Any) -> Callable[..., Any]:
        return lambda *_args, **_kwargs: output

    try:
        for name, layer in layers.items():
            layer.__dict__["forward"] = known(outputs[name])
        yield
    finally:
        for name, layer in layers.items():
            layer.__dict__.pop("forward", None)
            if former[name] is not None:
                layer.__dict__["forward"] = former[name]
