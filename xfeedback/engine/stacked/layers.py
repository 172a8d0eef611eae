"""K networks of the same form as one: every layer with weights becomes a stack of K, everything else stays.

Samples come seed by seed, ``(K * B, ...)``, and so do all activations: layers without weights, taps and hooks work on
them as they do on a batch, and samples of different seeds never meet.
"""

# pyright: reportPrivateUsage=false
# a stack lends its weights to layers that others hold: only torch's own tables of a layer can be written into
import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from xfeedback.engine.stacked.noise import Noise, StackedDropout
from xfeedback.models.torch_bases import DropoutNd, NormBase


class CannotStackError(Exception):
    """Why runs can't be trained as one program, in a line."""


class Stacked(nn.Module):
    """K layers of the same form: the samples of each seed meet the weights of that seed.

    Its parameters and buffers have the names of the layers' own, with the seeds first ``(K, ...)``. Those of the layers
    become views of them, without gradients: each layer always has the weights of the stack, and runs alone as before.

    Args:
        layers: of one form, on one device.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        first = layers[0]
        self.count, template = len(layers), copy.deepcopy(first)
        for name, own in first._parameters.items():
            if own is not None:
                whole = torch.stack([layer.get_parameter(name).detach() for layer in layers])
                self.register_parameter(name, nn.Parameter(whole, requires_grad=own.requires_grad))
                template._parameters[name] = None
        for name, own in first._buffers.items():
            if own is not None:
                self.register_buffer(name, torch.stack([layer.get_buffer(name) for layer in layers]))
                template._buffers[name] = None
        self.template = template  # last: what it has is found as the stack's own, and could not be registered again
        self._lend(layers)

    def _lend(self, layers: Sequence[nn.Module]) -> None:
        for name, whole in self._own().items():
            for layer, part in zip(layers, whole.detach(), strict=True):
                if name in layer._parameters:
                    layer.get_parameter(name).requires_grad_(False).data = part
                else:
                    layer._buffers[name] = part

    def __getattr__(self, name: str) -> Any:
        """Return also what the layers say of themselves, e.g. ``num_embeddings``."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            template = self.__dict__["_modules"].get("template")
            if template is None:
                raise
            return getattr(template, name)

    def _own(self) -> dict[str, Tensor]:
        return {**self._parameters, **self._buffers}  # type: ignore[dict-item]

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(K * B, ...)`` to ``(K * B, ...)``."""

        def one(values: dict[str, Tensor], part: Tensor) -> Tensor:
            return torch.func.functional_call(self.template, values, (part,))

        return torch.vmap(one, randomness="error")(self._own(), x.unflatten(0, (self.count, -1))).flatten(0, 1)


def stack(networks: Sequence[nn.Module], noise: Noise) -> nn.Module:
    """Return a network of the networks' class that runs all of them, see :class:`Stacked`.

    Args:
        networks: of one form, on one device; their weights become views of the stack, without gradients.
        noise: what dropout draws from.

    Raises:
        CannotStackError: a layer can't be stacked; nothing has been changed.
    """
    first = networks[0]
    for name, layer in first.named_modules():
        if (reason := _refused(layer, [network.get_submodule(name) for network in networks])) is not None:
            raise CannotStackError(f"layer '{name or type(first).__name__}' ({type(layer).__name__}) {reason}")
    if len(list(first.named_parameters(remove_duplicate=False))) != len(list(first.parameters())):
        raise CannotStackError("layers of the network share weights")
    whole, made = copy.deepcopy(first), dict[nn.Module, nn.Module]()
    for name, layer in list(whole.named_modules(remove_duplicate=False)):
        if _is_stacked(layer) and layer not in made:
            made[layer] = Stacked([network.get_submodule(name) for network in networks])
        elif isinstance(layer, DropoutNd) and layer.p > 0:
            made.setdefault(layer, StackedDropout(layer, noise))
        if layer in made and name:
            parent, _, child = name.rpartition(".")
            setattr(whole.get_submodule(parent), child, made[layer])
    return made.get(whole, whole)


def release(networks: Sequence[nn.Module], stacked: nn.Module) -> None:
    """Give each network weights of its own again, with the values and the gradients that they had in the stack."""
    wanted = {
        f"{name}.{own}" if name else own: value.requires_grad
        for name, layer in stacked.named_modules()
        if isinstance(layer, Stacked)
        for own, value in layer.named_parameters(recurse=False)
    }
    for network in networks:
        for name, value in network.named_parameters():
            value.data = value.data.clone()
            value.requires_grad_(wanted[name])
        for layer in network.modules():
            for name, value in layer._buffers.items():
                layer._buffers[name] = None if value is None else value.clone()


def _is_stacked(layer: nn.Module) -> bool:
    leaf = next(layer.children(), None) is None
    return leaf and (bool(_held(layer)) or isinstance(layer, NormBase))


def _held(layer: nn.Module) -> list[Tensor]:
    own = (*layer._parameters.values(), *layer._buffers.values())
    return [value for value in own if value is not None]


def _refused(layer: nn.Module, alike: Sequence[nn.Module]) -> str | None:
    """Why a layer can't be stacked, or None."""
    if layer._forward_hooks or layer._forward_pre_hooks or "forward" in layer.__dict__:
        return "has been changed by a method"
    if isinstance(layer, nn.RNNBase | nn.RNNCellBase):
        return "runs through its sequence in one kernel"
    if isinstance(layer, NormBase) and layer.track_running_stats and layer.momentum is None:
        return "averages over all batches"
    if is_parametrized(layer) or (not _is_stacked(layer) and any(v is not None for v in layer._parameters.values())):
        return "has weights beside layers of its own"
    if not _is_stacked(layer) and any(not _equal(layer._buffers, other._buffers) for other in alike):
        return "has other constants for each seed"
    return None


def _equal(own: dict[str, Tensor | None], other: dict[str, Tensor | None]) -> bool:
    pairs = [(value, other.get(name)) for name, value in own.items() if value is not None]
    return all(found is not None and torch.equal(value, found) for value, found in pairs)
