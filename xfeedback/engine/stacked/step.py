"""A training step of K seeds: one clean pass and one explanation for all, and a light step for each seed's hooks."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Generator, Tensor, nn

from xfeedback.engine.stacked.noise import Noise
from xfeedback.explain import Output
from xfeedback.feedback.base import View
from xfeedback.feedback.mixing import soft_labels
from xfeedback.feedback.step import Step, noise_seed
from xfeedback.types import Batch


class StackedStep(Step):
    """What a step of all seeds knows: everything of ``(K * B, ...)``, seed by seed.

    Args:
        network: the stack.
        batches: one a seed, of one size.
        seeds: the runs' seeds.
        noise: what the stack's dropout draws from.
        position, layers, input_gradient: as of :class:`~xfeedback.feedback.Step`.
    """

    def __init__(
        self, network: nn.Module, batches: Sequence[Batch], *, seeds: Sequence[int], noise: Noise, **options: Any
    ) -> None:
        self.seeds, self._noise = tuple(seeds), noise
        self._parts: dict[object, tuple[Tensor, ...]] = {}
        super().__init__(network, joined(batches), seed=self.seeds[0], **options)

    def generator(self, purpose: str, device: str | None = None) -> Generator:
        """Refuse: every draw belongs to one seed."""
        del device
        raise RuntimeError(f"'{purpose}' is drawn for all seeds at once")

    def _begin_noise(self, *view: str) -> None:
        self._noise.begin([noise_seed(seed, self._position, *view) for seed in self.seeds])

    def with_weight(self, layer: str, compute: Callable[..., Tensor], *values: Tensor) -> Tensor:
        """Return ``compute(weight, *values)`` of each seed, with the weight of the seed's own layer."""
        weight = self.network.get_submodule(layer).get_parameter("weight")
        split = [value.unflatten(0, (len(self.seeds), -1)) for value in values]
        return torch.vmap(compute)(weight, *split).flatten(0, 1)

    def parts(self, key: object, compute: Callable[[Step], Tensor]) -> tuple[Tensor, ...]:
        """Return what is computed once for all seeds, split by seed: each ``(B, ...)``.

        The parts' gradients are put together in one go, which slices of a tensor would not be.
        """
        if key not in self._parts:
            self._parts[key] = self.once(key, compute).chunk(len(self.seeds))
        return self._parts[key]

    def target(self, name: str) -> Tensor:
        """Return the explained class of each sample, by the name that feedbacks share explanations under."""
        return self.logits.argmax(1) if name == "predicted" else self.batch.y


class SeedStep(Step):
    """One seed's part of a step: its batch, its draws, its share of what was computed for all.

    Args:
        whole: the step of all seeds.
        number: which seed it is.
        network: the seed's own, with its present weights and without gradients.
        batch: the seed's.
        seed: the run's.
    """

    def __init__(self, whole: StackedStep, number: int, network: nn.Module, batch: Batch, seed: int) -> None:
        self.whole, self._part = whole, number
        self.network, self.batch = network, batch
        self.epoch, self.number = whole.epoch, whole.number
        self._seed, self._position = seed, whole._position
        self._known: dict[object, Tensor] = {}
        self.views: dict[str, Tensor] = {}
        self.reports: dict[str, Tensor] = {}
        self.x = self.once("x", lambda step: step.x)
        self.logits = self.once("logits", lambda step: step.logits)
        self.losses = self.once("losses", lambda step: step.losses)
        self.features = {name: self._tapped(name) for name in whole.features}

    def _tapped(self, name: str) -> Tensor:
        return self.once(("features", name), lambda step: step.features[name])

    def once(self, key: object, compute: Callable[[Step], Tensor]) -> Tensor:
        """Return this seed's part of ``compute(step)`` of all seeds."""
        return self.whole.parts(key, compute)[self._part]

    def input_gradient(self, kind: Output, target: Tensor, target_name: str, *, create_graph: bool = False) -> Tensor:
        """Return this seed's part of the gradient for all; ``target`` is what ``target_name`` says."""
        del target

        def compute(step: Step) -> Tensor:
            return step.input_gradient(kind, self.whole.target(target_name), target_name, create_graph=create_graph)

        return self.once(("part of input_gradient", kind, target_name, create_graph), compute)

    def evaluation_gradient(self, kind: Output, target: Tensor, target_name: str) -> Tensor:
        """Return this seed's part ``(B, ...)``, likewise."""
        del target

        def compute(step: Step) -> Tensor:
            return step.evaluation_gradient(kind, self.whole.target(target_name), target_name)

        return self.once(("part of evaluation_gradient", kind, target_name), compute)

    def pull(self, loss: Tensor, layer: str) -> Tensor:
        """Return the gradient of this seed's loss at a tapped layer's output."""
        (found,) = torch.autograd.grad(loss, self.whole.features[layer], retain_graph=True)
        return found.chunk(len(self.whole.seeds))[self._part]

    def forward(self, x: Tensor, *, name: str, **options: Any) -> Tensor:
        """Refuse: views of all seeds run together."""
        del x, options
        raise RuntimeError(f"{name} runs a forward pass of its own and is not marked as one that can't be stacked")


def joined(batches: Sequence[Batch]) -> Batch:
    """Return the batches of all seeds as one, seed by seed; where some have soft labels, all get them."""
    shares = next((batch.target.shape[1] for batch in batches if batch.target is not None), None)
    if shares is not None:
        batches = [replace(batch, target=soft_labels(batch, shares)) for batch in batches]
    known = [field.name for field in fields(Batch) if getattr(batches[0], field.name) is not None]
    return Batch(**{name: torch.cat([getattr(batch, name) for batch in batches]) for name in known})


def joined_view(views: Sequence[View]) -> View:
    """Return the same view of all seeds as one."""

    def together(changes: Sequence[Callable[[Tensor], Tensor]]) -> Callable[[Tensor], Tensor]:
        def change(whole: Tensor) -> Tensor:
            parts = whole.chunk(len(changes))
            return torch.cat([own(part) for own, part in zip(changes, parts, strict=True)])

        return change

    first = views[0]
    changes = {layer: together([view.changes[layer] for view in views]) for layer in first.changes}
    return replace(first, x=torch.cat([view.x for view in views]), changes=changes)
