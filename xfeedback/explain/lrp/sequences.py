"""Rules of normalisation and attention, written out in operations that have a rule of their own.

Products of attention weights and values give each half of the relevance, and a normalisation's spread is a constant
(Achtibat et al. 2024, AttnLRP).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from xfeedback.explain.lrp.affine import carried
from xfeedback.explain.lrp.options import UnknownOperation

Dense = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""``dense(a, weight, bias)``: a linear layer with its rule."""


def _whitened(a: Tensor, axes: list[int], eps: float) -> Tensor:
    centred = a - a.mean(axes, keepdim=True)
    return centred * (centred.detach().square().mean(axes, keepdim=True) + eps).rsqrt()


def layer_norm(
    a: Tensor, shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """LayerNorm whose spread is a constant; arguments as torch's."""
    z = _whitened(a, list(range(-len(shape), 0)), eps)
    z = z if weight is None else z * weight
    return z if bias is None else z + bias


def group_norm(
    a: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """GroupNorm whose spread is a constant; arguments as torch's."""
    parts = a.reshape(len(a), groups, -1)
    z, axes = _whitened(parts, [-1], eps).view_as(a), [1] * (a.ndim - 2)
    z = z if weight is None else z * weight.view(1, -1, *axes)
    return z if bias is None else z + bias.view(1, -1, *axes)


def rms_norm(a: Tensor, shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """RMSNorm whose scale is a constant; arguments as torch's."""
    axes = list(range(-len(shape), 0))
    floor = torch.finfo(a.dtype).eps if eps is None else eps
    z = a * (a.detach().square().mean(axes, keepdim=True) + floor).rsqrt()
    return z if weight is None else z * weight


def _halved(z: Tensor) -> Tensor:
    """Return z; both factors of the product it came from get half of its relevance."""
    return carried(z, torch.full_like(z, 0.5), z)


def attention(  # noqa: PLR0917 - torch's order
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Scaled dot-product attention, softmax(q k / sqrt(E)) v; arguments as torch's, without dropout.

    Args:
        query: ``(..., L, E)``.
        key: ``(..., S, E)``.
        value: ``(..., S, V)``.
        attn_mask: bool (False: not attended to) or added to the scores, broadcast to ``(..., L, S)``.
        dropout_p: ignored; explanations are without noise.
        is_causal: no position looks ahead.
        scale: of the scores; None: 1 / sqrt(E).
        enable_gqa: repeat the heads of key and value.
    """
    del dropout_p
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(repeats, -3), value.repeat_interleave(repeats, -3)
    scores = _halved(query @ key.transpose(-2, -1)) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    return _halved(scores.softmax(-1) @ value)


def multi_head(  # noqa: PLR0917 - torch's order
    dense: Dense,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    key_padding_mask: Tensor | None = None,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Multi-head attention as ``nn.MultiheadAttention`` computes it, ``(L, B, E)``; no attention weights are returned.

    Raises:
        UnknownOperation: added key, value or zero positions, or static ones.
    """
    added = [bias_k, bias_v, others.get("static_k"), others.get("static_v")]
    if add_zero_attn or any(part is not None for part in added):
        raise UnknownOperation("multi_head_attention with added positions")
    del embed_dim_to_check, dropout_p, is_causal
    parts = (q_proj_weight, k_proj_weight, v_proj_weight) if in_proj_weight is None else in_proj_weight.chunk(3)
    biases = (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
    heads = []
    for signal, weight, bias in zip((query, key, value), parts, biases, strict=True):
        projected = dense(signal, weight, bias)  # type: ignore[arg-type]
        length, batch = projected.shape[:2]
        heads.append(projected.reshape(length, batch, num_heads, -1).permute(1, 2, 0, 3))
    mask = attn_mask
    if mask is not None and mask.ndim == 3:
        mask = mask.view(heads[0].shape[0], num_heads, *mask.shape[1:])
    if key_padding_mask is not None:
        mask = _with_padding(mask, key_padding_mask)
    mixed = attention(*heads, attn_mask=mask)
    whole = mixed.permute(2, 0, 1, 3).reshape(query.shape[0], mixed.shape[0], -1)
    return dense(whole, out_proj_weight, out_proj_bias), None


def _with_padding(mask: Tensor | None, padding: Tensor) -> Tensor:
    """Return a mask that is added to the scores; torch's masks are True where nobody looks, or are added."""
    total = torch.zeros((), device=padding.device)
    for part in (mask, padding[:, None, None, :]):
        if part is not None:
            hidden = part.dtype == torch.bool
            total = total + (
                torch.zeros_like(part, dtype=torch.float32).masked_fill(part, -torch.inf) if hidden else part
            )
    return total
