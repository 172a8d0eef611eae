"""XAI-Increment (Mazumder et al. 2022): mistakes weigh more, the further LIME's two explanations of them lie apart.

Equations (1) to (8), options and what is unknown of the paper: `docs/methods/xai_increment.md`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from xfeedback.config import require
from xfeedback.errors import TrainingError
from xfeedback.explain.chunks import Chunk
from xfeedback.explain.compare import Distance
from xfeedback.explain.lime import Hide, Lime, Sampling
from xfeedback.explain.segments import Kind, Segmenter
from xfeedback.feedback import Feedback, FeedbackConfig, PresetModule, Step
from xfeedback.feedback.mistakes import Comparison, Mistakes, Normalise, find_mistakes
from xfeedback.seeding import derive, generator
from xfeedback.types import Batch, Phase

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"sampling": "bernoulli", "n_masks": 15, "slic_channels": 3, "index_bug": True},
    "clean": {"sampling": "exhaustive", "n_masks": 1024, "slic_channels": 1, "index_bug": False},
}
Mode = Literal["lime", "trad", "constant", "shuffled_lime", "loss", "margin", "same_class"]


@dataclass(frozen=True, kw_only=True)
class XaiIncrementConfig(FeedbackConfig):
    """Options of the weighted loss; None means: as the variant says.

    Attributes:
        variant: ``clean`` as we recommend, ``paper`` as the released program behaves.
        scale: factor of all that is added to weights of 1; 0 is plain training.
        mode: what a mistake's weight is: ``lime`` offset + d; ``trad`` the same as all others; or a control:
            ``constant`` the mean of d; ``shuffled_lime`` the d of another mistake; ``loss``, ``margin`` and
            ``same_class`` (two explanations of the true class, different masks) rescaled to the mean of d.
        base: weight of all samples that are no mistakes, and of all for ``trad``; None: 1, but 0.5 for ``trad`` as the
            paper's program has it.
        offset: what d is added to.
        distance: d between normalised explanations.
        normalise: ``shift_scale``, or ``none`` for raw coefficients.
        eps: least denominator of the normalisation.
        segments: what is hidden: superpixels, cells, bands of time, tokens; ``auto``: by the kind of input.
        n_segments: number of superpixels or bands.
        grid: rows and columns of cells; series: parts of time and of features.
        compactness, sigma: of SLIC.
        slic_channels: channels of zeros are appended up to this number before SLIC; 3 are taken for a colour image.
        sampling: all masks (``exhaustive``), fair coins (``bernoulli``), or pairs with complements (``antithetic``).
        n_masks: how many are drawn.
        exhaustive_up_to: segments up to which all masks are taken; above, ``antithetic`` pairs.
        include_original: make the first drawn mask show all.
        hide: hidden segments are 0 in the network's input, or their mean.
        kernel_width: of the cosine kernel.
        ridge: penalty of the surrogate; the ``lime`` package has 1.
        index_bug: segment j follows mask entry j + 1, and the last segment is always hidden.
        noise_masks: masks of each of the two draws of ``same_class``.
        refresh_epochs: ordinary training: epochs from one computation to the next; 0: once.
        chunk: masked inputs a forward: a number, ``auto`` (same on all machines) or ``measured`` (fastest here).
        warmup_epochs: ordinary training: plain epochs before the first computation. Phases need none.
    """

    warms_up_in_phases: ClassVar[bool] = False
    variant: Literal["clean", "paper"] = "clean"
    scale: float = 1.0
    mode: Mode = "lime"
    base: float | None = None
    offset: float = 1.0
    distance: Distance = "sq_euclid"
    normalise: Normalise = "shift_scale"
    eps: float = 1e-8
    segments: Kind = "auto"
    n_segments: int = 10
    grid: tuple[int, ...] = (3, 3)
    compactness: float = 10.0
    sigma: float = 1.0
    slic_channels: int | None = None
    sampling: Sampling | None = None
    n_masks: int | None = None
    exhaustive_up_to: int = 10
    include_original: bool = False
    hide: Hide = "zero"
    kernel_width: float = 0.25
    ridge: float = 0.0
    index_bug: bool | None = None
    noise_masks: int = 15
    refresh_epochs: int = 5
    chunk: Chunk = "auto"
    warmup_epochs: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        halved = self.variant == "paper" and self.mode == "trad"
        for name, value in {**PRESETS[self.variant], "base": 0.5 if halved else 1.0}.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for name in ("scale", "base", "offset", "refresh_epochs"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(self.eps > 0, "eps", self.eps, "above 0")
        require(self.noise_masks >= 2, "noise_masks", self.noise_masks, "2 or more")
        require(isinstance(self.chunk, str) or self.chunk >= 1, "chunk", self.chunk, "1 or more, auto or measured")
        self.explainer()

    def explainer(self, seed: int = 0, **changed: Any) -> Lime:
        """Return LIME with these options; ``seed`` keys its masks."""
        segmenter = Segmenter(
            kind=self.segments,
            n=self.n_segments,
            grid=self.grid,
            compactness=self.compactness,
            sigma=self.sigma,
            channels=self.slic_channels or 1,
        )
        names = ("sampling", "n_masks", "exhaustive_up_to", "include_original", "hide", "kernel_width", "ridge")
        options = {name: getattr(self, name) for name in (*names, "index_bug", "chunk")}
        return Lime(segmenter=segmenter, seed=seed, **(options | changed))


class XaiIncrementFeedback(Feedback[XaiIncrementConfig]):
    """Give a training sample that the network got wrong a weight of 1 plus the distance of two explanations of it.

    In phases: those samples that a phase adds to the training set, once, before its first step. In ordinary training,
    which is one phase: all samples that the network gets wrong after ``warmup_epochs``, anew every ``refresh_epochs``.
    Without any announced phase (:meth:`phase_start`): the present batch's mistakes, at each step.

    Attributes:
        weights: of each sample by its index ``(N,)``, or None before the first computation; part of checkpoints.
        distances: d by index ``(N,)``, NaN where there is none; likewise.
    """

    name = "xai_increment"
    Config = XaiIncrementConfig
    strength_option = "scale"
    compiles = True
    takes = ("image", "series", "text")
    weights: Tensor | None
    distances: Tensor | None

    def __init__(self, config: XaiIncrementConfig | None = None) -> None:
        super().__init__(config)
        self.register_buffer("weights", None)
        self.register_buffer("distances", None)
        self._samples: Iterable[Batch] | None = None
        self._known: dict[str, Tensor] | None = None
        self._in_phases = False
        self.stamps = () if self.config.mode == "lime" else (f"control=mode_{self.config.mode}",)
        self._use(seed=0)

    def _use(self, seed: int) -> None:
        config = self.config
        self._seed = seed
        self._lime = config.explainer(seed)
        self._noise = config.explainer(derive(seed, "noise"), sampling="bernoulli", n_masks=config.noise_masks)

    def strength(self, epoch: int) -> float:
        """Return the weight in ``epoch``; in phases there is no warm-up, and nothing to do where none is added."""
        if self._in_phases:
            return self.full_strength if self.weights is not None or self.config.base != 1 else 0.0
        return super().strength(epoch)

    def phase_resume(self, network: nn.Module, phase: Phase) -> None:
        """Keep what a phase has of samples, and nothing else; weights are in the checkpoint."""
        del network
        self._use(phase.seed)
        self._in_phases = phase.count > 1
        self._samples = phase.added if self._in_phases else phase.ordered or phase.train
        if self._in_phases and phase.number and not phase.added:
            self.notes = (f"method={self.name} weighted nothing in phase {phase.name}: no samples were added to it",)

    def phase_start(self, network: nn.Module, phase: Phase) -> None:
        """Weigh what a phase adds; of an only phase, keep its samples for later.

        Raises:
            TrainingError: a weight is not finite.
        """
        self.phase_resume(network, phase)
        self.weights = self.distances = None
        if self._in_phases and self._samples and self.full_strength > 0:
            self._keep(self._measure(network, self._samples), "epoch 0, step 0")

    def sample_weights(self, step: Step) -> Tensor | None:
        """Return 1 + strength (w - 1) of each sample ``(B,)``, with w of equation (6).

        Raises:
            TrainingError: a weight is not finite.
        """
        where = f"epoch {step.epoch}, step {step.number}"
        if self._samples is None:
            own = replace(step.batch, index=torch.arange(len(step.batch), device=step.losses.device))
            weights = self._weights(self._measure(step.network, [own]), len(own), where)
        else:
            if not self._in_phases and self._due(step):
                self._keep(self._measure(step.network, self._samples), where)
            weights = self._kept(step.batch.index)
        step.reports |= {f"{self.name}/{name}": value for name, value in self._figures().items()}
        step.reports[f"{self.name}/sample_weight"] = weights.mean()
        return (1 + self.strength(step.epoch) * (weights - 1)).to(step.losses.dtype)

    def _due(self, step: Step) -> bool:
        """Whether weights are computed at this step of ordinary training: the first of some epochs."""
        since, every = step.epoch - self.config.warmup_epochs, self.config.refresh_epochs
        return self.weights is None or (step.number == 0 and not (since % every if every else since))

    def _measure(self, network: nn.Module, batches: Iterable[Batch]) -> Mistakes:
        config = self.config
        compared = Comparison(distance=config.distance, normalise=config.normalise, eps=config.eps)

        def measure(batch: Batch, predicted: Tensor) -> tuple[Tensor, Tensor]:
            maps = self._lime.explain(network, batch.x, batch.valid)
            d = compared.of(maps, maps, (predicted, batch.y))
            if config.mode != "same_class":
                return d, torch.zeros_like(d)
            one, two = (self._noise.explain(network, batch.x, batch.valid, draw=draw) for draw in (0, 1))
            return d, compared.of(one, two, (batch.y, batch.y))

        return find_mistakes(network, batches, None if config.mode == "trad" else measure)

    def _weights(self, found: Mistakes, n: int, where: str) -> Tensor:
        """Return w by index ``(n,)`` float32; equation (6)."""
        config = self.config
        weights = torch.full((n,), float(config.base or 0.0), dtype=torch.float64, device=found.index.device)
        if config.mode != "trad":
            extra = found.surcharge(config.mode, generator("cpu", self._seed, "shuffled_lime", where))
            weights[found.index] = config.offset + extra
        if not torch.isfinite((self.full_strength * (weights - 1)).float()).all():
            raise TrainingError(f"not finite at {where}: term '{self.name}/weight'. Lower method.{self.name}.scale.")
        return weights.float()

    def _keep(self, found: Mistakes, where: str) -> None:
        n = int(found.index.max()) + 1 if len(found) else 1
        self.weights = self._weights(found, n, where)
        self.distances = torch.full_like(self.weights, torch.nan)
        self.distances[found.index] = found.distances.float()
        self._known = None

    def _kept(self, index: Tensor) -> Tensor:
        """Return w of the samples ``index`` ``(B,)``; those beyond the last mistake are none."""
        base = torch.full(index.shape, float(self.config.base or 0.0), device=index.device)
        if self.weights is None:
            return base
        return torch.where(index < len(self.weights), self.weights[index.clamp_max(len(self.weights) - 1)], base)

    def _figures(self) -> dict[str, Tensor]:
        """Return how many mistakes there are, and mean and standard deviation of d over them."""
        if self._known is None and self.distances is not None:
            d = self.distances[~self.distances.isnan()]
            d_or_0 = d if len(d) else d.new_zeros(1)
            self._known = {
                "mistakes": d.new_tensor(float(len(d))),
                "distance_mean": d_or_0.mean(),
                "distance_sd": d_or_0.std(correction=0),
            }
        return self._known or {}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any, **named: Any) -> None:
        for name in ("weights", "distances"):
            found, present = state_dict.get(prefix + name), getattr(self, name)
            device = None if present is None else present.device
            setattr(self, name, None if found is None else torch.empty_like(found, device=device))
        self._known = None
        super()._load_from_state_dict(state_dict, prefix, *rest, **named)


class XaiIncrement(PresetModule):
    """LightningModule for XAI-Increment's weighted loss."""

    feedback_class: ClassVar[type[Feedback]] = XaiIncrementFeedback
