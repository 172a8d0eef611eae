"""Elastic weight consolidation (Kirkpatrick et al. 2017), beside any method: ``continual=ewc``.

    L = CE + lambda/2 sum_k F_k (theta_k - theta*_k)^2

theta* are the weights at the end of the last phase, F the Fisher information's diagonal there, on that phase's samples.
"""

from collections.abc import Iterable, Iterator
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from xfeedback.continual.fisher import fisher
from xfeedback.continual.options import EwcConfig
from xfeedback.feedback.base import Feedback
from xfeedback.feedback.step import Step
from xfeedback.kinds import Kind
from xfeedback.losses.ewc import ewc_penalty, merged
from xfeedback.seeding import generator
from xfeedback.types import Batch, Phase


class EwcFeedback(Feedback[EwcConfig]):
    """Hold the network near its earlier phases' ends; acts from the second phase on.

    Buffers from the first phase's end on: ``anchor_<k>`` and ``fisher_<k>`` of each parameter that was trained, and
    ``rest``, the constant of :func:`~xfeedback.losses.ewc.merged` springs.
    """

    name = "ewc"
    Config = EwcConfig
    rest: Tensor | None
    strength_option = "weight"
    takes: ClassVar[tuple[Kind, ...]] = ("image", "series", "text")

    def __init__(self, config: EwcConfig | None = None) -> None:
        super().__init__(config)
        self.register_buffer("rest", None)
        self._right: Tensor | None = None

    def epochs_end(self, network: nn.Module, phase: Phase) -> None:
        """Note which samples the last epoch's weights get right, for ``pool=correct_last``."""
        if self.config.pool == "correct_last" and phase.number + 1 < phase.count:
            self._right = correct_rows(network, phase.ordered)

    def phase_end(self, network: nn.Module, phase: Phase) -> None:
        """Estimate F on the phase's samples at its selected weights, and drop the anchor there."""
        if phase.number + 1 == phase.count:
            return
        config = self.config
        numbers = generator("cpu", phase.seed, "ewc")
        batches = drawn(phase.ordered, self._draws(network, phase, numbers), config.batch_size)
        if config.fisher == "batched":
            batches = mixed(batches, numbers, config.batch_size)
        found = fisher(network, batches, config.fisher, numbers=numbers)
        rest = torch.zeros((), dtype=torch.float64) if self.rest is None else self.rest
        for k, (name, weights) in enumerate(network.named_parameters()):
            if name in found:
                anchor = weights.detach().clone()
                rest = rest + self._set(k, anchor, found[name].to(anchor.dtype)).to(rest)
        self.rest = rest

    def _draws(self, network: nn.Module, phase: Phase, numbers: Generator) -> Tensor:
        """How often each of the phase's samples is drawn, ``(N,)`` int64 on the CPU."""
        if self.config.pool == "all_train":
            n = sum(len(batch) for batch in phase.ordered)
            pool = torch.ones(n, dtype=torch.bool)
        else:
            pool = correct_rows(network, phase.ordered) if self._right is None else self._right
        self._right = None
        rows = pool.nonzero().flatten().cpu()
        if self.config.n is not None and len(rows):
            rows = rows[torch.randint(len(rows), (self.config.n,), generator=numbers)]
        return torch.bincount(rows, minlength=len(pool))

    def _set(self, k: int, anchor: Tensor, values: Tensor) -> Tensor:
        """Store the spring of one parameter and return what the constant grows by."""
        grown = torch.zeros(())
        old = getattr(self, f"anchor_{k}", None), getattr(self, f"fisher_{k}", None)
        if old[0] is not None and old[1] is not None and self.config.anchors == "all":
            anchor, values, grown = merged(old[0], old[1], anchor, values)
        elif old[1] is not None and self.config.anchors == "online":
            values = self.config.gamma * old[1] + values
        self.register_buffer(f"anchor_{k}", anchor)
        self.register_buffer(f"fisher_{k}", values)
        return grown

    def penalty(self, step: Step) -> dict[str, Tensor]:
        """Return ``{"penalty": lambda/2 sum F (theta - theta*)^2}``; nothing in the first phase."""
        if self.rest is None:
            return {}
        held = {k: p for k, p in enumerate(step.network.parameters()) if hasattr(self, f"anchor_{k}")}
        springs = [[getattr(self, f"{part}_{k}") for k in held] for part in ("anchor", "fisher")]
        factor = self.strength(step.epoch) * (0.5 if self.config.half else 1.0)
        return {"penalty": factor * (ewc_penalty([*held.values()], *springs) + self.rest.to(step.losses.dtype))}


@torch.no_grad()
def correct_rows(network: nn.Module, batches: Iterable[Batch]) -> Tensor:
    """Return which samples the network gets right, in the batches' order, bool ``(N,)``."""
    return torch.cat([network(batch.x).argmax(1) == batch.y for batch in batches])


def drawn(batches: Iterable[Batch], draws: Tensor, size: int) -> Iterator[Batch]:
    """Yield batches of at most ``size`` in which each sample occurs as often as it was drawn, in the samples' order.

    Args:
        batches: all samples, in order.
        draws: how often each was drawn ``(N,)`` int64, on the CPU.
        size: of the batches yielded.
    """
    start = 0
    for batch in batches:
        rows = torch.arange(len(batch)).repeat_interleave(draws[start : start + len(batch)])
        start += len(batch)
        for part in rows.split(size) if len(rows) else ():
            yield picked(batch, part.to(batch.y.device))


def mixed(batches: Iterable[Batch], numbers: Generator, size: int) -> Iterator[Batch]:
    """Yield the same samples in a drawn order, in batches of ``size``; the last may be smaller."""
    parts = list(batches)
    if not parts:
        return
    x, y, index = (torch.cat([getattr(part, name) for part in parts]) for name in ("x", "y", "index"))
    for rows in torch.randperm(len(y), generator=numbers).to(y.device).split(size):
        yield Batch(x=x[rows], y=y[rows], index=index[rows])


def picked(batch: Batch, rows: Tensor) -> Batch:
    """Return inputs and labels of some samples of a batch; ``rows`` are positions in it ``(n,)`` int64."""
    return Batch(x=batch.x[rows], y=batch.y[rows], index=batch.index[rows])
