"""The right-for-the-right-reasons loss (Ross et al. 2017)."""

from torch import Tensor

from xfeedback.shapes import over_input


def right_reasons(gradient: Tensor, wrong: Tensor) -> Tensor:
    """Return (1/B) sum_b sum_d (Wr_bd * g_bd)^2, the squared input gradient inside the wrong region.

    Args:
        gradient: g, input gradient of the explained output, with its graph: images ``(B, C, H, W)``, series
            ``(B, T, F)``, embeddings of texts ``(B, L, E)``.
        wrong: Wr, bool ``(B, H, W)``, shared by the channels, ``(B, T, F)``, or ``(B, L)``, shared by the dimensions.

    Returns:
        A scalar. The original sums over the batch; the mean is ours, so that the weight does not depend on B.
    """
    return (gradient * over_input(wrong, gradient).to(gradient.dtype)).square().sum() / gradient.shape[0]
