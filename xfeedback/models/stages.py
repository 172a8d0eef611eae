"""Where a network's tensors can be seen and changed: the ends of its blocks, and what runs before a layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from xfeedback.errors import UserError
from xfeedback.models.layers import explained_layer, get_layer, is_cut
from xfeedback.models.running import mode
from xfeedback.models.text_base import TextNetwork
from xfeedback.models.torch_bases import AvgPoolNd, BatchNorm, ConvNd, DropoutNd, MaxPoolNd, NormBase


@dataclass(frozen=True)
class _Run:
    """One run of a module: in the order in which runs end.

    Attributes:
        name: of the module.
        value: its output, the first of several; None when it is no tensor.
        version: of the output when the run ended.
    """

    name: str
    value: Tensor | None
    version: int


@dataclass(frozen=True)
class Trace:
    """What one forward pass of a network did, in evaluation mode.

    Attributes:
        runs: of every module but the network itself, in the order in which they ended.
        x: the input, or the embeddings of a text.
        logits: the output.
    """

    runs: tuple[_Run, ...]
    x: Tensor
    logits: Tensor

    def single(self, name: str) -> _Run | None:
        """Return the run of a module that runs once, else None."""
        found = [run for run in self.runs if run.name == name]
        return found[0] if len(found) == 1 else None


def need_example(network: nn.Module, example: Tensor) -> None:
    """Refuse to look into a network without an input ``(1, ...)`` to run it on: ``example`` is empty.

    Raises:
        UserError: it is.
    """
    if example.numel() == 0:
        raise UserError(f"this method must look into {type(network).__name__}: give example=, one input (1, ...).")


def trace(network: nn.Module, example: Tensor) -> Trace:
    """Run a network on one input ``(1, ...)``; modes, buffers and the global random state stay as they were.

    Raises:
        UserError: there is no input.
    """
    need_example(network, example)
    x = network.embed(example) if isinstance(network, TextNetwork) else example
    x = x.detach().clone().requires_grad_()
    runs: list[_Run] = []

    def leaving(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object, output: Any) -> None:
            value = output[0] if isinstance(output, tuple) else output
            value = value if isinstance(value, Tensor) else None
            runs.append(_Run(name, value, 0 if value is None else value._version))

        return hook

    handles: list[RemovableHandle] = []
    for name, module in network.named_modules():
        if name:
            handles.append(module.register_forward_hook(leaving(name)))
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad(), mode(network, training=False):
            logits = network(x)
    finally:
        for handle in handles:
            handle.remove()
    return Trace(tuple(runs), x, logits)


def dropped_before(network: nn.Module, names: Sequence[str]) -> bool:
    """Whether any of these modules holds dropout."""
    return any(
        isinstance(inner, DropoutNd) or (isinstance(inner, nn.RNNBase) and inner.dropout > 0)
        for name in names
        for inner in network.get_submodule(name).modules()
    )


def runs_once(network: nn.Module, found: Trace, layer: str, option: str) -> Tensor:
    """Return a layer's output ``(1, ...)`` once it is known that it can be seen and changed.

    Args:
        network: whose layer.
        found: what a forward pass did.
        layer: dotted name.
        option: the option that names it, for the message.

    Raises:
        UserError: there is no such layer, it runs never or more than once, or it gives no tensor.
    """
    get_layer(network, layer)
    times = sum(run.name == layer for run in found.runs)
    if times != 1:
        how = "never runs" if times == 0 else f"runs {times} times in a forward pass"
        raise UserError(f"{option}: layer '{layer}' of {type(network).__name__} {how}; name one that runs once.")
    run, who = found.single(layer), f"layer '{layer}' of {type(network).__name__}"
    if run is None or run.value is None or not run.value.is_floating_point():
        raise UserError(f"{option}: {who} gives no tensor of numbers; name another.")
    if run.value._version != run.version:
        raise UserError(f"{option}: what {who} gives is overwritten by the next one (inplace); name that one.")
    return run.value


def stages(network: nn.Module, found: Trace) -> tuple[str, ...]:
    """Return the layers whose outputs end a network's blocks, in order.

    ``network.challenge_sites`` where it is declared. Otherwise the tensors that carry all evidence (every way from the
    input to the logits leads through them) are followed: a block of maps ends at a pooling layer, where the map shrinks
    in another way, or before global pooling; of sequences, each child of the network ends one. Of modules that return
    the same tensor the outermost is named; modules that run more than once are passed over.
    """
    declared = getattr(network, "challenge_sites", None)
    if declared is not None:
        return tuple(declared)
    cuts = [run for run in found.runs if _is_block_output(run, found)]
    if found.x.ndim == 4:
        return _ends_of_map_blocks(network, cuts)
    children = {name for name, _ in network.named_children()}
    return tuple(run.name for run in cuts if run.name in children)


def last_features(network: nn.Module, example: Tensor) -> str:
    """Return the layer that gives the features which the head of a network reads.

    Of images the explained layer. Of series and texts the last module before the one that gives the logits whose output
    carries all evidence: mostly the pooled features, one vector ``(1, K)`` a sample.

    Args:
        network: stays as it is.
        example: one input ``(1, ...)``.

    Raises:
        UserError: there is no such layer.
    """
    if example.ndim == 4:
        return explained_layer(network, example)
    found = trace(network, example)
    for run in reversed(found.runs):
        value = run.value
        if value is None or value._version != run.version or value.grad_fn in (None, found.logits.grad_fn):
            continue
        if found.single(run.name) is not None and is_cut(value.grad_fn, found.x, found.logits):
            return run.name
    raise UserError(f"{type(network).__name__} has no layer before its head that all evidence goes through.")


def _is_block_output(run: _Run, found: Trace) -> bool:
    value = run.value
    if value is None or value.ndim != found.x.ndim or len(value) != 1 or value._version != run.version:
        return False
    if value.ndim == 4 and value.shape[2:].numel() == 1:
        return False
    return found.single(run.name) is not None and is_cut(value.grad_fn, found.x, found.logits)


def _ends_of_map_blocks(network: nn.Module, cuts: list[_Run]) -> tuple[str, ...]:
    ends: list[str] = []
    last, size = "", torch.Size()
    for run in cuts:
        layer, now = network.get_submodule(run.name), _size(run)
        if isinstance(layer, MaxPoolNd | AvgPoolNd):
            ends.append(run.name)
            last = ""
        elif not isinstance(layer, DropoutNd):
            ends += [last] if last and now != size else []
            last = run.name
        size = now
    return (*ends, last) if last else tuple(ends)


def _size(run: _Run) -> torch.Size:
    return torch.Size() if run.value is None else run.value.shape[2:]


def before(found: Trace, layer: str) -> tuple[str, ...]:
    """Return the outermost modules that have run, once, when ``layer`` has: those whose outputs need no recomputing."""
    order = [run.name for run in found.runs]
    done = found.runs[: order.index(layer) + 1]
    kept: list[str] = []
    for run in reversed(done):
        inside = any(run.name.startswith(f"{outer}.") for outer in kept)
        changed = run.value is None or run.value._version != run.version
        if not inside and not changed and order.count(run.name) == 1:
            kept.append(run.name)
    return tuple(reversed(kept))


def features_axis(network: nn.Module, found: Trace, layer: str | None) -> int:
    """Return the axis of a tensor that holds the features of a position: 1 in maps, -1 in sequences.

    Of an output ``(1, ., .)`` the last layer with weights before it decides: convolutions and BatchNorm put features
    first, linear, recurrent and normalisation layers last.

    Args:
        network: whose tensor.
        found: what a forward pass did.
        layer: whose output; None: the input.
    """
    if layer is None:
        return 1 if found.x.ndim == 4 else -1
    order = [run.name for run in found.runs]
    for name in reversed(order[: order.index(layer) + 1]):
        module = network.get_submodule(name)
        if isinstance(module, nn.Linear | nn.RNNBase | nn.LayerNorm | nn.RMSNorm | nn.MultiheadAttention):
            run = found.single(layer)
            return 1 if run is not None and run.value is not None and run.value.ndim == 4 else -1
        if isinstance(module, ConvNd | BatchNorm):
            return 1
    return 1


def noiseless(network: nn.Module, example: Tensor) -> bool:
    """Whether training and evaluation mode compute the same: no BatchNorm, no dropout, no other noise.

    Args:
        network: stays as it is.
        example: one input ``(1, ...)``; of ids of tokens themselves, else of random inputs of its shape.
    """
    if any(isinstance(module, NormBase) for module in network.modules()):
        return False
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        example = torch.randn_like(example) if example.is_floating_point() else example
        outputs = []
        for training in (False, True, True):
            with mode(network, training=training):
                outputs.append(network(example))
    return all(torch.equal(output, outputs[0]) for output in outputs)
