"""What a network gets wrong among given samples, and how far LIME's two explanations of each mistake lie apart."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from xfeedback.explain.compare import Distance, explanation_distance, shift_scaled
from xfeedback.explain.lime import LimeMaps
from xfeedback.models.running import mode
from xfeedback.precision import widened
from xfeedback.types import Batch

Normalise = Literal["shift_scale", "none"]


@dataclass(frozen=True, kw_only=True)
class Mistakes:
    """The mistakes among some samples.

    Attributes:
        index: position of each in its data set ``(m,)`` int64.
        distances: d, how far its two explanations lie apart ``(m,)`` float64.
        losses: its cross-entropy ``(m,)`` float64.
        margins: probability of the prediction minus that of the label ``(m,)`` float64.
        noise: distance of two explanations of its label from different masks ``(m,)`` float64, or 0 where not asked.
    """

    index: Tensor
    distances: Tensor
    losses: Tensor
    margins: Tensor
    noise: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def surcharge(self, kind: str, draws: Generator) -> Tensor:
        """Return what is added to the weight of each mistake ``(m,)``; equations (6) and (7).

        Args:
            kind: ``lime``, or a control: ``constant``, ``shuffled_lime``, ``loss``, ``margin``, ``same_class``.
            draws: for ``shuffled_lime``, on the CPU.
        """
        d = self.distances
        if kind == "lime" or not len(d):
            return d
        if kind == "shuffled_lime":
            return d[torch.randperm(len(d), generator=draws).to(d.device)]
        rivals = {"loss": self.losses, "margin": self.margins, "same_class": self.noise}
        rival = rivals.get(kind, torch.ones_like(d))
        return rival * d.mean() / rival.mean().clamp_min(torch.finfo(d.dtype).tiny)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How two explanations of the same sample are compared.

    Attributes:
        distance: between them.
        normalise: ``shift_scale``, or ``none`` for raw coefficients.
        eps: least denominator of the normalisation.
    """

    distance: Distance = "sq_euclid"
    normalise: Normalise = "shift_scale"
    eps: float = 1e-8

    def of(self, one: LimeMaps, two: LimeMaps, classes: tuple[Tensor, Tensor]) -> Tensor:
        """Return how far surrogate ``one`` of the first class lies from ``two`` of the second, ``(B,)``; (4), (5).

        Args:
            one: surrogates of some samples.
            two: surrogates of the same samples.
            classes: of each, ``(B,)`` both.
        """
        a, b = one.of(classes[0]), two.of(classes[1])
        if self.normalise == "shift_scale":
            a, b = shift_scaled(a, one.present, self.eps), shift_scaled(b, two.present, self.eps)
        return explanation_distance(a, b, self.distance, self.eps)


@torch.no_grad()
def find_mistakes(
    network: nn.Module,
    batches: Iterable[Batch],
    measure: Callable[[Batch, Tensor], tuple[Tensor, Tensor]] | None,
) -> Mistakes:
    """Collect what a network in evaluation mode gets wrong, in float32 or wider.

    Args:
        network: maps inputs to logits; in any mode, which it keeps.
        batches: the samples.
        measure: maps a batch of m mistakes and their predicted classes ``(m,)`` to ``distances`` and ``noise``, both
            ``(m,)``; None: both are 0.

    Returns:
        The mistakes; samples whose logits are not finite are left to whoever looks at the loss.
    """
    parts = []
    with mode(network, training=False):
        for batch in batches:
            with torch.autocast(batch.x.device.type, enabled=False):
                logits = widened(network(batch.x)).double()
                wrong = ((logits.argmax(1) != batch.y) & logits.isfinite().all(1)).nonzero().flatten()
                parts.append(_of_batch(_taken(batch, wrong), logits[wrong], measure))
    return Mistakes(**{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Mistakes)})


def _of_batch(
    batch: Batch, logits: Tensor, measure: Callable[[Batch, Tensor], tuple[Tensor, Tensor]] | None
) -> Mistakes:
    predicted = logits.argmax(1)
    p = logits.softmax(1)
    sure = p.gather(1, predicted[:, None]) - p.gather(1, batch.y[:, None])
    none = torch.zeros_like(sure[:, 0])
    distances, noise = (none, none) if measure is None or not len(batch) else measure(batch, predicted)
    return Mistakes(
        index=batch.index,
        distances=distances,
        losses=F.cross_entropy(logits, batch.y, reduction="none"),
        margins=sure[:, 0],
        noise=noise,
    )


def _taken(batch: Batch, rows: Tensor) -> Batch:
    """The rows of a batch; what is None stays None."""
    values = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return replace(batch, **{name: value[rows] for name, value in values.items() if isinstance(value, Tensor)})
