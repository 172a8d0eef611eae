"""Saliency guided training (Ismail et al. 2021): mask what matters least and ask for the same prediction.

Equations (1) to (7), options and what is unknown of the paper: `docs/methods/saliency_guided.md`.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from xfeedback.config import require
from xfeedback.explain import Output, explained_output
from xfeedback.explain.maps import evaluation_gradient
from xfeedback.explain.masking import Fill, Ties, fill_values, lowest
from xfeedback.explain.sites import INPUT, derivatives_behind
from xfeedback.explain.tokens import Replacement, real, replaced
from xfeedback.feedback import Feedback, FeedbackConfig, PresetModule, Step, View
from xfeedback.losses import kl_consistency
from xfeedback.losses.consistency import Direction
from xfeedback.models.quiet import Quiet, quiet_part
from xfeedback.models.stages import noiseless, trace
from xfeedback.models.text_base import TextNetwork
from xfeedback.types import Batch

Reduce = Literal["mean_signed", "mean_abs", "l2"]
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "rank": "signed",
        "channel_reduce": "mean_signed",
        "text_reduce": "mean_signed",
        "dropout": "independent",
        "bn_masked": "update",
    },
    "clean": {
        "rank": "abs",
        "channel_reduce": "mean_abs",
        "text_reduce": "l2",
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
        channel_reduce: how the channels' gradients become one: mean, mean of magnitudes, or Euclidean norm; ``none``:
            each channel has a mask of its own. Of no account for series, where each cell is a position.
        text_reduce: the same for the entries of a token's embedding.
        explain_output: what is differentiated.
        explain_class: the label or the prediction.
        saliency_mode: gradient in evaluation mode (one more forward), in training mode with dropout of its own (one
            more, too), or of the clean training pass.
        dropout: the masked view repeats the clean view's dropout, or draws its own.
        bn_masked: whether the masked view moves running statistics.
        detach_reference: treat the clean prediction as a constant in the divergence.
        kl_direction: which prediction is the reference.
        fill: what masked positions of images and series are replaced by.
        text_replace: what masked tokens are replaced by, see :func:`xfeedback.explain.tokens.replaced`.
        mask_source: masked positions: of lowest saliency; controls: highest; ``random`` (saliency is computed and
            thrown away, so that the cost is the same) or ``random_cheap``; lowest by the saliency of the untrained
            network (``init_frozen``); or none.
        ties: mask exactly k positions, or every position equal to the k-th.
    """

    younger: ClassVar[tuple[str, ...]] = ()
    variant: Literal["clean", "paper"] = "clean"
    lambda_kl: float = 1.0
    mask_fraction: float = 0.5
    k_rule: Literal["floor", "floor_min1"] = "floor_min1"
    rank: Literal["signed", "abs"] | None = None
    channel_reduce: Reduce | Literal["none"] | None = None
    text_reduce: Reduce | None = None
    explain_output: Literal["logit", "log_prob", "prob"] = "logit"
    explain_class: Literal["true", "predicted"] = "true"
    saliency_mode: Literal["eval", "train", "reuse"] = "eval"
    dropout: Literal["independent", "shared"] | None = None
    bn_masked: Literal["update", "no_update"] | None = None
    detach_reference: bool = False
    kl_direction: Direction = "clean_masked"
    fill: Fill = "uniform_channel"
    text_replace: Replacement = "previous_kept"
    mask_source: Literal["low", "high", "random", "random_cheap", "init_frozen", "none"] = "low"
    ties: Ties = "exact"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in PRESETS[self.variant].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        require(self.lambda_kl >= 0, "lambda_kl", self.lambda_kl, "0 or more")
        require(0 <= self.mask_fraction < 1, "mask_fraction", self.mask_fraction, "in [0, 1)")


