"""Manifold Mixup: blend two samples at the output of a layer drawn anew for each batch (Verma et al. 2019).

Equation (6): `docs/methods/peers.md`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Generator, Tensor, nn

from xfeedback.config import require
from xfeedback.errors import UserError
from xfeedback.feedback import Feedback, FeedbackConfig, PresetModule
from xfeedback.feedback.mixing import beta_shares, blend, mixed, numbers, partners, shape_of
from xfeedback.models.stages import last_features
from xfeedback.models.text_base import TextNetwork
from xfeedback.types import Batch

INPUT, EMBEDDINGS = "input", "embedding"


@dataclass(frozen=True, kw_only=True)
class ManifoldMixupConfig(FeedbackConfig):
    """Options of Manifold Mixup.

    Attributes:
        alpha: of the Beta distribution that shares are drawn from; 0 switches the method off.
        layers: where to blend: dotted names of layers, and ``input``, of texts their embeddings; none: the input and
            the explained layer of images, else the features that the head reads.
    """

    alpha: float = 2.0
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.alpha < float("inf"), "alpha", self.alpha, "0 or more")


class ManifoldMixupFeedback(Feedback[ManifoldMixupConfig]):
    """Blend the samples of a batch at one of several layers, and their labels, in every training pass of the step."""

    name = "manifold_mixup"
    Config = ManifoldMixupConfig
    takes = ("image", "series", "text")
    n_classes = 0
    places: tuple[str, ...] = ()

    @property
    def full_strength(self) -> float:
        """Alpha after warm-up."""
        return self.config.alpha

    def prepare(self, network: nn.Module, example: Tensor) -> nn.Module:
        """Find the layers; the network stays as it is.

        Raises:
            UserError: there is no such layer, or its output can't be blended.
        """
        places = self.config.layers or (INPUT, last_features(network, example))
        text = isinstance(network, TextNetwork)
        self.places = tuple(EMBEDDINGS if text and name == INPUT else name for name in places)
        hidden = tuple(name for name in self.places if name != INPUT)
        self.n_classes, outputs = shape_of(network, example, hidden)
        for name in hidden:
            if not isinstance(outputs.get(name), Tensor) or outputs[name].shape[0] != len(example):
                raise UserError(f"method.manifold_mixup.layers: the output of '{name}' has no entry for each sample")
        return network

    def change(self, batch: Batch, epoch: int, draws: Callable[[str], Generator]) -> Batch:
        """Return blended labels, and blended inputs where the input is drawn; equation (6)."""
        place, share, partner = self._drawn(batch, epoch, draws)
        x = blend(batch.x, share, partner) if place == INPUT else batch.x
        return mixed(batch, x, share, partner, self.n_classes)

    def inside(
        self, batch: Batch, epoch: int, draws: Callable[[str], Generator]
    ) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """Return what blends the layer's output ``(B, ...)``, where no input is drawn; equation (6)."""
        place, share, partner = self._drawn(batch, epoch, draws)
        return {} if place == INPUT else {place: partial(blend, share=share, partner=partner)}

    def _drawn(self, batch: Batch, epoch: int, draws: Callable[[str], Generator]) -> tuple[str, Tensor, Tensor]:
        """Return where to blend, the share, and with which sample each is blended ``(B,)``."""
        random = numbers(draws, self.name)
        place = self.places[int(random.integers(len(self.places)))]
        return place, beta_shares(self.strength(epoch), 1, random, batch.x), partners(batch, draws, self.name)


class ManifoldMixup(PresetModule):
    """LightningModule for Manifold Mixup."""

    feedback_class: ClassVar[type[Feedback]] = ManifoldMixupFeedback
