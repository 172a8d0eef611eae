"""One batch whose positions are taken away in the order of a map: what the network says then.

Definitions: `docs/methods/saliency_guided`, section "Faithfulness".
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor

from xfeedback.engine.options import EvaluationConfig
from xfeedback.explain.scored import Explained
from xfeedback.explain.tokens import of_documents, real
from xfeedback.metrics.faithfulness import blurred, removal_ranks, removed_count
from xfeedback.metrics.rationales import aopc
from xfeedback.metrics.relevance import most_salient, scaled, weighted_precision_recall
from xfeedback.metrics.road import noisy_linear_imputation
from xfeedback.seeding import generator
from xfeedback.shapes import over_input
from xfeedback.types import Batch

TENTHS = tuple(d / 10 for d in range(10))
"""Removed shares of the accuracy drop; ROAD leaves out the first."""
STEPS = tuple(step / 28 for step in range(29))
"""Shares of deletion and insertion: 8 rows of a 224-pixel image a step."""
MASSES = (*TENTHS, 1.0)
"""Shares of a map's mass that the masking curve of series takes."""
Curves = dict[str, Tensor]


class Removal:
    """One batch whose positions are taken away in the order of a map.

    Args:
        explained: the network and the kind of its inputs.
        batch: samples.
        target: explained class ``(B,)``.
        config: what removed positions are filled with.
        number: of the batch, for draws.
    """

    def __init__(
        self, explained: Explained, batch: Batch, target: Tensor, config: EvaluationConfig, number: int
    ) -> None:
        self.explained, self.batch, self.target, self.number = explained, batch, target, number
        self.x = explained.entered(batch.x)
        self.fill, self.aopc_ranks = _fill(self.x, explained, config), config.aopc_ranks
        shape = explained.reduced(self.x).shape
        valid = real(batch.x) if explained.kind == "text" else batch.valid
        if valid is not None and valid.ndim < len(shape):
            valid = valid[..., None].expand(shape)
        self.valid = None if valid is None else valid.flatten(1)
        n = torch.full((len(batch),), shape[1:].numel(), device=self.x.device)
        self.n = n if self.valid is None else self.valid.sum(1)

    def measured(self, measure: str, maps: Tensor) -> Curves:
        """Return the curves of a measure for these maps ``(B, ...)``, one value a sample and level ``(B, levels)``."""
        kinds: dict[str, Callable[[Tensor], Curves]] = {
            "accuracy_drop": self.dropped,
            "road": self._road,
            "deletion": self._deleted,
            "insertion": self._inserted,
            "relevance": self._relevant,
            "masking": self._masked,
            "aopc": self._aopc,
        }
        return kinds[measure](maps)

    def dropped(self, maps: Tensor, later: Sequence[Tensor] = ()) -> Curves:
        """Return whether the network is still right; ``later``: other maps for each share above 0, None: the same."""
        if not later:
            return {"drop": self._hits(self._filled(maps, TENTHS))}
        levels = zip((maps, *later), TENTHS, strict=True)
        return {"drop": self._hits(x for own, d in levels for x in self._filled(own, (d,)))}

    def _deleted(self, maps: Tensor) -> Curves:
        return {"deletion": self._probabilities(self._filled(maps, STEPS))}

    def _inserted(self, maps: Tensor) -> Curves:
        start = blurred(self.x) if self.explained.kind == "image" else self.fill
        return {"insertion": self._probabilities(torch.where(m, self.x, start) for m in self._masks(maps, STEPS))}

    def _relevant(self, maps: Tensor) -> Curves:
        """Precision and recall of annotated samples, nan for the others; padding has no mass."""
        flat, relevant = maps.flatten(1).double(), cast(Tensor, self.batch.mask).flatten(1)
        if self.valid is not None:
            flat = flat.where(self.valid, flat.where(self.valid, torch.inf).amin(1, keepdim=True))
        found = weighted_precision_recall(scaled(flat), relevant)
        counts = relevant.any(1)
        counts = counts if self.batch.annotated is None else counts & self.batch.annotated
        precision, recall = (curve.where(counts[:, None], torch.nan) for curve in found)
        return {"precision": precision, "recall": recall}

    def _masked(self, maps: Tensor) -> Curves:
        """The cells with each share of the map's mass become those of a series without evidence, padding never."""
        flat = scaled(maps.flatten(1).double())
        flat = flat if self.valid is None else flat.where(self.valid, 0.0)
        blank = cast(Tensor, self.explained.blank).to(self.x.dtype)
        chosen = most_salient(flat, MASSES).view(len(MASSES), *maps.shape)
        return {"masking": self._hits(torch.where(mask, blank, self.x) for mask in chosen)}

    def _aopc(self, maps: Tensor) -> Curves:
        ranked = of_documents(self.batch.x) if self.aopc_ranks == "document" else None
        return aopc(self.explained.network, self.batch.x, maps, self.target, ranked=ranked)._asdict()

    def _road(self, maps: Tensor) -> Curves:
        hits, sure = {}, {}
        for order, largest in (("morf", True), ("lerf", False)):
            filled = []
            for level, mask in enumerate(self._masks(maps, TENTHS[1:], largest=largest)):
                draws = generator(self.x.device, 0, "road", self.number, level)
                filled.append(self._output(noisy_linear_imputation(self.x, mask[:, 0], draws)))
            hits[order] = torch.stack([self._hit(logits) for logits in filled], 1)
            sure[order] = torch.stack([self._probability(logits) for logits in filled], 1)
        return {"road_morf": hits["morf"], "road_lerf": hits["lerf"], "road": (sure["lerf"] - sure["morf"]) / 2}

    def _masks(self, maps: Tensor, levels: tuple[float, ...], *, largest: bool = True) -> Iterator[Tensor]:
        """Yield for each level what is taken away first, bool, as it lies over the input."""
        ranks = removal_ranks(maps.flatten(1), self.valid, largest=largest)
        for share in levels:
            chosen = ranks < removed_count(share, self.n)[:, None]
            yield over_input(chosen.view(maps.shape), self.x)

    def _filled(self, maps: Tensor, levels: tuple[float, ...]) -> Iterator[Tensor]:
        return (torch.where(mask, self.fill, self.x) for mask in self._masks(maps, levels))

    @torch.no_grad()
    def _output(self, x: Tensor) -> Tensor:
        return self.explained.network(x)

    def _hit(self, logits: Tensor) -> Tensor:
        return (logits.argmax(1) == self.batch.y).float()

    def _probability(self, logits: Tensor) -> Tensor:
        return logits.float().softmax(1).gather(1, self.target[:, None])[:, 0]

    def _hits(self, inputs: Iterable[Tensor]) -> Tensor:
        return torch.stack([self._hit(self._output(x)) for x in inputs], 1)

    def _probabilities(self, inputs: Iterable[Tensor]) -> Tensor:
        return torch.stack([self._probability(self._output(x)) for x in inputs], 1)


def _fill(x: Tensor, explained: Explained, config: EvaluationConfig) -> Tensor:
    """What stands for a removed position; broadcasts to ``x``."""
    nothing, image = torch.zeros((), dtype=x.dtype, device=x.device), explained.kind == "image"
    if explained.kind == "text":
        return nothing
    if config.removal == "own_corner" or (config.removal == "auto" and image):
        return x[:, :, :1, :1] if image else x[:, :1, :1]
    mean = explained.baseline if explained.mean is None else explained.mean
    return nothing if config.removal == "zero" or mean is None else mean.to(x.dtype)
