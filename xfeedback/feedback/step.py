"""What one training step knows, computed once and shared by every feedback on the run."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from typing import cast

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from xfeedback.explain import Output, explained_output, gradient
from xfeedback.explain.maps import evaluation_gradient
from xfeedback.models.running import altered, recalled, resting_statistics, tapped
from xfeedback.models.text_base import TextNetwork
from xfeedback.precision import widened
from xfeedback.seeding import derive, generator, reseed
from xfeedback.types import Batch


class Step:
    """One training step: the batch, the clean forward pass, and explanations computed when first asked for.

    Random numbers are keyed by the run's seed and the step's position, so the noise of the clean pass (dropout) is the
    same whatever feedbacks are on, and a resumed run draws what an uninterrupted one would have drawn.

    Attributes:
        batch: the batch as the loader gave it, or as feedbacks have changed it.
        inside: what becomes of layers' outputs, by layer, in the clean pass and in every further view.
        x: the input ``(B, ...)``, of texts the embeddings ``(B, L, E)`` with their graph; requires a gradient when a
            feedback asked for it.
        logits: clean forward in training mode ``(B, N)``.
        losses: cross-entropy of each sample ``(B,)``, against the batch's soft labels where it has some.
        features: outputs of the tapped layers by name.
        views: logits of the further views, by feedback.
        reports: values to log that are not part of the loss.
    """

    def __init__(
        self,
        network: nn.Module,
        batch: Batch,
        *,
        seed: int,
        position: Sequence[str | int],
        layers: Sequence[str] = (),
        input_gradient: bool = False,
        inside: Sequence[Mapping[str, Callable[[Tensor], Tensor]]] = (),
    ) -> None:
        self.network, self.batch, self.inside = network, batch, inside
        self.epoch = int(position[-2]) if len(position) > 1 else 0
        self.number = int(position[-1])
        self._seed, self._position = seed, tuple(position)
        self._known: dict[object, Tensor] = {}
        self.views: dict[str, Tensor] = {}
        self.reports: dict[str, Tensor] = {}
        with altered(network, *inside):
            self.x = _input(network, batch.x, gradient=input_gradient)
            self.repeat_noise()
            with tapped(network, layers) as self.features:
                self.logits = network(self.x)
        self.losses = self.cross_entropy(self.logits)

    def generator(self, purpose: str, device: str | None = None) -> Generator:
        """Return a generator for one purpose of this step, on ``device`` or that of the batch."""
        return generator(device or self.batch.x.device, self._seed, purpose, *self._position)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Return the cross-entropy ``(B,)`` of some logits of this batch, as :attr:`losses` has it."""
        wide, soft = widened(logits), self.batch.target
        return F.cross_entropy(wide, self.batch.y if soft is None else soft.to(wide.dtype), reduction="none")

    def once(self, key: object, compute: "Callable[[Step], Tensor]") -> Tensor:
        """Return ``compute(step)`` ``(B, ...)``, remembered under ``key`` for the rest of the step.

        What is heavy and the same for every sample belongs here: where several seeds are trained as one, ``compute`` is
        given the step of all their samples, and each seed gets its part.
        """
        if key not in self._known:
            self._known[key] = compute(self)
        return self._known[key]

    def with_weight(self, layer: str, compute: Callable[..., Tensor], *values: Tensor) -> Tensor:
        """Return ``compute(weight, *values)`` with the weight of a layer; each of the values is ``(B, ...)``."""
        return compute(cast("nn.Linear", self.network.get_submodule(layer)).weight, *values)

    def pull(self, loss: Tensor, layer: str) -> Tensor:
        """Return the gradient of a loss at a tapped layer's output, of its shape; the graph stays."""
        return torch.autograd.grad(loss, self.features[layer], retain_graph=True)[0]

    def input_gradient(self, kind: Output, target: Tensor, target_name: str, *, create_graph: bool = False) -> Tensor:
        """Return the gradient of an output of the clean training pass with respect to the input, shape of ``x``.

        ``target_name`` names the target for sharing: two feedbacks that ask for the same one get the same tensor.
        """

        def compute(step: Step) -> Tensor:
            return gradient(explained_output(step.logits, target, kind), step.x, create_graph=create_graph)

        return self.once(("input_gradient", kind, target_name, create_graph), compute)

    def evaluation_gradient(self, kind: Output, target: Tensor, target_name: str) -> Tensor:
        """Return :func:`~xfeedback.explain.maps.evaluation_gradient` of the input: one more forward, detached."""

        def compute(step: Step) -> Tensor:
            return evaluation_gradient(step.network, step.x, target, kind=kind)

        return self.once(("evaluation_gradient", kind, target_name), compute)

    def forward(
        self,
        x: Tensor,
        *,
        name: str,
        shared_noise: bool,
        update_statistics: bool,
        changes: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
        recalls: Collection[str] = (),
    ) -> Tensor:
        """Run another view in training mode and return its logits ``(B, N)``.

        Args:
            x: the view, shape of the batch's input or, of texts, of their embeddings.
            name: whose view it is; keys its noise.
            shared_noise: repeat the dropout masks of the clean pass.
            update_statistics: let normalisation layers move their running statistics.
            changes: what becomes of layers' outputs, by layer, after what :attr:`inside` makes of them.
            recalls: layers whose outputs of the clean pass are used again.
        """
        self._begin_noise(*(() if shared_noise else (name,)))
        known = {layer: self.features[layer] for layer in recalls}
        inside = [{name: change for name, change in of.items() if name not in known} for of in self.inside]
        resting = nullcontext() if update_statistics else resting_statistics(self.network)
        with resting, recalled(self.network, known), altered(self.network, *inside, changes or {}):
            return self.network(x)

    def repeat_noise(self) -> None:
        """Set the global generator as it stood before the clean pass, for a pass that repeats its dropout masks."""
        self._begin_noise()

    def _begin_noise(self, *view: str) -> None:
        """Set the generator that layers draw from for the clean pass, or for a view of its own noise."""
        reseed(self.x.device, noise_seed(self._seed, self._position, *view))


def noise_seed(seed: int, position: Sequence[str | int], *view: str) -> int:
    """Return what keys the noise of the clean pass of a step, or of a view."""
    return derive(seed, "noise", *position, *view)


def _input(network: nn.Module, x: Tensor, *, gradient: bool) -> Tensor:
    """Return what the network's gradients are taken at: the batch's input or, of texts, the embeddings."""
    if isinstance(network, TextNetwork):
        x = network.embed(x)
        return x.detach().requires_grad_() if gradient and not x.requires_grad else x
    return x.detach().requires_grad_() if gradient else x
