"""Mixup: train on blends of two samples and of their labels (Zhang et al. 2018).

Equations (1) to (3): `docs/methods/peers.md`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator, Tensor, nn

from xfeedback.config import require
from xfeedback.feedback import Feedback, FeedbackConfig, PresetModule
from xfeedback.feedback.mixing import beta_shares, blend, mixed, numbers, partners, shape_of
from xfeedback.types import Batch


@dataclass(frozen=True, kw_only=True)
class MixupConfig(FeedbackConfig):
    """Options of Mixup.

    Attributes:
        alpha: of the Beta distribution that shares are drawn from; 0 switches the method off.
        per_sample: draw a share for each sample instead of one for the batch.
    """

    alpha: float = 0.2
    per_sample: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.alpha < float("inf"), "alpha", self.alpha, "0 or more")


class MixupFeedback(Feedback[MixupConfig]):
    """Blend each sample, and its label, with another of the batch; the blends are all that is trained on."""

    name = "mixup"
    stacks = True
    compiles = True
    Config = MixupConfig
    takes = ("image", "series")
    n_classes = 0

    @property
    def full_strength(self) -> float:
        """Alpha after warm-up."""
        return self.config.alpha

    def prepare(self, network: nn.Module, example: Tensor) -> nn.Module:
        """Count the classes; the network stays as it is."""
        self.n_classes = shape_of(network, example)[0]
        return network

    def change(self, batch: Batch, epoch: int, draws: Callable[[str], Generator]) -> Batch:
        """Return the blends; equations (1) and (2)."""
        partner = partners(batch, draws, self.name)
        count = len(batch) if self.config.per_sample else 1
        share = beta_shares(self.strength(epoch), count, numbers(draws, self.name), batch.x)
        return mixed(batch, blend(batch.x, share, partner), share, partner, self.n_classes)


class Mixup(PresetModule):
    """LightningModule for Mixup."""

    feedback_class: ClassVar[type[Feedback]] = MixupFeedback
