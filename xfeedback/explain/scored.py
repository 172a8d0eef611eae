"""Explanations of a trained network as maps over the input's pixels, for scoring and for pictures."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfeedback.explain.attribution import enlarged, integrated_gradients, occlusion
from xfeedback.explain.grad_cam import grad_cam
from xfeedback.explain.gradient import gradient
from xfeedback.explain.outputs import explained_output
from xfeedback.models.running import tapped
from xfeedback.seeding import generator

SLOW = ("integrated_gradients", "occlusion")
"""Explainers that take dozens of passes."""


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What the maps are maps of.

    Attributes:
        network: in evaluation mode.
        layer: explained layer of Grad-CAM; its grid is that of the occlusion.
        baseline: of integrated gradients ``(C, H, W)``, normalised as the images are.
    """

    network: nn.Module
    layer: str
    baseline: Tensor

    def maps(self, names: Iterable[str], x: Tensor, number: int = 0) -> tuple[dict[str, Tensor], Tensor]:
        """Explain the logit of the predicted class; one forward pass serves Grad-CAM and gradient.

        Args:
            names: ``grad_cam`` (resized bilinearly to the input); mean magnitude over the channels of ``gradient`` and
                of ``integrated_gradients`` (50 steps from the baseline); ``occlusion`` (a cell, by the mean colour;
                where the logit falls); and floors that know nothing of the network: ``uniform``, ``random``,
                ``centre`` (a Gaussian, sd a quarter of each side).
            x: images ``(B, C, H, W)``.
            number: of the batch, for ``random``.

        Returns:
            Maps by name ``(B, H, W)``, non-negative and detached, and logits ``(B, N)``.
        """
        with torch.enable_grad(), tapped(self.network, [self.layer]) as features:
            x = x.detach().requires_grad_()
            logits = self.network(x)
            output = explained_output(logits, logits.argmax(1), "logit")
            seen = features[self.layer]
        found = {name: self._map(name, x, logits, output, seen, number).detach() for name in names}
        return found, logits.detach()

    def _map(self, name: str, x: Tensor, logits: Tensor, output: Tensor, features: Tensor, number: int) -> Tensor:  # noqa: PLR0917
        size = (x.shape[2], x.shape[3])
        if name == "grad_cam":
            cam = grad_cam(output, features)[:, None]
            return F.interpolate(cam, size, mode="bilinear", align_corners=False)[:, 0]
        if name == "gradient":
            return gradient(output, x).abs().mean(1)
        if name == "integrated_gradients":
            return integrated_gradients(self.network, x, logits.argmax(1), self.baseline).abs().mean(1)
        if name == "occlusion":
            falls = occlusion(self.network, x.detach(), logits.argmax(1), (features.shape[2], features.shape[3]))
            return enlarged(falls.relu(), size)
        return floor_map(name, x, number)


def floor_map(name: str, x: Tensor, number: int = 0) -> Tensor:
    """Return a map ``(B, H, W)`` that depends on nothing: what any score must beat; ``x`` ``(B, C, H, W)``."""
    shape = (len(x), *x.shape[2:])
    if name == "random":
        return torch.rand(shape, generator=generator(x.device, 0, "random map", number), device=x.device)
    if name == "uniform":
        return torch.ones(shape, device=x.device)
    rows, columns = (torch.linspace(-1, 1, side, device=x.device) for side in shape[1:])
    return torch.exp(-2 * (rows[:, None] ** 2 + columns**2)).expand(shape)
