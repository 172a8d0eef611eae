"""LIME as a map over the input's positions, for scoring and pictures."""

from functools import cache

from torch import Tensor, nn

from xfeedback.explain.lime import Lime
from xfeedback.explain.segments import Segmenter, Segments, token_labels
from xfeedback.models.text_base import real_tokens

SUPERPIXELS, CELLS, MASKS = 25, (8, 8), 256
"""Segments of images and of series, and masks a sample; each token of a text is a segment."""


@cache
def _explainer() -> Lime:
    segmenter = Segmenter(n=SUPERPIXELS, grid=CELLS)
    return Lime(segmenter=segmenter, sampling="antithetic", n_masks=MASKS, ridge=1.0)


def lime_map(network: nn.Module, x: Tensor, target: Tensor, *, text: bool = False) -> Tensor:
    """Return how much each segment speaks for a class, 0 where it speaks against it.

    256 masks in pairs, superpixels or cells or tokens hidden by 0, ridge 1 and the cosine kernel as in the ``lime``
    package.

    Args:
        network: in evaluation mode; maps inputs to logits ``(B, N)``.
        x: images ``(B, C, H, W)``, series ``(B, T, F)``, or embeddings of texts ``(B, L, E)``.
        target: explained class ``(B,)``.
        text: whether ``x`` are embeddings.

    Returns:
        ``(B, H, W)``, ``(B, T, F)`` or ``(B, L)``, of the dtype of ``x``, at least 0.
    """
    if not text:
        return _explainer().explain(network, x).maps(target).relu().to(x.dtype)
    labels = token_labels(real_tokens(x))
    segments = Segments(labels=labels[..., None].expand_as(x), counts=tuple((labels.amax(1) + 1).tolist()))
    found = _explainer().explain(network, x, segments=segments)
    return Segments(labels=labels, counts=segments.counts).spread(found.of(target)).relu().to(x.dtype)
