"""Manifold Mixup: blend two samples at the output of a layer drawn anew for each batch (Verma et al. 2019).

Equation (6): `docs/methods/peers.md`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator, Tensor, nn

from xfeedback.config import require
from xfeedback.errors import UserError
from xfeedback.feedback import Feedback, FeedbackConfig, PresetModule
from xfeedback.feedback.mixing import beta_shares, blend, mixed, numbers, partners, shape_of
from xfeedback.models.layers import get_layer
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
    """Blend the samples of a batch at one of several layers, and their labels.

    A hook on each layer blends the next output after :meth:`change` has chosen it, and only that one.
    """

    name = "manifold_mixup"
    Config = ManifoldMixupConfig
    takes = ("image", "series", "text")
    n_classes = 0
    places: tuple[str, ...] = ()

    def __init__(self, config: ManifoldMixupConfig | None = None) -> None:
        super().__init__(config)
        self._waiting: tuple[str, Tensor, Tensor] | None = None

    @property
    def full_strength(self) -> float:
        """Alpha after warm-up."""
        return self.config.alpha

    def prepare(self, network: nn.Module, example: Tensor) -> nn.Module:
        """Find the layers and hook them; the network computes what it did.

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
            get_layer(network, name).register_forward_hook(self._blender(name))
        return network

    def change(self, batch: Batch, epoch: int, draws: Callable[[str], Generator]) -> Batch:
        """Return blended labels, and blended inputs where the input is drawn; else the hook blends; equation (6)."""
        random = numbers(draws, self.name)
        place = self.places[int(random.integers(len(self.places)))]
        partner = partners(batch, draws, self.name)
        share = beta_shares(self.strength(epoch), 1, random, batch.x)
        if place != INPUT:
            self._waiting = place, share, partner
        x = blend(batch.x, share, partner) if place == INPUT else batch.x
        return mixed(batch, x, share, partner, self.n_classes)

    def _blender(self, name: str) -> Callable[[nn.Module, object, Tensor], Tensor | None]:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor | None:
            if self._waiting is None or self._waiting[0] != name:
                return None
            _, share, partner = self._waiting
            self._waiting = None
            return blend(output, share, partner)

        return hook


class ManifoldMixup(PresetModule):
    """LightningModule for Manifold Mixup."""

    feedback_class: ClassVar[type[Feedback]] = ManifoldMixupFeedback