class SaliencyGuidedFeedback(Feedback[SaliencyGuidedConfig]):
    """Run a second view with the least salient positions replaced, and tie its prediction to the clean one."""

    name = "saliency_guided"
    stacks = True
    compiles = True
    Config = SaliencyGuidedConfig
    strength_option = "lambda_kl"
    takes = ("image", "series", "text")

    def __init__(self, config: SaliencyGuidedConfig | None = None) -> None:
        super().__init__(config)
        source = self.config.mask_source
        explains = source not in ("none", "random_cheap", "init_frozen")
        self.input_gradient = explains and self.config.saliency_mode == "reuse"
        self.stamps = () if source == "low" else (f"control=mask_{source}",)
        self.frozen: nn.Module | None = None
        self._quiet: Quiet | None = None
        self._modes_agree = False

    def prepare(self, network: nn.Module, example: Tensor) -> nn.Module:
        """Keep a copy of the untrained network for the control ``init_frozen``; find what evaluation mode shares."""
        if self.config.mask_source == "init_frozen":
            self.frozen = copy.deepcopy(network).requires_grad_(False)
        explains = self.config.mask_source in ("low", "high", "random")
        if explains and self.config.saliency_mode == "eval" and example.numel():
            self._modes_agree = noiseless(network, example)
            self._quiet = None if self._modes_agree else quiet_part(network, trace(network, example))
            self.layers = () if self._quiet is None else self._quiet.layers
            self.input_gradient = self._modes_agree or self._quiet is not None
        return super().prepare(network, example)

    def saliency(self, step: Step) -> Tensor:
        """Return a, the gradient of the explained output at the input, of its shape, detached; equation (1)."""
        kind: Output = self.config.explain_output
        own, target = self.config.explain_class, self._target(step)
        if self.frozen is not None:
            x = self.frozen.embed(step.batch.x) if isinstance(self.frozen, TextNetwork) else step.batch.x
            return evaluation_gradient(self.frozen, x, target, kind=kind)
        wide = not torch.is_autocast_enabled(step.x.device.type)
        if self.config.saliency_mode == "reuse" or (self._modes_agree and wide):
            return step.input_gradient(kind, target, own).detach()
        if self.config.saliency_mode == "train":
            return step.once(("training_gradient", kind, own), self._in_training_mode)
        if self._quiet is not None and wide:
            return step.once(("behind_the_quiet_part", kind, own), partial(self._behind, quiet=self._quiet))
        return step.evaluation_gradient(kind, target, own)

    def _target(self, step: Step) -> Tensor:
        return step.batch.y if self.config.explain_class == "true" else step.logits.argmax(1)

    def _in_training_mode(self, step: Step) -> Tensor:
        return training_gradient(step, self._target(step), self.config.explain_output)

    def _behind(self, step: Step, quiet: Quiet) -> Tensor:
        """Return the gradient in evaluation mode; what comes before the first noise is in the clean pass's graph."""
        target, kind = self._target(step), self.config.explain_output

        def start(logits: Tensor) -> Tensor:
            return explained_output(logits, target, kind)

        found = derivatives_behind(step.network, step.x, [INPUT], start, features=step.features, quiet=quiet)
        return found[INPUT][1]

    def ranking(self, saliency: Tensor, reduce: Reduce | None = None) -> Tensor:
        """Return r ``(B, n)`` from a ``(B, C, n)``; equations (2) and (3), negated for the control ``high``.

        ``(B, C n)`` with a mask for each channel.
        """
        reduced = self._reduced(saliency, reduce or self.config.channel_reduce)
        ranked = reduced.abs() if self.config.rank == "abs" else reduced
        return -ranked if self.config.mask_source == "high" else ranked

    @staticmethod
    def _reduced(saliency: Tensor, reduce: str | None) -> Tensor:
        if reduce == "none":
            return saliency.flatten(1)
        if reduce == "mean_signed":
            return saliency.mean(1)
        return saliency.abs().mean(1) if reduce == "mean_abs" else saliency.norm(dim=1)

    def masked_positions(self, step: Step) -> Tensor:
        """Return m, bool ``(B, n)``, with exactly k positions a sample, no padding and no separator; equation (4).

        ``(B, C, n)`` with a mask for each channel of images.
        """
        x = step.batch.x if is_text(step.batch) else by_position(step.batch.x)
        each = self.config.channel_reduce == "none" and not is_text(step.batch)
        shape = x.shape if is_text(step.batch) or each else x[:, 0].shape
        if self.config.mask_source == "none":
            return torch.zeros(shape, dtype=torch.bool, device=x.device)
        ranking = self.ranked(step, shape).view(-1, shape[-1])
        allowed, least = real_positions(step.batch), int(self.config.k_rule == "floor_min1")
        if allowed is None:
            k = max(least, int(self.config.mask_fraction * shape[-1]))
            return lowest(ranking, k, ties=self.config.ties).view(shape)
        n = allowed.sum(1)
        k = (self.config.mask_fraction * n.double()).long().clamp_min(least).minimum(n)
        ranking = ranking.masked_fill(~allowed, torch.inf)
        return (lowest(ranking, k, ties=self.config.ties) & allowed).view(shape)

    def ranked(self, step: Step, shape: Sequence[int]) -> Tensor:
        """Return r, or as a control noise of this shape, at the cost of r or without it."""
        source, found = self.config.mask_source, None
        if source != "random_cheap" and is_text(step.batch):
            found = self.ranking(self.saliency(step).transpose(1, 2), self.config.text_reduce)
        elif source != "random_cheap":
            found = self.ranking(by_position(self.saliency(step)))
        if found is not None and source != "random":
            return found
        return torch.rand(shape, device=step.batch.x.device, generator=step.generator("random_mask"))

    def view(self, step: Step) -> View:
        """Return the input with its masked positions replaced; equation (5)."""
        return View(
            x=self.masked_text(step) if is_text(step.batch) else self.masked_input(step),
            shared_noise=self.config.dropout == "shared",
            update_statistics=self.config.bn_masked == "update",
        )

    def masked_input(self, step: Step) -> Tensor:
        """Return images ``(B, C, H, W)`` or series ``(B, T, F)`` with their masked positions filled."""
        x = step.batch.x
        channels = x.flatten(2) if x.ndim == 4 else x.transpose(1, 2)
        fills = fill_values(channels, self.config.fill, step.generator("fill"), step.batch.valid)
        masked = self.masked_positions(step)
        if x.ndim == 4:
            return torch.where(masked.view(len(x), -1, channels.shape[2]), fills, channels).reshape(x.shape)
        return torch.where(masked.view(x.shape), fills.transpose(1, 2), x)

    def masked_text(self, step: Step) -> Tensor:
        """Return the ids of texts with their masked tokens replaced, ``(B, L)``."""
        n_ids = step.network.get_submodule("embedding").get_parameter("weight").shape[0]
        draws = step.generator("fill")
        return replaced(step.batch.x, self.masked_positions(step), self.config.text_replace, n_ids, draws)

    def penalty(self, step: Step) -> dict[str, Tensor]:
        """Return ``{"kl": lambda * KL}``; equations (6) and (7)."""
        divergence = kl_consistency(
            step.logits,
            step.views[self.name],
            direction=self.config.kl_direction,
            detach_reference=self.config.detach_reference,
        )
        return {"kl": self.strength(step.epoch) * divergence}


