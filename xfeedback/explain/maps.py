"""Explanations of a trained network as maps over the input's pixels, for scoring and for pictures."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfeedback.explain.grad_cam import grad_cam
from xfeedback.explain.gradient import gradient
from xfeedback.explain.outputs import Output, explained_output
from xfeedback.models.running import mode, tapped


def pixel_map(explainer: str, network: nn.Module, layer: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """Explain the logit of the predicted class.

    Args:
        explainer: ``grad_cam`` (of ``layer``, resized bilinearly to the input) or ``gradient`` (mean magnitude over
            the channels).
        network: in evaluation mode.
        layer: explained layer of Grad-CAM.
        x: images ``(B, C, H, W)``.

    Returns:
        Maps ``(B, H, W)``, non-negative and detached, and logits ``(B, N)``.
    """
    with torch.enable_grad(), tapped(network, [layer] if explainer == "grad_cam" else []) as features:
        x = x.detach().requires_grad_()
        logits = network(x)
        output = explained_output(logits, logits.argmax(1), "logit")
        if explainer == "grad_cam":
            cam = grad_cam(output, features[layer])[:, None]
            maps = F.interpolate(cam, x.shape[2:], mode="bilinear", align_corners=False)[:, 0]
        else:
            maps = gradient(output, x).abs().mean(1)
    return maps.detach(), logits.detach()


def evaluation_cam(network: nn.Module, layer: str, x: Tensor, target: Tensor, *, kind: Output, guided: bool) -> Tensor:
    """Return Grad-CAM of ``layer`` with dropout off and running statistics, ``(B, h, w)`` and detached.

    Args:
        network: in any mode, which it keeps.
        layer: explained layer.
        x: images ``(B, C, H, W)``.
        target: explained class ``(B,)``.
        kind: as in :func:`~xfeedback.explain.explained_output`.
        guided: as in :func:`~xfeedback.explain.grad_cam`.
    """
    wide = torch.autocast(x.device.type, enabled=False)
    with torch.enable_grad(), mode(network, training=False), wide, tapped(network, [layer]) as features:
        logits = network(x.detach().requires_grad_())
        return grad_cam(explained_output(logits, target, kind), features[layer], guided=guided).detach()
