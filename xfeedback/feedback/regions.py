"""Right and wrong evidence in a batch, as annotated."""

from torch import Tensor

from xfeedback.errors import UserError
from xfeedback.shapes import per_sample
from xfeedback.types import Batch


def wrong_region(batch: Batch, method: str) -> Tensor:
    """Return where evidence is wrong, as annotated, else everything real and not hidden outside the right region.

    One bool a pixel ``(B, H, W)``, cell ``(B, T, F)`` or token ``(B, L)``. Samples without annotation, or with an empty
    one, have none.

    Args:
        batch: samples with annotations.
        method: who asks, for the message.

    Raises:
        UserError: the batch has neither a wrong nor a right region.
    """
    if batch.wrong is not None:
        wrong = batch.wrong
    elif batch.mask is not None:
        wrong = ~batch.mask & per_sample(batch.mask.flatten(1).any(1), batch.mask)
        if batch.valid is not None:
            wrong = wrong & (batch.valid if wrong.ndim == 2 else batch.valid[..., None])
        wrong = wrong if batch.hidden is None else wrong & ~batch.hidden
    else:
        raise UserError(f"method={method} needs batches with a wrong or a right region; give the data set annotations.")
    return wrong if batch.annotated is None else wrong & per_sample(batch.annotated, wrong)


def right_region(batch: Batch, method: str) -> Tensor:
    """Return where evidence is right, bool, of the shape of the batch's masks; empty for samples without annotation.

    Args:
        batch: samples with annotations.
        method: who asks, for the message.

    Raises:
        UserError: the batch has no right region.
    """
    if batch.mask is None:
        raise UserError(
            f"method={method} needs batches with a mask of the right region; give the data set annotations."
        )
    return batch.mask if batch.annotated is None else batch.mask & per_sample(batch.annotated, batch.mask)
