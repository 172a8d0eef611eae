"""Layer-wise relevance propagation (Bach et al. 2015; rules: Montavon et al. 2019) for any network, in batches.

How a rule for each operation is found: :mod:`xfeedback.explain.lrp.mode`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from xfeedback.errors import UserError
from xfeedback.explain.lrp.mode import Relevance
from xfeedback.explain.lrp.options import COMPOSITES, Rules, UnknownOperation
from xfeedback.explain.sites import INPUT, Start, derivatives

__all__ = ["COMPOSITES", "Relevance", "Rules", "relevance", "relevances"]


def relevance(
    network: nn.Module, x: Tensor, target: Tensor, rules: Rules | str = "epsilon", layer: str = INPUT
) -> Tensor:
    """Return the relevance of the input, or of a layer's output, for the logit of ``target``.

    Args:
        network: maps ``x`` to logits ``(B, N)``; explained in evaluation mode, and left as it was.
        x: input ``(B, ...)``.
        target: explained class ``(B,)``.
        rules: which, or the name of one of :data:`COMPOSITES`.
        layer: ``input``, or the dotted name of a layer.

    Returns:
        Signed, detached, shape of what is explained, float32 or wider.

    Raises:
        UserError: the network has no such layer, or an operation without a rule; the message names it.

    >>> import torch
    >>> network = nn.Sequential(nn.Linear(2, 1, bias=False))
    >>> _ = nn.init.ones_(network[0].weight)
    >>> relevance(network, torch.tensor([[3.0, -1.0]]), torch.tensor([0]), Rules(epsilon=0.0))
    tensor([[ 3., -1.]])
    """

    def logit(z: Tensor) -> Tensor:
        column = (target.clone() if target.is_inference() else target)[:, None]
        return z.gather(1, column).squeeze(1)

    return relevances(network, x, [layer], logit, rules)[layer][1]


def relevances(
    network: nn.Module,
    x: Tensor,
    sites: Sequence[str],
    start: Start,
    rules: Rules | str,
    *,
    known: Mapping[str, Any] | None = None,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return value and relevance at each site for any combination of logits, from one pass.

    Args:
        network: as for :func:`relevance`.
        x: input ``(B, ...)``.
        sites: ``input`` or dotted names of layers.
        start: from logits ``(B, N)`` to what is explained ``(B,)``, linear in them.
        rules: as for :func:`relevance`.
        known: as for :func:`~xfeedback.explain.sites.derivatives`.

    Raises:
        UserError: as for :func:`relevance`.
    """
    chosen = COMPOSITES[rules] if isinstance(rules, str) else rules
    try:
        mode = Relevance(chosen, explains_input=INPUT in sites)
        found = derivatives(network, x, sites, start, mode, known=known)
    except UnknownOperation as unknown:
        raise UserError(_refusal(network, x, sites, chosen, unknown)) from unknown
    of_input = chosen.first is not None
    return {
        site: (value, grad if site == INPUT and of_input else value * grad) for site, (value, grad) in found.items()
    }


def _refusal(network: nn.Module, x: Tensor, sites: Sequence[str], rules: Rules, unknown: UnknownOperation) -> str:
    """Run again to learn in which layer the operation stands."""
    inside: list[str] = []
    handles = []

    def entering(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            inside.append(name)

        return hook

    def leaving(*_: object) -> None:
        inside.pop()

    for name, module in network.named_modules():
        handles += [module.register_forward_pre_hook(entering(name)), module.register_forward_hook(leaving)]
    try:
        derivatives(network, x, sites, lambda z: z.sum(1), Relevance(rules, explains_input=INPUT in sites))
    except UnknownOperation:
        pass
    finally:
        for handle in handles:
            handle.remove()
    place = f"layer '{inside[-1]}' ({type(network.get_submodule(inside[-1])).__name__}) of " if any(inside[-1:]) else ""
    return (
        f"LRP has no rule for '{unknown}' in {place}{type(network).__name__}; choose an attribution that needs none, "
        "e.g. gradient times input, or another model."
    )
