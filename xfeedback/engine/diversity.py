"""Are filters unlike each other, samples clearly decided? Margins, filters, activations, relevance, on test data.

Definitions: `docs/methods/challenger.md`, section "Filters and margins".
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from xfeedback.engine.localise import first
from xfeedback.explain.sites import INPUT, derivatives
from xfeedback.metrics.diversity import effective_rank, mean_cosine, relevant_units
from xfeedback.metrics.margins import margins, narrow_share
from xfeedback.models.running import tapped
from xfeedback.models.text_base import TextNetwork
from xfeedback.models.torch_bases import ConvNd
from xfeedback.types import Batch


def diversity(
    network: nn.Module, batches: Iterable[Batch], logits: Tensor, y: Tensor, *, samples: int, temperature: float
) -> dict[str, float]:
    """Return ``margin/...`` of all test samples and ``diversity/...`` of the network on the first of them.

    ``margin/median`` and ``margin/narrow`` (percent below 1) are of logits over the temperature. Means over the
    convolutions, or over the linear layers where there are none: ``diversity/filter_cosine``, ``diversity/filter_rank``
    and ``diversity/activation_rank``. ``diversity/relevant_units``: of gradient times input for the label.

    Args:
        network: in evaluation mode.
        batches: of the view the logits belong to.
        logits: ``(N, K)``.
        y: labels ``(N,)``.
        samples: how many test samples the activations and the relevance are of.
        temperature: fitted on validation data; 1 without any.
    """
    found = margins(logits / temperature, y)
    layers = filters(network)
    collected: dict[str, list[Tensor]] = {name: [] for name in layers}
    units = []
    for batch in first(batches, samples):
        x = network.embed(batch.x) if isinstance(network, TextNetwork) else batch.x
        with torch.no_grad(), tapped(network, layers) as outputs:
            network(x)
        for name, value in outputs.items():
            collected[name].append(_by_feature(value, conv=isinstance(network.get_submodule(name), ConvNd)))
        units.append(relevant_units(_evidence(network, x, batch.y)))
    weights = [network.get_submodule(name).get_parameter("weight") for name in layers]
    ranks = [effective_rank(torch.cat(parts)) for parts in collected.values() if parts]
    return {
        "margin/median": float(found.median()),
        "margin/narrow": 100 * narrow_share(found),
        "diversity/filter_cosine": _mean([mean_cosine(weight) for weight in weights]),
        "diversity/filter_rank": _mean([effective_rank(weight) for weight in weights]),
        "diversity/activation_rank": _mean(ranks),
        "diversity/relevant_units": float(torch.cat(units).mean()),
    }


def filters(network: nn.Module) -> tuple[str, ...]:
    """Return the convolutions with two filters or more; of a network without any, the linear layers."""
    for kind in (ConvNd, nn.Linear):
        found = [name for name, layer in network.named_modules() if isinstance(layer, kind) and len(layer.weight) > 1]
        if found:
            return tuple(found)
    return ()


def _by_feature(value: Tensor, *, conv: bool) -> Tensor:
    """Return activations as ``(B, features)``, means over the positions."""
    positions = list(range(2, value.ndim)) if conv else list(range(1, value.ndim - 1))
    return value.mean(positions) if positions else value


def _evidence(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    value, slope = derivatives(network, x, [INPUT], lambda z: z.gather(1, y[:, None]).squeeze(1))[INPUT]
    return value * slope


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
