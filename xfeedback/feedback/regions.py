"""Right and wrong evidence in a batch, as annotated."""

from torch import Tensor

from xfeedback.errors import UserError
from xfeedback.types import Batch


def wrong_region(batch: Batch, method: str) -> Tensor:
    """Return where evidence is wrong, bool ``(B, H, W)``: as annotated, else everything outside the right region.

    Samples without annotation, or with an empty one, have none.

    Args:
        batch: images with annotations.
        method: who asks, for the message.

    Raises:
        UserError: the batch has neither a wrong nor a right region.
    """
    if batch.wrong is not None:
        wrong = batch.wrong
    elif batch.mask is not None:
        wrong = ~batch.mask & batch.mask.flatten(1).any(1)[:, None, None]
    else:
        raise UserError(f"method={method} needs batches with a wrong or a right region; give the data set annotations.")
    return wrong if batch.annotated is None else wrong & batch.annotated[:, None, None]


def right_region(batch: Batch, method: str) -> Tensor:
    """Return where evidence is right, bool ``(B, H, W)``; empty for samples without annotation.

    Args:
        batch: images with annotations.
        method: who asks, for the message.

    Raises:
        UserError: the batch has no right region.
    """
    if batch.mask is None:
        raise UserError(
            f"method={method} needs batches with a mask of the right region; give the data set annotations."
        )
    return batch.mask if batch.annotated is None else batch.mask & batch.annotated[:, None, None]
