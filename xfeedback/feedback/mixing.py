"""Pairs of samples mixed into one, with their labels and annotations: what the mixing methods share."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from xfeedback.models.running import mode, tapped
from xfeedback.models.stages import need_example
from xfeedback.types import Batch

Draws = Callable[[str], Generator]


def shape_of(network: nn.Module, example: Tensor, layers: tuple[str, ...] = ()) -> tuple[int, dict[str, Tensor]]:
    """Return how many classes a network has, and what the named layers give for one input ``(1, ...)``.

    Raises:
        UserError: there is no such layer, or no input; the message has the nearest name, or what to give.
    """
    need_example(network, example)
    with torch.no_grad(), mode(network, training=False), tapped(network, layers) as outputs:
        logits = network(example)
    return logits.shape[1], outputs


def numbers(draws: Draws, purpose: str) -> np.random.Generator:
    """Return random numbers on the CPU for a purpose of a step: drawing them never waits for the device."""
    return np.random.default_rng(draws(purpose).initial_seed())


def partners(batch: Batch, draws: Draws, purpose: str) -> Tensor:
    """Return with which sample each is mixed, a permutation ``(B,)``."""
    return torch.randperm(len(batch), device=batch.y.device, generator=draws(f"{purpose}/partners"))


def beta_shares(alpha: float, count: int, random: np.random.Generator, like: Tensor) -> Tensor:
    """Return max(l, 1 - l) with l ~ Beta(alpha, alpha), ``(count,)`` on the device of ``like``, in float32.

    With permuted partners a mixture with 1 - l is one with l of the same batch, so the larger share can be the sample's
    own, and a sample keeps its label.
    """
    drawn = random.beta(alpha, alpha, count)
    return torch.from_numpy(np.maximum(drawn, 1 - drawn).astype(np.float32)).to(like.device, non_blocking=True)


def soft_labels(batch: Batch, n_classes: int) -> Tensor:
    """Return the batch's soft labels ``(B, N)``: its own, or ones where ``y`` says so."""
    return F.one_hot(batch.y, n_classes).float() if batch.target is None else batch.target


def blend(values: Tensor, share: Tensor, partner: Tensor) -> Tensor:
    """Return ``share_b v_b + (1 - share_b) v_partner(b)`` of values ``(B, ...)``; equation (1)."""
    own = share.to(values.dtype).reshape(-1, *(1 for _ in values.shape[1:]))
    return own * values + (1 - own) * values[partner]


def mixed(batch: Batch, x: Tensor, share: Tensor, partner: Tensor, n_classes: int) -> Batch:
    """Return a batch of mixtures with blended labels; equations (1) and (2).

    Evidence of either sample counts as evidence of the mixture; what is hidden in both is hidden in it; and it counts
    as annotated where both are. ``y`` is the label of the larger share.

    Args:
        batch: the samples.
        x: the mixtures' inputs.
        share: of each sample in its mixture ``(B,)`` or ``(1,)``.
        partner: with which sample each is mixed ``(B,)``.
        n_classes: N.
    """
    return replace(
        batch,
        x=x,
        y=torch.where(share >= 0.5, batch.y, batch.y[partner]),
        target=blend(soft_labels(batch, n_classes), share, partner),
        mask=None if batch.mask is None else batch.mask | batch.mask[partner],
        wrong=None if batch.wrong is None else batch.wrong | batch.wrong[partner],
        hidden=None if batch.hidden is None else batch.hidden & batch.hidden[partner],
        annotated=None if batch.annotated is None else batch.annotated & batch.annotated[partner],
        valid=None if batch.valid is None else batch.valid | batch.valid[partner],
    )
