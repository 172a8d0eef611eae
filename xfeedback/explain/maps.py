"""Maps that a training step needs of the network as it stands in evaluation mode."""

import torch
from torch import Tensor, nn

from xfeedback.explain.grad_cam import grad_cam
from xfeedback.explain.outputs import Output, explained_output
from xfeedback.models.running import mode, tapped


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


def evaluation_gradient(network: nn.Module, x: Tensor, target: Tensor, *, kind: Output) -> Tensor:
    """Return the input gradient with dropout off and running statistics, detached.

    In the precision of the weights even under autocast: in half precision small gradients tie.

    Args:
        network: in any mode, which it keeps.
        x: inputs ``(B, ...)``, of texts their embeddings.
        target: explained class ``(B,)``.
        kind: as in :func:`~xfeedback.explain.explained_output`.
    """
    point = x.detach().requires_grad_()
    wide = torch.autocast(x.device.type, enabled=False)
    with torch.enable_grad(), mode(network, training=False), wide:
        output = explained_output(network(point), target, kind)
        (result,) = torch.autograd.grad(output.sum(), point)
    return result
