"""Challenger: training with attribution maps (Tomani and Cremers 2022), in the reading of this project.

The paper's text beyond its abstract was not available. Equations (1) to (14), readings and options:
`docs/methods/challenger.md`.
"""

import math
import warnings
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from xfeedback.errors import FeedbackWarning, UserError
from xfeedback.explain import challenging, tokens
from xfeedback.explain.sites import INPUT
from xfeedback.feedback import Feedback, PresetModule, Step, View
from xfeedback.feedback.challenge import ChallengerConfig
from xfeedback.feedback.collapse import CollapseGuard
from xfeedback.feedback.relevance_pass import RelevancePass
from xfeedback.losses import kl_consistency
from xfeedback.models.stages import before, dropped_before, features_axis, runs_once, stages, trace
from xfeedback.shapes import per_sample
from xfeedback.types import Phase

EPS = 1e-12
REPORT_EVERY = 8
"""Steps between two looks at what was changed, which cost some passes over the tensor."""


class ChallengerFeedback(Feedback[ChallengerConfig]):
    """Train on the input, or on features, with the evidence weakened that the network leans on, beside the clean pass.

    Attributes:
        places: where a step may be challenged, as ``sites`` says; found in :meth:`prepare`.
    """

    name = "challenger"
    Config = ChallengerConfig
    strength_option = "lambda_challenge"
    takes = ("image", "series", "text")

    def __init__(self, config: ChallengerConfig | None = None) -> None:
        super().__init__(config)
        self.places: tuple[str, ...] = ()
        self._known: dict[str, tuple[str, ...]] = {}
        self._axes: dict[str, int] = {}
        self._passes: RelevancePass | None = None
        self.guard = CollapseGuard()
        source = self.config.map_source
        self.stamps = () if source == "real" else (f"control=map_{source}",)

    @property
    def full_strength(self) -> float:
        """The share of the challenged loss, or the weight of the divergence; 0 where nothing is ever challenged."""
        weights = {"mix": self.config.lambda_challenge, "kl": self.config.lambda_kl}
        return 0.0 if self.config.switched_off else weights.get(self.config.loss, 1.0)

    def prepare(self, network: nn.Module, example: Tensor) -> nn.Module:
        """Find the places that are challenged and try the attribution on the example.

        Raises:
            UserError: a place does not exist or runs more than once, or the network can't be explained in this way.
        """
        if example.numel() == 0:
            raise UserError("challenger must look into the network: give example=, one input (1, ...).")
        found, option = trace(network, example), f"method.{self.name}.sites"
        places = self.config.sites or (INPUT, *stages(network, found))
        for place in places:
            if place != INPUT:
                runs_once(network, found, place, option)
        hidden = [place for place in places if place != INPUT]
        if self.config.site == "hidden":
            if not -len(hidden) <= self.config.site_index < len(hidden):
                raise UserError(
                    f"method.{self.name}.site_index={self.config.site_index}: {type(network).__name__} has "
                    f"{len(hidden)} hidden places ({', '.join(hidden) or 'none'}); name others with {option}=[...]."
                )
            places = (hidden[self.config.site_index],)
        self.places = (INPUT,) if self.config.site == "input" else tuple(places)
        self._axes = {place: features_axis(network, found, None if place == INPUT else place) for place in self.places}
        self._passes = RelevancePass(self.config, network, example, found, self.places)
        self.input_gradient = self._passes.input_gradient
        hidden = [place for place in self.places if place != INPUT]
        if self.config.site != "all":
            self._known = {place: before(found, place) for place in hidden}
        if self.config.dropout == "shared":  # masks are drawn in order: the pass that repeats them must draw them all
            self._known = {p: () if dropped_before(network, names) else names for p, names in self._known.items()}
        known = {name for names in self._known.values() for name in names}
        self.layers = tuple(sorted({*hidden, *known, *self._passes.layers}))
        return network

    def challenged_places(self, step: Step) -> tuple[str, ...]:
        """Return where this step is challenged, () where it is plain; equation (1). Drawn on the host."""
        config = self.config
        if config.loss == "alternate" and self._count(step) % 2 == 0:
            return ()
        off, at = torch.rand(2, generator=step.generator("challenger/place", "cpu")).tolist()
        if config.prob_per == "batch" and off >= config.prob:
            return ()
        return self.places if config.site == "all" else (self.places[int(at * len(self.places))],)

    def _count(self, step: Step) -> int:
        """Return which of the steps in which the method acts this is, from 0: of its epoch, for taking turns of all."""
        if self.config.loss != "alternate" or step.epoch == 0:
            return self.turn(step)
        if self.steps_per_epoch is None:
            raise RuntimeError("taking turns counts on from the epochs before, whose steps are not known")
        return step.epoch * math.ceil(self.steps_per_epoch / self.config.every_n_steps) + self.turn(step)

    def relevance(self, step: Step, places: Sequence[str], *, real: bool) -> dict[str, Tensor]:
        """Return R at each place, of its shape; see :class:`~xfeedback.feedback.relevance_pass.RelevancePass`."""
        if self._passes is None:
            raise RuntimeError("prepare the feedback on its network first")
        return self._passes(step, places, real=real)

    def strengths(self, step: Step) -> Tensor:
        """Return s of each sample ``(B,)``; equation (4)."""
        config, (u, _) = self.config, self._uniform(step)
        risen = min(1.0, (step.epoch + 1) / config.strength_epochs)
        s = challenging.strengths(u, config.strength, config.s_min, config.s_max, risen)
        return s * self.chosen(step) if config.prob_per == "sample" else s

    def chosen(self, step: Step) -> Tensor:
        """Return which samples are challenged with ``prob_per=sample``, bool ``(B,)``."""
        return self._uniform(step)[1] < self.config.prob

    @staticmethod
    def _uniform(step: Step) -> Tensor:
        draws = step.generator("challenger/strength")
        return torch.rand(2, len(step.batch), device=step.losses.device, dtype=step.losses.dtype, generator=draws)

    def sample_weights(self, step: Step) -> Tensor | None:
        """Return 1 - lambda for every sample of a challenged step, the clean part of equation (6)."""
        places = self.challenged_places(step)
        for place in self.places:
            step.reports[f"challenger/at/{place}"] = step.losses.new_full((), float(place in places))
        if not places or self.config.loss == "kl":
            return None
        return torch.full_like(step.losses, 1 - self.strength(step.epoch))

    def view(self, step: Step) -> View | None:
        """Return the challenged input, or what becomes of the challenged layers' outputs; equation (5)."""
        places = self.challenged_places(step)
        if not places:
            return None
        controlled = self.config.map_source == "init_frozen"
        real = self.relevance(step, places, real=True) if self.config.match_norm or not controlled else {}
        used = self.relevance(step, places, real=False) if controlled else real
        s = self.strengths(step)
        changes = {p: partial(self.changed, step, p, s=s, used=used[p], real=real.get(p)) for p in places}
        x = step.x.detach() if step.x.is_leaf else step.x
        if INPUT in changes:
            x = changes.pop(INPUT)(x)
        return View(
            x=x,
            shared_noise=self.config.dropout == "shared",
            update_statistics=self.config.bn_challenged == "update",
            changes=changes,
            recalls=self._known.get(places[0], ()),
        )

    def changed(self, step: Step, place: str, h: Tensor, *, s: Tensor, used: Tensor, real: Tensor | None) -> Tensor:
        """Return h' at one place; gradients flow through h and, but for ``grad_through_map``, not through R, r or s.

        Args:
            step: the training step.
            place: which.
            h: its tensor ``(B, ...)`` in the clean training pass, or what earlier challenges have made of it.
            s: strengths ``(B,)``.
            used: relevance that is followed, of h's shape.
            real: the network's own, for ``match_norm`` and for controls that rearrange it.
        """
        h = h.detach() if self.config.detach_feature else h
        if self.config.attribution == "fgsm":
            valid = self._valid(step, place, h)
            sign = used.sign() if valid is None else used.sign() * valid
            moved = h + s.view(-1, *[1] * (h.ndim - 1)) * sign
        else:
            moved = self._moved(step, place, h, s=s, relevance=used, real=False)
            if self.config.match_norm and real is not None:
                moved = challenging.matched(h, moved, self._moved(step, place, h, s=s, relevance=real, real=True))
        if self.config.prob_per == "sample":
            moved = moved.where(per_sample(self.chosen(step), h), h)
        self._report(step, h.detach(), moved.detach(), used)
        return moved.to(h.dtype)

    def _moved(self, step: Step, place: str, h: Tensor, *, s: Tensor, relevance: Tensor, real: bool) -> Tensor:
        config, axis, valid = self.config, self._axes[place], self._valid(step, place, h)
        relevance = relevance if valid is None else relevance * valid
        r = challenging.summed(relevance, config.granularity, axis)
        counts = None if valid is None else challenging.some(valid.expand_as(h), config.granularity, axis)
        r = challenging.weights(r, config.select or "soft", config.share, counts)
        if not real and config.map_source not in ("real", "init_frozen"):
            there = h.detach() != 0 if valid is None else (h.detach() != 0) & valid
            active = challenging.some(there, config.granularity, axis)
            counts = torch.ones_like(active) if counts is None else counts
            draws = step.generator(f"challenger/control/{place}")
            r = challenging.controlled(r, config.map_source, config.select or "soft", active, counts, generator=draws)
        draws = step.generator(f"challenger/transform/{place}")
        return challenging.challenged(h, r, s, config.transform, generator=draws, valid=valid)

    def _valid(self, step: Step, place: str, h: Tensor) -> Tensor | None:
        """Return which positions are no padding and no separators, broadcast to h; None where all are real."""
        text = not step.batch.x.is_floating_point()
        valid = tokens.real(step.batch.x) if text else step.batch.valid
        if valid is None or h.ndim != 3:
            return None
        positions = 2 if self._axes[place] == 1 else 1
        return valid.unsqueeze(3 - positions) if h.shape[positions] == valid.shape[1] else None

    def _report(self, step: Step, h: Tensor, moved: Tensor, relevance: Tensor) -> None:
        """Log, of some steps, how far samples were moved, relative to their norm, and where no evidence was found."""
        if self._count(step) % REPORT_EVERY != 1:
            return
        norms = h.flatten(1).norm(dim=1)
        step.reports["challenger/change"] = ((moved - h).flatten(1).norm(dim=1) / norms.clamp_min(EPS)).mean()
        positive = relevance.detach().flatten(1) > 0
        step.reports["challenger/relevant"] = positive.float().mean()
        step.reports["challenger/silent"] = (~positive.any(1)).float().mean()

    def penalty(self, step: Step) -> dict[str, Tensor]:
        """Return ``{"ce": lambda * CE(challenged)}``, the other part of equation (6), or ``{"kl": weight * KL}``."""
        if self.name not in step.views:
            return {}
        logits, weight = step.views[self.name], self.strength(step.epoch)
        losses = step.cross_entropy(logits)
        self.guard.see(losses.mean(), step.losses.mean(), step.logits, step.batch.y)
        step.reports["challenger/acc"] = 100 * (logits.argmax(1) == step.batch.y).float().mean()
        if self.config.loss == "kl":
            return {"kl": weight * kl_consistency(step.logits, logits)}
        return {"ce": weight * losses.mean()}

    def epoch_start(self, network: nn.Module, epoch: int) -> None:
        """Warn, once, where the epochs so far show that training has collapsed.

        Raises:
            UserError: clean and challenged steps can't take turns over epochs of unknown length.
        """
        del network, epoch
        if self.config.loss == "alternate" and self.steps_per_epoch is None:
            raise UserError(
                f"method.{self.name}.loss=alternate must know how many steps an epoch has: give the Trainer a loader "
                "that has a length, or choose loss=mix."
            )
        self._warn()

    def epochs_end(self, network: nn.Module, phase: Phase) -> None:
        """Warn, once, where the phase shows that training has collapsed."""
        del network, phase
        self._warn()

    def _warn(self) -> None:
        new = [line for line in self.guard.warnings() if line not in self.notes]
        for line in new:
            warnings.warn(line, FeedbackWarning, stacklevel=2)
        self.notes = (*self.notes, *new)


class Challenger(PresetModule):
    """LightningModule for Challenger."""

    feedback_class: ClassVar[type[Feedback]] = ChallengerFeedback
