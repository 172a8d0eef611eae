"""Grad-CAM, by automatic differentiation or in closed form (Selvaraju et al. 2017; Hagos et al. 2023).

Letters: A feature map ``(B, K, h, w)``, G its gradient, a channel weights ``(B, K)``, M class activation map.
"""

import torch
from torch import Tensor

from xfeedback.explain.gradient import gradient
from xfeedback.explain.outputs import Output


def grad_cam(
    output: Tensor,
    features: Tensor,
    *,
    guided: bool = False,
    create_graph: bool = False,
    second_order: bool = True,
) -> Tensor:
    """Return M = relu(sum_k a_k A_k), a_k the mean gradient of channel k; equations (3) to (5) of `docs/methods/xbl`.

    Args:
        output: explained scalar a sample ``(B,)``.
        features: A ``(B, K, h, w)``, part of the graph of ``output``.
        guided: count only gradients where A > 0 and G > 0; the indicators are constants.
        create_graph: keep the graph for training on M.
        second_order: if false, the channel weights are constants while training on M.

    Returns:
        ``(B, h, w)``, non-negative, float32 or wider.
    """
    grad = gradient(output, features, create_graph=create_graph and second_order)
    grad = grad if grad.element_size() >= 4 else grad.float()
    return _weighted_sum(features, _channel_weights(grad, features, guided=guided))


def closed_form_grad_cam(
    logits: Tensor,
    features: Tensor,
    head_weight: Tensor,
    target: Tensor,
    *,
    kind: Output = "logit",
    guided: bool = False,
) -> Tensor:
    """Return Grad-CAM of a network whose explained map meets only global average pooling and a linear layer.

    The gradient of the output at A is g_k / hw in every cell, so no double backward is needed; equal to
    :func:`grad_cam` in value and gradient.

    Args:
        logits: ``(B, N)``.
        features: A ``(B, K, h, w)``.
        head_weight: F ``(N, K)`` of the linear layer.
        target: explained class ``(B,)``.
        kind: ``logit``, ``centred``, ``prob`` or ``log_prob``.
        guided: as in :func:`grad_cam`.

    Returns:
        ``(B, h, w)``, non-negative.
    """
    weight = head_weight.to(features.dtype) if features.element_size() >= 4 else head_weight.float()
    row = weight[target]
    if kind == "centred":
        row = row - weight.mean(0)
    elif kind in ("prob", "log_prob"):
        p = logits.to(weight.dtype).softmax(1)
        row = row - p @ weight
        if kind == "prob":
            row = row * p.gather(1, target[:, None])
    elif kind == "sum_log_prob":
        row = weight.sum(0) - weight.shape[0] * (logits.to(weight.dtype).softmax(1) @ weight)
    cells = features.shape[2] * features.shape[3]
    grad = (row / cells)[:, :, None, None].expand(-1, -1, *features.shape[2:])
    return _weighted_sum(features, _channel_weights(grad, features, guided=guided))


def _channel_weights(grad: Tensor, features: Tensor, *, guided: bool) -> Tensor:
    if guided:
        grad = grad * ((features > 0) & (grad > 0)).to(grad.dtype)
    return grad.mean((2, 3))


def _weighted_sum(features: Tensor, weights: Tensor) -> Tensor:
    if features.element_size() < 4:
        features = features.float()
    return torch.einsum("bkhw,bk->bhw", features, weights.to(features.dtype)).relu()