def training_gradient(step: Step, target: Tensor, kind: Output) -> Tensor:
    """Return the input gradient of one more pass in training mode with dropout of its own, of its shape, detached."""
    point = step.x.detach().requires_grad_()
    with torch.enable_grad(), torch.autocast(point.device.type, enabled=False):
        logits = step.forward(point, name="saliency", shared_noise=False, update_statistics=False)
        (result,) = torch.autograd.grad(explained_output(logits, target, kind).sum(), point)
    return result


def by_position(x: Tensor) -> Tensor:
    """Return images ``(B, C, H, W)`` as ``(B, C, n)``, series ``(B, T, F)`` by their cells, ``(B, 1, n)``."""
    return x.flatten(2) if x.ndim == 4 else x.flatten(1)[:, None]


def is_text(batch: Batch) -> bool:
    """Return whether inputs are ids of tokens."""
    return batch.x.ndim == 2


def real_positions(batch: Batch) -> Tensor | None:
    """Return which tokens of texts and cells of series may be masked, bool ``(B, n)``; None: all."""
    if is_text(batch):
        return real(batch.x)
    return None if batch.valid is None else batch.valid[..., None].expand_as(batch.x).flatten(1)


class SaliencyGuided(PresetModule):
    """LightningModule for saliency guided training."""

    feedback_class: ClassVar[type[Feedback]] = SaliencyGuidedFeedback
