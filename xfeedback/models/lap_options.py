"""Options of local attention pooling. Light: importing this module imports no torch."""

from dataclasses import dataclass
from typing import Literal

from xfeedback.config import require

AlphaParam = Literal["square", "softplus", "clamp"]
Merge = Literal["shared_max", "channel_groups", "per_concept_mean", "per_concept_concat", "channel"]
Scorer = Literal["1x1", "1x1-bn-relu-1x1", "3x3-bn-relu-1x1", "lip"]
ScoreAct = Literal["sigmoid", "identity", "softplus"]


@dataclass(frozen=True, kw_only=True)
class PoolOptions:
    """How a window is pooled: equations (1) to (5) of `docs/methods/lap.md`.

    Attributes:
        p: exponent of the distance to the window's largest score: 1 is a softmax, 2 a Gaussian.
        normalize: divide the weights by their sum; false: by the number of cells of a window.
        eps_out: added to the output.
        channel_bug: compare each cell with the maximum of the channel that the one public program takes by mistake.
        alpha_init: sharpness at the start; 0 with ``alpha_trainable=false`` is average pooling. None: 3 for sigmoid
            scores, 0.1 for others.
        alpha_param: how the trained number becomes alpha >= 0: its magnitude (``square``), ``softplus``, or ``clamp``.
            None: ``square``, and ``softplus`` for p = 1.
        alpha_trainable: whether alpha is trained.
        alpha_scope: one alpha for the layer, each concept, or each channel.
        score_source: scores from a small ``learned`` network or from the ``activation`` of each channel itself.
        scorer: the small network; ``lip``: that of local importance-based pooling.
        scorer_hidden_cap: most hidden channels of the scorer, which are a quarter of the input's; None: no limit.
        score_act: what bounds the scores.
        score_scale: factor of the scores after ``score_act``.
        merge: how the concepts' scores become weights of the channels.
        detach_scores: the class loss does not train the scorer.
        freeze_scorer: nothing trains the scorer: a control.
    """

    p: Literal[1, 2] = 2
    normalize: bool = True
    eps_out: float = 0.0
    channel_bug: bool = False
    alpha_init: float | None = None
    alpha_param: AlphaParam | None = None
    alpha_trainable: bool = True
    alpha_scope: Literal["layer", "concept", "channel"] = "layer"
    score_source: Literal["learned", "activation"] = "learned"
    scorer: Scorer = "1x1-bn-relu-1x1"
    scorer_hidden_cap: int | None = None
    score_act: ScoreAct = "sigmoid"
    score_scale: float = 1.0
    merge: Merge = "shared_max"
    detach_scores: bool = False
    freeze_scorer: bool = False

    def __post_init__(self) -> None:
        if self.alpha_param is None:
            object.__setattr__(self, "alpha_param", "softplus" if self.p == 1 else "square")
        if self.alpha_init is None:
            bounded = self.score_source == "learned" and self.score_act == "sigmoid"
            object.__setattr__(self, "alpha_init", 3.0 if bounded else 0.1)
        self._check()

    def _check(self) -> None:
        above = self.alpha_param != "softplus" or (self.alpha_init or 0) > 0
        require((self.alpha_init or 0) >= 0 and above, "alpha_init", self.alpha_init, "0 or more, above 0 for softplus")
        require(self.eps_out >= 0, "eps_out", self.eps_out, "0 or more")
        require(self.score_scale > 0, "score_scale", self.score_scale, "above 0")
        cap = self.scorer_hidden_cap
        require(cap is None or cap >= 1, "scorer_hidden_cap", cap, "1 or more, or null")
        activation = self.score_source == "activation"
        require(not activation or self.merge == "channel", "merge", self.merge, "channel for score_source=activation")
        require(not self.channel_bug or (activation and self.p == 2), "channel_bug", True, "false but for the old form")
        one_map = self.merge in ("shared_max", "channel")
        concept = self.alpha_scope == "concept" and one_map
        require(not concept, "alpha_scope", "concept", f"layer or channel for merge={self.merge}")
        per_channel = self.alpha_scope == "channel" and not one_map
        require(not per_channel, "alpha_scope", "channel", f"layer or concept for merge={self.merge}")
