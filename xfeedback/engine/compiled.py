"""The network's operations fused by ``torch.compile`` while it is trained."""

import os
import shutil
from typing import cast

import torch._functorch.config as functorch
from pytorch_lightning import Callback, LightningModule, Trainer

from xfeedback.errors import UserError
from xfeedback.feedback import FeedbackModule


class Compiled(Callback):
    """Compile the network of a :class:`~xfeedback.feedback.FeedbackModule` for a fit; afterwards it is as it was.

    The first steps take a minute or so, in which the kernels are made. Results agree with those of a network that is
    not compiled to rounding; dropout draws other masks.
    """

    def __init__(self) -> None:
        self._donated = True

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compile.

        Raises:
            UserError: a feedback looks into layers of this network.
        """
        del trainer
        module = cast("FeedbackModule", pl_module)
        looked = sorted({layer for feedback in module.feedbacks for layer in feedback.layers})
        if looked:
            raise UserError(
                f"trainer.compile=true: with this network layer '{looked[0]}' is looked into, which torch.compile does "
                "not do. Use trainer.compile=false."
            )
        self._donated = functorch.donated_buffer
        functorch.donated_buffer = False  # an explanation and the loss go back through the same pass
        module.network.compile()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Undo it: layers can be looked into again."""
        del trainer
        functorch.donated_buffer = self._donated
        cast("FeedbackModule", pl_module).network._compiled_call_impl = None  # pyright: ignore[reportPrivateUsage]


def compiler() -> str | None:
    """Return the C++ compiler that would be used, or None."""
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
