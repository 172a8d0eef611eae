"""Find the layer whose output is explained: the last feature map before global pooling.

A network may declare ``explained_layer``, the dotted name of the module whose output is the feature map A, and
``gap_head``, the name of the linear layer when A is followed by global average pooling and that layer only (then
Grad-CAM has a closed form). For networks that declare nothing, timm's or a user's, :func:`explained_layer` looks.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from xfeedback.errors import UserError, suggest

MIN_CELLS = 7
"""Smallest height and width of an explained map; on coarser grids one cell covers more than a small object."""


def get_layer(network: nn.Module, name: str) -> nn.Module:
    """Return the module with dotted ``name``.

    Raises:
        UserError: there is none; the message has the nearest name and the top-level ones.
    """
    modules = dict(network.named_modules())
    if name and name in modules:
        return modules[name]
    top = ", ".join(child for child, _ in network.named_children())
    raise UserError(f"unknown layer '{name}' in {type(network).__name__}.{suggest(name, modules)} Top level: {top}.")


def gap_head(network: nn.Module) -> nn.Linear | None:
    """Return the linear layer that follows A and global average pooling, or None when there is no such head."""
    name = getattr(network, "gap_head", None)
    layer = None if name is None else network.get_submodule(name)
    return layer if isinstance(layer, nn.Linear) else None


def explained_layer(network: nn.Module, example: Tensor) -> str:
    """Return the dotted name of the module whose output is the explained feature map.

    A declared ``network.explained_layer`` is taken as it is. Otherwise the network runs once on ``example``, and the
    answer is the last module, in the order in which modules finish, whose output

    1. is a map ``(1, K, h, w)`` with h and w at least 7 and no larger than those of the map before it,
    2. is not changed in place later on, and comes from a module that runs once,
    3. carries all the evidence: the logits depend on the input only through it. This leaves out maps inside residual
       branches and attention matrices.

    Of modules that return the same map the outermost is named. Networks that go on with tokens instead of maps
    (vision transformers) are refused. Weights, buffers, training flags and the global random state stay as they were.

    Args:
        network: maps images to logits.
        example: one image ``(1, C, H, W)`` on the network's device.

    Raises:
        UserError: there is no such map; the message names the option that sets the layer.
    """
    declared = getattr(network, "explained_layer", None)
    if declared is not None:
        return declared
    if example.ndim != 4:
        raise UserError(f"{type(network).__name__} takes no images: it has no feature map to explain")
    found = _find(network, example)
    if found is None:
        size = f"{example.shape[2]}x{example.shape[3]}"
        raise UserError(
            f"{type(network).__name__} has no feature map of at least {MIN_CELLS}x{MIN_CELLS} before its head for "
            f"{size} images; name the layer to explain with method.<name>.layer, or choose another model."
        )
    return found


def dense_head(network: nn.Module, layer: str, example: Tensor) -> str | None:
    """Return the name of a linear layer that weighs each cell of a map on its own, or None when there is none.

    That is the first linear layer to run after ``layer`` if it reads the flattened last map before it, or that map
    pooled to 2x2 or more, instead of one value a channel. What such a head reads does not show in Grad-CAM, whose
    channel weights are means over the cells.

    Args:
        network: maps images to logits; its state stays as it was.
        layer: dotted name of the explained layer.
        example: one image ``(1, C, H, W)`` on the network's device.
    """
    outputs = _record_in_evaluation_mode(network, example)[0]
    names = [output.name for output in outputs]
    if layer not in names:
        return None
    channels = outputs[names.index(layer)].value.shape[1]
    for output in outputs[names.index(layer) + 1 :]:
        module = network.get_submodule(output.name)
        if isinstance(module, nn.Linear):
            cells, rest = divmod(module.in_features, channels)
            return output.name if rest == 0 and cells >= 4 else None
        if output.value.ndim == 4:
            channels = output.value.shape[1]
    return None


@dataclass(frozen=True)
class _Output:
    """One module's output, and its state when the module had just run."""

    name: str
    value: Tensor
    version: int
    node: Node | None

    @property
    def changed(self) -> bool:
        return self.value._version != self.version


def _find(network: nn.Module, example: Tensor) -> str | None:
    outputs, logits, x = _record_in_evaluation_mode(network, example)
    calls = Counter(output.name for output in outputs)
    for position in reversed(list(_map_positions(outputs, x))):
        output = outputs[position]
        if output.changed or calls[output.name] > 1 or not is_cut(output.node, x, logits):
            continue
        tokens = any(_is_tokens(later.value, output.value) for later in outputs[position + 1 :])
        return None if tokens else output.name
    return None


def _record_in_evaluation_mode(network: nn.Module, example: Tensor) -> tuple[list[_Output], Tensor, Tensor]:
    """Return what each module gives, the logits and the input; modes and random state stay as they were."""
    x = example.detach().clone().requires_grad_()
    flags = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            return *_record(network, x), x
    finally:
        for module, flag in flags.items():
            module.training = flag


def _record(network: nn.Module, x: Tensor) -> tuple[list[_Output], Tensor]:
    outputs: list[_Output] = []

    def hook_for(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, value: object) -> None:
            if isinstance(value, Tensor):
                outputs.append(_Output(name, value, value._version, value.grad_fn))

        return hook

    handles = [module.register_forward_hook(hook_for(name)) for name, module in network.named_modules() if name]
    try:
        return outputs, network(x)
    finally:
        for handle in handles:
            handle.remove()


def _map_positions(outputs: list[_Output], x: Tensor) -> Iterator[int]:
    height, width = x.shape[2:]
    for position, output in enumerate(outputs):
        if output.value.ndim != 4 or output.value.shape[0] != 1:
            continue
        h, w = output.value.shape[2:]
        if MIN_CELLS <= h <= height and MIN_CELLS <= w <= width:
            height, width = h, w
            yield position


def _is_tokens(value: Tensor, feature_map: Tensor) -> bool:
    """Whether ``value`` holds each position of ``feature_map`` as a token: ``(1, T, D)``, or channels last."""
    h, w = feature_map.shape[2:]
    if value.ndim == 3:
        return value.shape[1] >= h * w
    return value.ndim == 4 and value.shape[1:3] == (h, w) and value.shape[2:] != (h, w)


def is_cut(node: Node | None, x: Tensor, logits: Tensor) -> bool:
    """Whether every path of the autograd graph from ``logits`` to ``x``, both of any shape, goes through ``node``."""
    leaf = torch.autograd.graph.get_gradient_edge(x).node
    seen, waiting = {node}, [logits.grad_fn]
    while waiting:
        place = waiting.pop()
        if place is None or place in seen:
            continue
        if place is leaf:
            return False
        seen.add(place)
        waiting.extend(following for following, _ in place.next_functions)
    return True
