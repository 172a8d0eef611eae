"""How far two explanations of the same sample lie apart (Mazumder et al. 2022): `docs/methods/xai_increment.md`.

Letters: B samples, S segments.
"""

from typing import Literal

from torch import Tensor

Distance = Literal["sq_euclid", "euclid", "manhattan", "cosine"]
EPS = 1e-8


def shift_scaled(coefficients: Tensor, present: Tensor, eps: float = EPS) -> Tensor:
    """Return nu(c) = (c + max|c|) / max(c + max|c|), in [0, 1] with largest entry 1; equation (4).

    Coefficients that are all equal and at most 0, and those whose denominator is below ``eps``, would give 0/0 or noise
    blown up: they become numbers near 0 instead.

    Args:
        coefficients: ``(B, S)``.
        present: which entries belong to a segment ``(B, S)`` bool; the others stay 0.
        eps: least denominator.
    """
    inside = coefficients.masked_fill(~present, 0.0)
    shifted = (inside + inside.abs().amax(1, keepdim=True)).masked_fill(~present, 0.0)
    return shifted / shifted.amax(1, keepdim=True).clamp_min(eps)


def explanation_distance(a: Tensor, b: Tensor, kind: Distance = "sq_euclid", eps: float = EPS) -> Tensor:
    """Return the distance of two explanations ``(B, S)`` each, ``(B,)``; equation (5) for ``sq_euclid``.

    Args:
        a: explanations, 0 beyond a sample's own segments.
        b: others of the same samples.
        kind: ``sq_euclid`` sum of squares; ``euclid`` its root; ``manhattan`` sum of magnitudes; ``cosine`` one minus
            the cosine, 0 where both are 0 and 1 where one is.
        eps: norms below it count as 0, for ``cosine``.
    """
    if kind == "cosine":
        norms = a.norm(dim=1), b.norm(dim=1)
        none = (norms[0] <= eps) & (norms[1] <= eps)
        cosine = (a * b).sum(1) / (norms[0] * norms[1]).clamp_min(eps**2)
        return (1 - cosine).clamp_min(0).masked_fill(none, 0.0)
    if kind == "manhattan":
        return (a - b).abs().sum(1)
    squared = ((a - b) ** 2).sum(1)
    return squared.sqrt() if kind == "euclid" else squared
