"""Grad-CAM, by automatic differentiation or in closed form (Selvaraju et al. 2017; Hagos et al. 2023).

Letters: A feature map ``(B, K, h, w)``, G its gradient, a channel weights ``(B, K)``, M class activation map.
"""

import torch
from torch import Tensor

from xfeedback.explain.gradient import gradient
from xfeedback.explain.outputs import Output
from xfeedback.precision import widened


def grad_cam(
    output: Tensor,
    features: Tensor,
    *,
    guided: bool = False,
    signed: bool = False,
    create_graph: bool = False,
    second_order: bool = True,
) -> Tensor:
    """Return M = relu(sum_k a_k A_k), a_k the mean gradient of channel k; equations (3) to (5) of `docs/methods/xbl`.

    Args:
        output: explained scalar a sample ``(B,)``.
        features: A ``(B, K, h, w)``, part of the graph of ``output``.
        guided: count only gradients where A > 0 and G > 0; the indicators are constants.
        signed: leave out the last ReLU, so that evidence against the class stays.
        create_graph: keep the graph for training on M.
        second_order: if false, the channel weights are constants while training on M.

    Returns:
        ``(B, h, w)``, non-negative unless ``signed``, float32 or wider.
    """
    grad = gradient(output, features, create_graph=create_graph and second_order)
    if guided:
        grad = grad * ((features > 0) & (grad > 0)).to(grad.dtype)
    cam = weighted_sum(features, widened(grad).mean((2, 3)))
    return cam if signed else cam.relu()


def closed_form_grad_cam(
    logits: Tensor,
    features: Tensor,
    head_weight: Tensor,
    target: Tensor,
    *,
    kind: Output = "logit",
    guided: bool = False,
    signed: bool = False,
) -> Tensor:
    """Return Grad-CAM of a network whose explained map meets only global average pooling and a linear layer.

    The gradient of the output at A is g_k / hw in every cell, so no double backward is needed; equal to
    :func:`grad_cam` in value and gradient.

    Args:
        logits: ``(B, N)``.
        features: A ``(B, K, h, w)``.
        head_weight: F ``(N, K)`` of the linear layer.
        target: explained class ``(B,)``.
        kind: which output, as in :func:`~xfeedback.explain.explained_output`.
        guided: as in :func:`grad_cam`.
        signed: as in :func:`grad_cam`.

    Returns:
        ``(B, h, w)``, non-negative unless ``signed``.
    """
    cells = features.shape[2] * features.shape[3]
    weights = _head_row(widened(logits), widened(head_weight), target, kind) / cells
    if guided:
        weights = weights.relu() * (features > 0).to(weights.dtype).mean((2, 3))
    cam = weighted_sum(features, weights)
    return cam if signed else cam.relu()


def _head_row(logits: Tensor, weight: Tensor, target: Tensor, kind: Output) -> Tensor:
    """Return the gradient of the explained output at the pooled features ``(B, K)``."""
    if kind == "logit":
        return weight[target]
    if kind == "centred":
        return weight[target] - weight.mean(0)
    p, at = logits.softmax(1), target[:, None]
    if kind == "sum_log_prob":
        return weight.sum(0) - weight.shape[0] * (p @ weight)
    others = p.scatter(1, at, 0.0)  # F_c - p F = (1 - p_c) F_c - others F, without cancellation where p_c is near 1
    row = others.sum(1, keepdim=True) * weight[target] - others @ weight
    return row * p.gather(1, at) if kind == "prob" else row


def weighted_sum(features: Tensor, weights: Tensor) -> Tensor:
    """Return sum_k a_k A_k ``(B, h, w)`` of features ``(B, K, h, w)`` and channel weights ``(B, K)``."""
    return torch.einsum("bkhw,bk->bhw", widened(features), weights)
