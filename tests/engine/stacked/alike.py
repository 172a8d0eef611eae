"""Training a few seeds one by one and as one, on the tiny task of the methods' tests."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tests.methods import tiny
from xfeedback.engine.stacked.stack import Stack
from xfeedback.feedback import FeedbackModule
from xfeedback.feedback.optimise import build_optimiser
from xfeedback.types import Batch


def batches(seed: int, count: int, dtype: torch.dtype) -> list[Batch]:
    """The first steps of a run with this seed: three a pass, in its own order."""
    loader, found = tiny.batches(seed), list[Batch]()
    for number in range(count):
        batch = loader.batch(number // 3, number % 3)
        found.append(replace(batch, x=batch.x.to(dtype)))
    return found


def alone(module: FeedbackModule, steps: Sequence[Batch]) -> list[Tensor]:
    """Train a module in a bare loop and return its loss at each step."""
    optimiser, losses = build_optimiser(module.optimiser, module.network.parameters()), list[Tensor]()
    for number, batch in enumerate(steps):
        acting = [f for f in module.feedbacks if f.strength(number // 3) > 0]
        _, terms = module.loss_terms(batch, acting, ("0", 0, number // 3, number % 3))
        losses.append(_taken(optimiser, torch.stack(list(terms.values())).sum()[None])[0])
    return losses


def together(modules: Sequence[FeedbackModule], steps: Sequence[Sequence[Batch]]) -> list[Tensor]:
    """Train modules as one and return their losses at each step ``(K,)``; each has its own weights afterwards."""
    stack = Stack(modules)
    optimiser, losses = build_optimiser(modules[0].optimiser, stack.network.parameters()), list[Tensor]()
    for number, whole in enumerate(zip(*steps, strict=True)):
        total = stack.losses(whole, ("0", 0, number // 3, number % 3)).total
        losses.append(_taken(optimiser, total))
    stack.release()
    return losses


def _taken(optimiser: torch.optim.Optimizer, losses: Tensor) -> Tensor:
    optimiser.zero_grad()
    losses.sum().backward()
    optimiser.step()
    return losses.detach()
