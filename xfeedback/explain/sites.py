"""Derivatives of a network's outputs at its input or at the output of any of its layers, in one pass."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from xfeedback.models.layers import get_layer
from xfeedback.models.quiet import Quiet
from xfeedback.models.running import mode, recalled

INPUT = "input"
"""The name of the input as a place."""

Start = Callable[[Tensor], Tensor]
"""From logits ``(B, N)`` to the explained scalar of each sample ``(B,)``."""


def derivatives(
    network: nn.Module,
    x: Tensor,
    sites: Sequence[str],
    start: Start,
    within: AbstractContextManager[Any] | None = None,
    *,
    training: bool = False,
    known: Mapping[str, Any] | None = None,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return value and derivative at each site, detached, in float32 or wider.

    One forward, which keeps a graph only from the first site on, and one backward that ends there and computes no
    derivative of weights. Weights, buffers, training flags and ``.grad`` stay as they were; nothing changes under
    ``torch.inference_mode`` or autocast.

    Args:
        network: maps ``x`` to logits ``(B, N)``.
        x: input ``(B, ...)``.
        sites: ``input`` or dotted names of layers that run once.
        start: what is differentiated.
        within: entered for the forward pass.
        training: leave the network's modes as they are; otherwise evaluation mode.
        known: outputs of layers that need not be computed, those of a first part that ends at a site or before.
    """
    held: dict[str, Tensor] = {}
    wide = torch.autocast(x.device.type, enabled=False)
    modes = nullcontext() if training else mode(network, training=False)
    with torch.inference_mode(False), torch.set_grad_enabled(INPUT in sites), wide, modes, fixed_weights(network):
        x = x.detach().clone() if x.is_inference() else x.detach()
        if INPUT in sites:
            held[INPUT] = x.requires_grad_()
        hidden = [site for site in sites if site != INPUT]
        with recalled(network, known or {}), _held(network, hidden, held), within or nullcontext():
            logits = network(x)
        grads = torch.autograd.grad(start(logits).sum(), [held[site] for site in sites])
    return {site: (held[site].detach(), grad) for site, grad in zip(sites, grads, strict=True)}


def derivatives_behind(
    network: nn.Module, x: Tensor, sites: Sequence[str], start: Start, *, features: Mapping[str, Any], quiet: Quiet
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return :func:`derivatives` in evaluation mode, computing nothing again that the clean training pass has computed.

    Only what follows the quiet part runs once more; from there on back the clean pass's own graph is used, and kept.

    Args:
        network: as for :func:`derivatives`.
        x: input of the clean pass ``(B, ...)``, with a gradient where ``input`` is a site.
        sites: as for :func:`derivatives`.
        start: as for :func:`derivatives`.
        features: outputs in the clean pass, with their graph, of ``quiet.layers`` and of the sites among its places.
        quiet: the part that both modes compute alike.
    """
    inside = [site for site in sites if site == INPUT or (site in quiet.places and site != quiet.last)]
    behind = [quiet.last, *(site for site in sites if site not in (*inside, quiet.last))]
    known = {name: features[name] for name in quiet.layers}
    found = derivatives(network, x, behind, start, known=known)
    if inside:
        values = [x if site == INPUT else tensor_of(features[site]) for site in inside]
        end, last = tensor_of(features[quiet.last]), found[quiet.last][1]
        with torch.autocast(x.device.type, enabled=False):
            grads = torch.autograd.grad(end, values, last, retain_graph=True)
        found |= {site: (value.detach(), grad) for site, value, grad in zip(inside, values, grads, strict=True)}
    return {site: found[site] for site in sites}


def tensor_of(output: Any) -> Tensor:
    """Return a layer's output of any shape, the first of several (recurrent layers)."""
    return output[0] if isinstance(output, tuple) else output


def with_tensor(output: Any, value: Tensor) -> Any:
    """Return a layer's output with its tensor replaced by one of the same shape."""
    return (value, *output[1:]) if isinstance(output, tuple) else value


@contextmanager
def fixed_weights(network: nn.Module) -> Generator[None]:
    """Treat the weights as constants inside the block; cuDNN's recurrent layers can't be explained in evaluation mode.

    The flags are those of before afterwards.
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    recurrent = any(isinstance(m, nn.RNNBase) for m in network.modules())
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        with torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext():
            yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def _held(network: nn.Module, layers: Sequence[str], held: dict[str, Tensor]) -> Generator[None]:
    """Hold the outputs of ``layers``; without a leaf yet, the first to come becomes one and starts the graph."""

    def hook_for(name: str) -> Callable[..., Any]:
        def hook(_module: nn.Module, _inputs: object, output: Any) -> Any:
            value = tensor_of(output)
            if not held:
                torch.set_grad_enabled(True)
                held[name] = value.detach().requires_grad_()
                return with_tensor(output, held[name].clone())  # the next layer may work in place
            held[name] = value
            return None

        return hook

    handles = [get_layer(network, name).register_forward_hook(hook_for(name)) for name in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
