"""What each element of a tensor contributes to an output: the attributions that a challenge can follow.

Equation (2) and its alternatives, `docs/methods/challenger.md`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from xfeedback.explain.lrp import Rules, relevances
from xfeedback.explain.sites import INPUT, Start, derivatives
from xfeedback.precision import widened

Attribution = Literal[
    "grad_x_input",
    "grad_abs",
    "grad_cam",
    "lrp_epsilon",
    "lrp_zplus",
    "lrp_gamma",
    "lrp_alpha_beta",
    "lrp_composite",
    "fgsm",
]
Explained = Literal["true", "predicted", "sampled", "margin"]
Found = Mapping[str, tuple[Tensor, Tensor]]
"""Value and derivative (or relevance) at each site."""


def explained(logits: Tensor, y: Tensor, what: Explained, generator: Generator) -> Tensor:
    """Return the scalar of each sample whose evidence is sought, ``(B,)``.

    Args:
        logits: ``(B, N)``.
        y: labels ``(B,)``.
        what: the logit of the label, of the prediction, or of a class drawn from the softmax; or ``margin``, the
            label's logit minus the largest other one.
        generator: of the draw, on the logits' device.
    """
    z = widened(logits)
    if what == "margin":
        others = z.scatter(1, y[:, None], -torch.inf)
        return z.gather(1, y[:, None]).squeeze(1) - others.amax(1)
    c = y
    if what == "predicted":
        c = z.argmax(1)
    elif what == "sampled":
        c = z.detach().softmax(1).multinomial(1, generator=generator).squeeze(1)
    return z.gather(1, c[:, None]).squeeze(1)


def loss_of(y: Tensor) -> Start:
    """Return what is differentiated: the cross-entropy of each sample ``(B,)``, a function of the logits ``(B, K)``."""
    return lambda logits: F.cross_entropy(widened(logits), y, reduction="none")


def attributed(value: Tensor, derivative: Tensor, attribution: Attribution) -> Tensor:
    """Return R of a tensor from its derivative, same shape, for attributions by gradients.

    ``grad_x_input`` h dz/dh; ``grad_abs`` |dz/dh|; ``grad_cam`` the map relu(sum_c mean(dz/dh_c) h_c) for each channel;
    ``fgsm`` the derivative itself.
    """
    if attribution == "grad_x_input":
        return value * derivative
    if attribution == "grad_abs":
        return derivative.abs()
    if attribution == "grad_cam":
        positions = list(range(2, value.ndim))  # of a dense layer none: torch would take the mean of all
        share = derivative.mean(positions, keepdim=True) if positions else derivative
        return (share * value).sum(1, keepdim=True).relu().expand_as(value)
    return derivative


def relevance_maps(
    network: nn.Module,
    x: Tensor,
    sites: Sequence[str],
    start: Start,
    attribution: Attribution,
    *,
    rules: Rules | None = None,
    cam_layer: str | None = None,
    training: bool = False,
    known: Mapping[str, Any] | None = None,
) -> dict[str, Tensor]:
    """Return R at each site from one pass, detached; see :func:`~xfeedback.explain.sites.derivatives`.

    Args:
        network: maps ``x`` to logits ``(B, N)``.
        x: input ``(B, ...)``.
        sites: ``input`` or dotted names of layers that run once.
        start: what is explained.
        attribution: how.
        rules: of LRP.
        cam_layer: whose Grad-CAM is enlarged to be that of the input.
        training: leave the network in its modes.
        known: as for :func:`~xfeedback.explain.sites.derivatives`.
    """
    if rules is not None:
        both = relevances(network, x, sites, start, rules, known=known)
        return {site: relevance for site, (_, relevance) in both.items()}
    if attribution != "grad_cam" or cam_layer is None or INPUT not in sites:
        found = derivatives(network, x, sites, start, training=training, known=known)
        return {site: attributed(*pair, attribution) for site, pair in found.items()}
    places = [cam_layer if site == INPUT else site for site in sites]
    found = derivatives(network, x, list(dict.fromkeys(places)), start, training=training)
    maps = {site: attributed(*found[place], attribution) for site, place in zip(sites, places, strict=True)}
    cam = F.interpolate(maps[INPUT][:, :1], x.shape[2:], mode="bilinear", align_corners=False)
    return {**maps, INPUT: cam.expand_as(x)}
