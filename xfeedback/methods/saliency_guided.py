"""Saliency guided training (Ismail et al. 2021): mask what matters least and ask for the same prediction.

Equations (1) to (7), options and what is unknown of the paper: `docs/methods/saliency_guided.md`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from xfeedback.config import require
from xfeedback.explain import Output
from xfeedback.explain.masking import Fill, Ties, fill_values, lowest
from xfeedback.feedback import Feedback, FeedbackConfig, PresetModule, Step, View
from xfeedback.losses import kl_consistency
from xfeedback.losses.consistency import Direction
from xfeedback.types import Batch

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "rank": "signed",
        "channel_reduce": "mean_signed",
        "dropout": "independent",
        "bn_masked": "update",
    },
    "clean": {
        "rank": "abs",
        "channel_reduce": "mean_abs",
        "dropout": "shared",
        "bn_masked": "no_update",
    },
}


@dataclass(frozen=True, kw_only=True)
class SaliencyGuidedConfig(FeedbackConfig):
    """Options of saliency guided training; None means: as the variant says.

    Attributes:
        variant: ``clean`` as we recommend, ``paper`` as the released program behaves.
        lambda_kl: weight of the divergence between the two views.
        mask_fraction: share of positions that is masked, in [0, 1).
        k_rule: whether at least one position is masked.
        rank: by the signed gradient or by its magnitude.
        channel_reduce: how the channels' gradients become one: mean, mean of magnitudes, or Euclidean norm; of no
            account for series, where each cell is a position.
        explain_output: what is differentiated.
        explain_class: the label or the prediction.
        saliency_mode: gradient in evaluation mode (one more forward) or of the clean training pass.
        dropout: the masked view repeats the clean view's dropout, or draws its own.
        bn_masked: whether the masked view moves running statistics.
        detach_reference: treat the clean prediction as a constant in the divergence.
        kl_direction: which prediction is the reference.
        fill: what masked positions are replaced by.
        mask_source: masked positions: lowest saliency; highest, or random, as controls; or none.
        ties: mask exactly k positions, or every position equal to the k-th.
        every_n_steps: steps between two masked views; the others are plain.
    """

    variant: Literal["clean", "paper"] = "clean"
    lambda_kl: float = 1.0
    mask_fraction: float = 0.5
    k_rule: Literal["floor", "floor_min1"] = "floor_min1"
    rank: Literal["signed", "abs"] | None = None
    channel_reduce: Literal["mean_signed", "mean_abs", "l2"] | None = None
    explain_output: Literal["logit", "log_prob", "prob"] = "logit"
    explain_class: Literal["true", "predicted"] = "true"
    saliency_mode: Literal["eval", "reuse"] = "eval"
    dropout: Literal["independent", "shared"] | None = None
    bn_masked: Literal["update", "no_update"] | None = None
    detach_reference: bool = False
    kl_direction: Direction = "clean_masked"
    fill: Fill = "uniform_channel"
    mask_source: Literal["low", "high", "random", "none"] = "low"
    ties: Ties = "exact"
    every_n_steps: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in PRESETS[self.variant].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        require(self.lambda_kl >= 0, "lambda_kl", self.lambda_kl, "0 or more")
        require(0 <= self.mask_fraction < 1, "mask_fraction", self.mask_fraction, "in [0, 1)")
        require(self.every_n_steps >= 1, "every_n_steps", self.every_n_steps, "1 or more")


class SaliencyGuidedFeedback(Feedback):
    """Run a second view with the least salient positions replaced, and tie its prediction to the clean one."""

    name = "saliency_guided"
    Config = SaliencyGuidedConfig
    strength_option = "lambda_kl"
    takes = ("image", "series")
    config: SaliencyGuidedConfig

    def __init__(self, config: SaliencyGuidedConfig | None = None) -> None:
        super().__init__(config)
        self.input_gradient = self.config.saliency_mode == "reuse"

    def saliency(self, step: Step) -> Tensor:
        """Return a, the gradient of the explained output at the input, detached; equation (1)."""
        target = step.batch.y if self.config.explain_class == "true" else step.logits.argmax(1)
        kind: Output = self.config.explain_output
        if self.config.saliency_mode == "reuse":
            return step.input_gradient(kind, target, self.config.explain_class).detach()
        return step.evaluation_gradient(kind, target, self.config.explain_class)

    def ranking(self, saliency: Tensor) -> Tensor:
        """Return r ``(B, n)`` from a ``(B, C, n)``; equations (2) and (3), negated for the control ``high``."""
        if self.config.channel_reduce == "mean_signed":
            reduced = saliency.mean(1)
        elif self.config.channel_reduce == "mean_abs":
            reduced = saliency.abs().mean(1)
        else:
            reduced = saliency.norm(dim=1)
        ranked = reduced.abs() if self.config.rank == "abs" else reduced
        return -ranked if self.config.mask_source == "high" else ranked

    def masked_positions(self, step: Step) -> Tensor:
        """Return m, bool ``(B, n)``, with exactly k positions a sample, none of them padding; equation (4)."""
        x, real = by_position(step.batch.x), real_cells(step.batch)
        if self.config.mask_source == "none":
            return torch.zeros_like(x[:, 0], dtype=torch.bool)
        ranking = self.ranking(by_position(self.saliency(step)))
        if self.config.mask_source == "random":
            draws = step.generator("random_mask")
            ranking = torch.rand(ranking.shape, device=ranking.device, generator=draws)
        least = int(self.config.k_rule == "floor_min1")
        if real is None:
            k = max(least, int(self.config.mask_fraction * x.shape[2]))
            return lowest(ranking, k, ties=self.config.ties)
        n = real.sum(1)
        k = (self.config.mask_fraction * n.double()).long().clamp_min(least).minimum(n)
        return lowest(ranking.masked_fill(~real, torch.inf), k, ties=self.config.ties) & real

    def view(self, step: Step) -> View | None:
        """Return the input with its masked positions replaced; equation (5)."""
        if step.number % self.config.every_n_steps:
            return None
        x = step.batch.x
        channels = x.flatten(2) if x.ndim == 4 else x.transpose(1, 2)
        fills = fill_values(channels, self.config.fill, step.generator("fill"), step.batch.valid)
        masked = self.masked_positions(step)
        if x.ndim == 4:
            view = torch.where(masked[:, None], fills, channels).reshape(x.shape)
        else:
            view = torch.where(masked.view(x.shape), fills.transpose(1, 2), x)
        return View(
            x=view,
            shared_noise=self.config.dropout == "shared",
            update_statistics=self.config.bn_masked == "update",
        )

    def penalty(self, step: Step) -> dict[str, Tensor]:
        """Return ``{"kl": lambda * KL}``; equations (6) and (7)."""
        if self.name not in step.views:
            return {}
        divergence = kl_consistency(
            step.logits,
            step.views[self.name],
            direction=self.config.kl_direction,
            detach_reference=self.config.detach_reference,
        )
        return {"kl": self.strength(step.epoch) * divergence}


def by_position(x: Tensor) -> Tensor:
    """Return images ``(B, C, H, W)`` as ``(B, C, n)``, series ``(B, T, F)`` by their cells, ``(B, 1, n)``."""
    return x.flatten(2) if x.ndim == 4 else x.flatten(1)[:, None]


def real_cells(batch: Batch) -> Tensor | None:
    """Return which cells of series are no padding, bool ``(B, n)``; None: all."""
    return None if batch.valid is None else batch.valid[..., None].expand_as(batch.x).flatten(1)


class SaliencyGuided(PresetModule):
    """LightningModule for saliency guided training."""

    feedback_class: ClassVar[type[Feedback]] = SaliencyGuidedFeedback
