"""Where the relevance that Challenger follows comes from: the clean pass, what it lacks, or a pass of its own."""

import copy
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from xfeedback.errors import UserError
from xfeedback.explain.lrp import COMPOSITES, Rules
from xfeedback.explain.relevance_maps import attributed, explained, loss_of, relevance_maps
from xfeedback.explain.sites import INPUT, Start, derivatives_behind, tensor_of
from xfeedback.feedback.challenge import ChallengerConfig
from xfeedback.feedback.step import Step
from xfeedback.models.layers import explained_layer
from xfeedback.models.quiet import Quiet, quiet_part
from xfeedback.models.running import resting_statistics
from xfeedback.models.stages import Trace, before, noiseless
from xfeedback.models.text_base import TextNetwork


class RelevancePass:
    """R of a network at some places; equation (2) of `docs/methods/challenger.md` and its alternatives.

    Args:
        config: options of Challenger.
        network: whose relevance; tried out on the example.
        example: one input ``(1, ...)``.
        found: what a forward pass of the example did.
        places: ``input`` and dotted names of layers.

    Attributes:
        layers: whose outputs a step must hold.
        input_gradient: whether a step's input must admit gradients.

    Raises:
        UserError: the network can't be explained in this way.
    """

    def __init__(
        self, config: ChallengerConfig, network: nn.Module, example: Tensor, found: Trace, places: Sequence[str]
    ) -> None:
        self.config, self.rules = config, _lrp_rules(config)
        self._cam_layer: str | None = None
        if config.attribution == "grad_cam":
            if example.ndim != 4:
                raise UserError("method.challenger.attribution=grad_cam needs images; choose grad_x_input.")
            self._cam_layer = explained_layer(network, example)
        self._by_gradient = self.rules is None and config.attribution != "grad_cam"
        asked = config.attr_mode == "train" or config.grad_through_map
        frozen, auto = config.map_source == "init_frozen", config.share_forward == "auto"
        self._shares = self._by_gradient and not frozen and (asked or (auto and noiseless(network, example)))
        quiet = auto and not (self._shares or asked or frozen)
        self._quiet: Quiet | None = quiet_part(network, found) if quiet else None
        self._prefixes = self._computed_before(places, found)
        clean = self._shares or (self._by_gradient and self._quiet is not None)
        self.input_gradient = INPUT in places and clean
        self.layers = {name for names in self._prefixes.values() for name in names}
        self._untrained = copy.deepcopy(network).requires_grad_(False).eval() if frozen else None
        self._run(network, found.x.detach(), places, loss_of(torch.zeros(1, dtype=torch.long)))

    def _computed_before(self, places: Sequence[str], found: Trace) -> dict[str, tuple[str, ...]]:
        """Return by place the layers of the clean pass that serve here: those up to the place, or the quiet part."""
        quiet = self._quiet
        if quiet is None or self._by_gradient:
            return dict.fromkeys(places, () if quiet is None else quiet.layers)
        return {p: before(found, p) if p in quiet.places else quiet.layers for p in places}

    def __call__(self, step: Step, places: Sequence[str], *, real: bool) -> dict[str, Tensor]:
        """Return R at each place, detached unless ``grad_through_map``.

        Args:
            step: the training step.
            places: where.
            real: of the network itself; else as ``map_source`` says.
        """
        config, y = self.config, step.batch.y
        start = partial(explained, y=y, what=config.target, generator=step.generator("challenger/target"))
        if config.attribution == "fgsm":
            start = loss_of(y)
        if not real and self._untrained is not None:
            like = next(step.network.parameters())
            untrained = self._untrained.to(like.device, like.dtype)
            x = untrained.embed(step.batch.x) if isinstance(untrained, TextNetwork) else step.x
            return self._run(untrained, x, places, start)
        narrow = torch.is_autocast_enabled(step.x.device.type) and config.attr_mode == "eval"
        if self._shares and not narrow:
            return self._of_clean_pass(step, places, start)
        if self._quiet is not None and not narrow:
            return self._behind(step, places, start, self._quiet)
        chosen = (config.attribution, config.target, config.attr_mode)
        if places == (INPUT,) and chosen == ("grad_x_input", "true", "eval"):
            return {INPUT: step.x.detach() * step.evaluation_gradient("logit", y, "true")}
        return self._run(step.network, step.x, places, start)

    def _of_clean_pass(self, step: Step, places: Sequence[str], start: Start) -> dict[str, Tensor]:
        values = [step.x if place == INPUT else tensor_of(step.features[place]) for place in places]
        through = self.config.grad_through_map
        grads = torch.autograd.grad(start(step.logits).sum(), values, retain_graph=True, create_graph=through)
        if not through:
            values = [value.detach() for value in values]
        found = zip(places, values, grads, strict=True)
        return {place: attributed(value, grad, self.config.attribution) for place, value, grad in found}

    def _behind(self, step: Step, places: Sequence[str], start: Start, quiet: Quiet) -> dict[str, Tensor]:
        """Compute only what the clean pass has not."""
        if self._by_gradient:
            found = derivatives_behind(step.network, step.x, places, start, features=step.features, quiet=quiet)
            return {place: attributed(*pair, self.config.attribution) for place, pair in found.items()}
        names = self._prefixes[places[0]] if INPUT not in places and len(places) == 1 else ()
        return self._run(step.network, step.x, places, start, {name: step.features[name] for name in names})

    def _run(
        self,
        network: nn.Module,
        x: Tensor,
        places: Sequence[str],
        start: Start,
        known: Mapping[str, Any] | None = None,
    ) -> dict[str, Tensor]:
        config = self.config
        rules = self.rules if self.rules is None or INPUT in places else replace(self.rules, first=None)
        with nullcontext() if config.attr_mode == "eval" else resting_statistics(network):
            return relevance_maps(
                network,
                x,
                places,
                start,
                config.attribution,
                rules=rules,
                cam_layer=self._cam_layer,
                training=config.attr_mode == "train",
                known=known,
            )


def _lrp_rules(config: ChallengerConfig) -> Rules | None:
    """Return LRP's rules with the options' constants; None for attributions by gradients."""
    if not config.attribution.startswith("lrp_"):
        return None
    base = COMPOSITES[config.attribution.removeprefix("lrp_")]
    constants = {name: getattr(config, name) for name in ("epsilon", "gamma", "alpha", "batch_norm")}
    return replace(base, first=config.input_rule or base.first, **constants)
