"""Options of Challenger. Light: importing this module imports no torch."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from xfeedback.config import require
from xfeedback.explain.relevance_maps import Attribution, Explained
from xfeedback.feedback.options import FeedbackConfig

HARD = ("top_k_zero", "top_k_noise", "mean", "swap")
"""Transforms that replace what is selected, whatever the strength."""

SELECTS = {"subtract": ("signed",), **dict.fromkeys(HARD, ("top_k", "quantile"))}
SOFT = ("soft", "top_k", "quantile")


@dataclass(frozen=True, kw_only=True)
class ChallengerConfig(FeedbackConfig):
    """Options of Challenger (Tomani and Cremers 2022); the defaults are this project's reading of the abstract.

    Attributes:
        variant: ``clean``; ``paper`` is refused: the paper's text is not available.
        site: where a step is challenged: at one place drawn from ``sites``, at the ``input``, at one ``hidden`` layer
            (``site_index``), or at ``all`` of them at once.
        sites: the places: ``input`` and dotted names of layers; None: the input and the ends of the network's blocks.
        site_index: which of the hidden places, in their order, for ``site=hidden``; -1: the last.
        attribution: what relevance is: gradient times input, its rivals, or LRP with one rule or a composite.
        target: whose evidence it is: of the label, of the prediction, of a class drawn from the softmax, or of the
            label's margin over the largest other logit.
        granularity: one weight for each element, each position (all channels of a pixel, a token, a time step), or each
            channel.
        select: from relevance to weights: ``soft``, ``signed``, ``top_k``, ``quantile``; None: as the transform needs.
        share: of the elements that ``top_k`` and ``quantile`` select.
        transform: what is done to the relevant elements.
        strength: how each sample's strength s is drawn: uniform in [s_min, s_max], ``fixed`` at s_max, one of ten
            levels from 0 to s_max, or ``ramp``: s_max, rising linearly over ``strength_epochs``.
        s_min: least strength.
        s_max: largest strength; 0 switches the method off.
        strength_epochs: for ``strength=ramp``.
        loss: ``mix`` of clean and challenged cross-entropy, ``challenged_only``, ``kl`` between the two predictions, or
            ``alternate``: one step clean, the next challenged.
        lambda_challenge: share of the challenged cross-entropy in ``mix``.
        lambda_kl: weight of the divergence in ``kl``.
        detach_feature: the challenged loss trains only what comes after the challenged place.
        grad_through_map: train through the relevance too (second order; gradient times input only).
        attr_mode: relevance in evaluation mode, or of the clean training pass.
        share_forward: ``auto``: where both modes agree (no BatchNorm, no dropout) relevance is taken from the clean
            training pass, which saves a forward pass.
        bn_challenged: whether the challenged pass moves running statistics.
        dropout: the challenged pass draws its own masks, or repeats the clean pass's.
        prob: share of the batches (or samples) that are challenged.
        prob_per: what ``prob`` counts.
        map_source: the real relevance, or a control in its place.
        match_norm: rescale a control's change to the norm of the real one; None: for controls.
        epsilon: of LRP.
        gamma: of LRP.
        alpha: of LRP.
        batch_norm: how LRP treats BatchNorm.
        input_rule: LRP's rule of the layers that read the input; None: ``flat`` for the composite, else like the rest.
        allow_collapse: allow the pair that can delete all evidence in every step.
    """

    younger: ClassVar[tuple[str, ...]] = ()
    variant: Literal["clean", "paper"] = "clean"
    site: Literal["random", "input", "hidden", "all"] = "random"
    sites: tuple[str, ...] | None = None
    site_index: int = -1
    attribution: Attribution = "grad_x_input"
    target: Explained = "true"
    granularity: Literal["element", "position", "channel"] = "element"
    select: Literal["soft", "signed", "top_k", "quantile"] | None = None
    share: float = 0.1
    transform: Literal["attenuate", "amplify", "symmetric", "subtract", "top_k_zero", "top_k_noise", "mean", "swap"] = (
        "attenuate"
    )
    strength: Literal["uniform", "fixed", "levels10", "ramp"] = "uniform"
    s_min: float = 0.0
    s_max: float = 2.0
    strength_epochs: int = 10
    loss: Literal["mix", "challenged_only", "kl", "alternate"] = "mix"
    lambda_challenge: float = 0.5
    lambda_kl: float = 1.0
    detach_feature: bool = False
    grad_through_map: bool = False
    attr_mode: Literal["eval", "train"] = "eval"
    share_forward: Literal["auto", "never"] = "auto"
    bn_challenged: Literal["no_update", "update"] = "no_update"
    dropout: Literal["independent", "shared"] = "independent"
    prob: float = 1.0
    prob_per: Literal["batch", "sample"] = "batch"
    map_source: Literal[
        "real", "shuffled", "shuffled_active", "random_place", "uniform", "other_sample", "init_frozen"
    ] = "real"
    match_norm: bool | None = None
    epsilon: float = 1e-6
    gamma: float = 0.25
    alpha: float = 2.0
    batch_norm: Literal["affine", "fold", "pass"] = "affine"
    input_rule: Literal["flat", "w2"] | None = None
    allow_collapse: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        known = "clean: the paper's text is not available"
        require(self.variant == "clean", "variant", self.variant, known)
        for name in ("prob", "lambda_challenge"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "in [0, 1]")
        for name in ("s_min", "lambda_kl", "epsilon", "gamma"):
            require(0 <= getattr(self, name) < float("inf"), name, getattr(self, name), "0 or more")
        require(
            self.s_min <= self.s_max < float("inf"), "s_max", self.s_max, f"at least s_min={self.s_min}, and finite"
        )
        require(0 < self.share <= 1, "share", self.share, "above 0 and at most 1")
        for name in ("strength_epochs", "alpha"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.sites is None or len(self.sites) > 0, "sites", self.sites, "null or a list of places")
        self._fill_in()
        self._check_pairs()

    def _fill_in(self) -> None:
        allowed = SELECTS.get(self.transform, SOFT)
        if self.select is None:
            object.__setattr__(self, "select", allowed[0])
        if self.match_norm is None:
            object.__setattr__(self, "match_norm", self.map_source != "real")
        require(self.select in allowed, "select", self.select, f"{' or '.join(allowed)} for transform={self.transform}")

    def _check_pairs(self) -> None:
        gradient = self.attribution == "grad_x_input"
        through = "false unless attribution=grad_x_input, map_source=real"
        real = self.map_source == "real"
        require(not self.grad_through_map or (gradient and real), "grad_through_map", self.grad_through_map, through)
        lrp = self.attribution.startswith("lrp_")
        require(self.attr_mode == "eval" or not lrp, "attr_mode", self.attr_mode, "eval for LRP")
        require(self.input_rule is None or lrp, "input_rule", self.input_rule, "null without LRP")
        fgsm = self.attribution == "fgsm"
        require(not fgsm or real, "map_source", self.map_source, "real for attribution=fgsm")
        collapse = self.loss == "challenged_only" and self.transform in HARD and self.site != "input"
        why = "mix, or allow_collapse=true: deleting all evidence in every step leaves nothing to learn from"
        require(self.allow_collapse or not collapse, "loss", self.loss, why)

    @property
    def switched_off(self) -> bool:
        """Whether nothing can ever be challenged."""
        return self.prob == 0 or (self.s_max == 0 and self.transform not in HARD)
