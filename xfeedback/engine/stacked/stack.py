"""K modules as one: the losses of a step, and the logits of validation sets, of all seeds at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xfeedback.engine.stacked.layers import release, stack
from xfeedback.engine.stacked.noise import Noise
from xfeedback.engine.stacked.step import SeedStep, StackedStep, joined_view
from xfeedback.feedback import Feedback, FeedbackModule
from xfeedback.types import Batch


@dataclass(frozen=True, kw_only=True)
class Losses:
    """What a step of all seeds gave, each ``(K,)``.

    Attributes:
        terms: the named terms of the losses.
        total: their sums: each seed's loss.
        figures: further values to log.
    """

    terms: dict[str, Tensor]
    total: Tensor
    figures: dict[str, Tensor]


class Stack:
    """K modules that train as one; they stay what they are, with the weights of the stack.

    Args:
        modules: of one cell, each with its seed, on one device.

    Raises:
        CannotStackError: the network can't be stacked.
    """

    def __init__(self, modules: Sequence[FeedbackModule]) -> None:
        self.modules, self.count = list(modules), len(modules)
        self.noise = Noise()
        self.network = stack([module.network for module in modules], self.noise)

    def release(self) -> None:
        """Give the modules weights of their own again."""
        release([module.network for module in self.modules], self.network)

    def losses(self, batches: Sequence[Batch], position: Sequence[str | int]) -> Losses:
        """Return every seed's loss of a step; as :meth:`FeedbackModule.loss_terms` has it for one.

        Args:
            batches: one a seed, on the device, of one size.
            position: where the step stands, ending in epoch and number.
        """
        active = [self._active(module, int(position[-2]), int(position[-1])) for module in self.modules]
        whole, steps = self._steps(batches, active, position)
        terms = {"ce": self._weighted(whole, steps, active).unflatten(0, (self.count, -1)).mean(1)}
        own = [m.penalties(step, acting) for m, step, acting in zip(self.modules, steps, active, strict=True)]
        terms |= _by_name(own)
        hits = (whole.logits.argmax(1) == whole.batch.y).unflatten(0, (self.count, -1))
        figures = {**_by_name([step.reports for step in steps]), "acc": 100 * hits.float().mean(1)}
        return Losses(terms=terms, total=torch.stack(list(terms.values())).sum(0), figures=figures)

    @staticmethod
    def _active(module: FeedbackModule, epoch: int, number: int) -> list[Feedback]:
        feedbacks = list(module.feedbacks)
        return module.due([feedback for feedback in feedbacks if feedback.strength(epoch) > 0], number)

    def _steps(
        self, batches: Sequence[Batch], active: Sequence[Sequence[Feedback]], position: Sequence[str | int]
    ) -> tuple[StackedStep, list[SeedStep]]:
        given = zip(self.modules, batches, active, strict=True)
        batches = [module.changed(batch, acting, position) for module, batch, acting in given]
        whole = StackedStep(
            self.network,
            batches,
            seeds=[module.seed for module in self.modules],
            noise=self.noise,
            position=position,
            layers=sorted({layer for feedback in active[0] for layer in feedback.layers}),
            input_gradient=any(feedback.input_gradient for feedback in active[0]),
        )
        pairs = enumerate(zip(self.modules, batches, strict=True))
        return whole, [SeedStep(whole, k, module.network, batch, module.seed) for k, (module, batch) in pairs]

    def _weighted(self, whole: StackedStep, steps: Sequence[SeedStep], active: Sequence[Sequence[Feedback]]) -> Tensor:
        """Return the weighted cross-entropy of each sample ``(K * B,)``, and run the views."""
        losses = whole.losses
        for feedbacks in zip(*active, strict=True):
            weights = [feedback.sample_weights(step) for feedback, step in zip(feedbacks, steps, strict=True)]
            if any(own is not None for own in weights):
                ones = torch.ones_like(steps[0].losses)
                losses = losses * torch.cat([ones if own is None else own for own in weights])
            views = [feedback.view(step) for feedback, step in zip(feedbacks, steps, strict=True)]
            made = [view for view in views if view is not None]
            if made and len(made) < len(views):
                raise RuntimeError(f"{feedbacks[0].name} has a view for some seeds only and can't be stacked")
            if made:
                name = feedbacks[0].name
                logits = self.modules[0].run_view(whole, name, joined_view(made))
                for step, part in zip(steps, logits.chunk(self.count), strict=True):
                    step.views[name] = part
        return losses

    def logits(self, batches: Sequence[Batch]) -> Tensor:
        """Return every seed's logits of its batch ``(K, B, N)``."""
        x = torch.cat([self.modules[0].formatted(batch.x) for batch in batches])
        return self.network(x).unflatten(0, (self.count, -1))


def _by_name(own: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([values[name] for values in own]) for name in own[0]}
