"""Class activation maps beside Grad-CAM: equations (1) to (5) of `docs/explainers`.

Letters: A feature map ``(B, K, h, w)``, G the gradient of the class's logit there, M class activation map.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfeedback.explain.chunks import Chunk, chunk_size
from xfeedback.explain.grad_cam import grad_cam, weighted_sum
from xfeedback.explain.gradient import gradient
from xfeedback.explain.outputs import explained_output
from xfeedback.precision import widened


def grad_cam_plus_plus(output: Tensor, features: Tensor) -> Tensor:
    """Return M = relu(sum_k w_k A_k), w_k = sum_ij alpha_ijk relu(G_ijk); equation (1), Chattopadhay et al. 2018.

    alpha_ijk = G^2 / (2 G^2 + G^3 sum_ab A_abk), which is 1 / (2 + G sum_ab A_abk). The paper's output is exp of the
    logit, whose factor, one a sample, is left out: it scales a map as a whole. Alpha is 0 where its denominator is.

    Args:
        output: logit a sample ``(B,)``.
        features: A ``(B, K, h, w)``, part of the graph of ``output``; the paper has a ReLU's.

    Returns:
        ``(B, h, w)``, non-negative, float32 or wider.
    """
    grad = widened(gradient(output, features))
    below = 2 + grad * widened(features).sum((2, 3), keepdim=True)
    alpha = torch.where(below == 0, 0.0, 1 / torch.where(below == 0, 1.0, below))
    return weighted_sum(features, (alpha * grad.relu()).sum((2, 3))).relu()


def layer_cam(output: Tensor, features: Tensor) -> Tensor:
    """Return M = relu(sum_k relu(G_k) * A_k), each cell by its own gradient; equation (2), Jiang et al. 2021.

    Args:
        output: logit a sample ``(B,)``.
        features: A ``(B, K, h, w)``, part of the graph of ``output``.

    Returns:
        ``(B, h, w)``, non-negative, float32 or wider.
    """
    return (widened(gradient(output, features)).relu() * widened(features)).sum(1).relu()


def hires_cam(output: Tensor, features: Tensor) -> Tensor:
    """Return M = sum_k G_k * A_k, not rectified; equation (3), Draelos and Carin 2020.

    Where A meets one linear layer M sums to the logit without its bias; behind global average pooling as well it is
    Grad-CAM before its last ReLU.

    Args:
        output: logit a sample ``(B,)``.
        features: A ``(B, K, h, w)``, part of the graph of ``output``.

    Returns:
        Signed ``(B, h, w)``, float32 or wider.
    """
    return (widened(gradient(output, features)) * widened(features)).sum(1)


def activation_norm(features: Tensor) -> Tensor:
    """Return the Euclidean norm of each cell's features ``(B, K, h, w)`` as ``(B, h, w)``; equation (5).

    It knows the network, but neither the class nor what follows the map: what a class activation map must beat.

    >>> activation_norm(torch.tensor([3.0, -4.0]).view(1, 2, 1, 1))
    tensor([[[5.]]])
    """
    return widened(features).norm(dim=1)


@torch.no_grad()
def score_cam(network: nn.Module, x: Tensor, target: Tensor, features: Tensor, *, chunk: Chunk = "auto") -> Tensor:
    """Return M = relu(sum_k w_k A_k), w the softmax over channels of logits; equation (4), Wang et al. 2020.

    The logit of channel k is that of the image multiplied with A_k, enlarged bilinearly and stretched to [0, 1]; that
    of the empty image, which the paper takes away, is the same for all channels and has no effect on the softmax. A
    channel that is constant over the image leaves nothing of it. One forward pass a channel.

    Args:
        network: in evaluation mode; maps images to logits ``(B, N)``.
        x: images ``(B, C, H, W)``, normalised: what is taken away becomes 0, the mean colour.
        target: explained class ``(B,)``.
        features: A of these images ``(B, K, h, w)``.
        chunk: how many masked images to run at once, as in :func:`~xfeedback.explain.chunks.chunk_size`.

    Returns:
        ``(B, h, w)``, non-negative, detached, float32 or wider.
    """
    channels, scores = features.shape[1], []
    for pairs in torch.arange(len(x) * channels, device=x.device).split(chunk_size(network, x[:1], chunk)):
        rows = pairs // channels
        large = F.interpolate(features[rows, pairs % channels][:, None], x.shape[2:], mode="bilinear")
        masked = x[rows] * _stretched(large).to(x.dtype)
        scores.append(explained_output(network(masked), target[rows], "logit"))
    return weighted_sum(features, torch.cat(scores).view(len(x), channels).softmax(1)).relu()


def _stretched(maps: Tensor) -> Tensor:
    """Stretch each map ``(n, 1, H, W)`` to [0, 1]; constant ones become 0."""
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - low) / torch.where(high > low, high - low, 1.0)


CAMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "grad_cam": grad_cam,
    "grad_cam_plus_plus": grad_cam_plus_plus,
    "layer_cam": layer_cam,
    "hires_cam": hires_cam,
    "activation_norm": lambda _output, features: activation_norm(features),
}
"""Maps of a layer, from the logit ``(B,)`` and the features ``(B, K, h, w)`` of one forward pass."""
