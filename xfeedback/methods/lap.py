"""LAP, attention pooling with knowledge injection (Ghavami Modegh et al. 2022), in a reading of our own.

The paper's body was not at hand; equations (1) to (17), what is known and what is our choice: `docs/methods/lap.md`.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfeedback.config import require
from xfeedback.feedback import Feedback, FeedbackConfig, PresetModule, Step
from xfeedback.feedback.regions import right_region, wrong_region
from xfeedback.losses import knowledge as losses
from xfeedback.models.lap import sites
from xfeedback.models.lap_options import PoolOptions
from xfeedback.models.recalibrate import recalibrate
from xfeedback.models.rows import Row, RowOptions
from xfeedback.models.running import altered, hold, mode, trained_outside
from xfeedback.models.surgery import Preset, add_attention_branch, extend, in_shortcut
from xfeedback.precision import widened
from xfeedback.types import Phase

OLD_FORM = PoolOptions(
    normalize=False,
    eps_out=1e-7,
    alpha_init=0.1,
    alpha_param="clamp",
    score_source="activation",
    score_act="identity",
    merge="channel",
)
"""The form of the only public program, by somebody else, unverified."""


@dataclass(frozen=True, kw_only=True)
class KnowledgeOptions:
    """Weights and forms of the knowledge losses; equations (6) to (14).

    Attributes:
        clue: the label's map is active somewhere, the others nowhere.
        uniq: the maps don't overlap.
        ratio: the active share of a present class's map lies between ``ratio_low`` and ``ratio_high``, of others at 0.
        white: the label's map is active in the annotated region and nowhere else.
        black: no map is active in the wrong region, nor within ``black_margin`` of it.
        box_mil: the label's map touches each row and column of the annotated box.
        cons: neighbouring sites agree.
        kd: the changed network predicts what the unchanged one did when training began.
        presence: how cells become the presence of a class.
        top_share: share of the cells that ``top`` and ``white`` look at.
        ratio_low, ratio_high: bounds of ``ratio``.
        white_level: how active the annotated region should be.
        negative_class: images of this class hold nothing: ``ratio`` counts every map as absent; None: no such class.
        late_sites: how many of the last sites on the main path all but ``clue``, ``cons`` and ``kd`` act on.
        mask_to_grid: cells of a site that belong to a region: at least half covered, or touched.
        black_margin: pixels by which the wrong region is widened: cells beside it see it as well.
    """

    younger: ClassVar[tuple[str, ...]] = ("black_margin",)

    clue: float = 0.5
    uniq: float = 0.1
    ratio: float = 0.1
    white: float = 0.0
    black: float = 0.0
    box_mil: float = 0.0
    cons: float = 0.0
    kd: float = 0.0
    presence: losses.Presence = "top"
    top_share: float = 0.05
    ratio_low: float = 0.02
    ratio_high: float = 0.5
    white_level: float = 0.7
    negative_class: int | None = None
    late_sites: int = 2
    mask_to_grid: Literal["area50", "any"] = "area50"
    black_margin: int = 0

    def __post_init__(self) -> None:
        for name in ("clue", "uniq", "ratio", "white", "black", "box_mil", "cons", "kd", "black_margin"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(0 < self.top_share <= 1, "top_share", self.top_share, "above 0 and at most 1")
        ordered = 0 <= self.ratio_low <= self.ratio_high <= 1
        require(ordered, "ratio_low", self.ratio_low, "between 0 and ratio_high, which is at most 1")
        require(self.late_sites >= 1, "late_sites", self.late_sites, "1 or more")


@dataclass(frozen=True, kw_only=True)
class LAPConfig(FeedbackConfig):
    """Options of LAP; None means: as the variant says.

    Attributes:
        variant: ``clean`` as we recommend; ``paper``: the unverified form of the only public program, without losses.
        row: what stands at the sites: attention pooling, or what it is compared with; ``lap`` has
            the knowledge losses, ``abn`` that of its branch, the others none.
        preset: which sites.
        concepts: score maps: one a class (``classes``), a number, or ``auto``: one a class up to 40 classes, else one.
        window: windows of the ``replaced`` operations, or ``2x2`` everywhere.
        pool: form of attention pooling.
        knowledge: factor of these losses; 0: the changed network is trained on cross-entropy alone.
        loss: the knowledge losses.
        frozen_epochs: epochs in which scorers and sharpness alone are trained, for a network that comes trained.
        recalibrate: training images on which BatchNorm's statistics are taken anew at a phase's end; 0: those of
            training stay. Of every row alike, so that comparisons are fair.
    """

    variant: Literal["clean", "paper"] = "clean"
    row: Row = "lap"
    preset: Preset | None = None
    concepts: Literal["auto", "classes"] | int = "auto"
    window: Literal["replaced", "2x2"] | None = None
    pool: PoolOptions = field(default_factory=PoolOptions)
    knowledge: float | None = None
    loss: KnowledgeOptions = field(default_factory=KnowledgeOptions)
    frozen_epochs: int = 0
    recalibrate: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        old = self.variant == "paper"
        defaults = {"preset": "no_global" if old else "full", "window": "2x2" if old else "replaced"}
        for name, value in {**defaults, "knowledge": 0.0 if old else 1.0}.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        if old:
            fixed = self.pool in (PoolOptions(), OLD_FORM) and self.row == "lap"
            require(fixed, "variant", "paper", "clean where row or pool are chosen: paper has its own")
            object.__setattr__(self, "pool", OLD_FORM)
        require((self.knowledge or 0) >= 0, "knowledge", self.knowledge, "0 or more")
        for name in ("frozen_epochs", "recalibrate"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        pool = (self.pool.score_source, self.pool.score_act, self.pool.score_scale, self.pool.merge == "channel")
        mapped = pool == ("learned", "sigmoid", 1.0, False) and self.concepts in ("auto", "classes", 1)
        wanted = "0 unless scores are learned, sigmoid, and one map a class or one in all (concepts=auto, classes, 1)"
        require(mapped or not self.knowledge, "knowledge", self.knowledge, wanted)
        counted = isinstance(self.concepts, str) or self.concepts >= 1
        require(counted, "concepts", self.concepts, "auto, classes, or 1 or more")


class LAPFeedback(Feedback[LAPConfig]):
    """Put attention pooling into the network and knowledge into its scores."""

    name = "lap"
    Config = LAPConfig
    strength_option = "knowledge"
    changes_network = True

    def __init__(self, config: LAPConfig | None = None) -> None:
        super().__init__(config)
        self.teacher: nn.Module | None = None
        self._late: tuple[str, ...] = ()
        self._main: tuple[str, ...] = ()
        self._held: tuple[str, ...] = ()
        known = {"exactness: third_party_unverified": self.config.variant == "paper"}
        known["control=scorer_frozen"] = self.config.pool.freeze_scorer
        self.stamps = tuple(stamp for stamp, holds in known.items() if holds)

    @classmethod
    def annotation_for(cls, config: FeedbackConfig) -> Literal["none", "mask", "wrong"]:
        """Return the right region for ``white`` and ``box_mil``, either region for ``black`` alone, else none."""
        chosen = cast(LAPConfig, config)
        if not chosen.knowledge or chosen.row != "lap":
            return "none"
        if chosen.loss.white or chosen.loss.box_mil:
            return "mask"
        return "wrong" if chosen.loss.black else "none"

    @property
    def full_strength(self) -> float:
        """The factor of the losses; 0 for operations that have none."""
        has_losses = self.config.row in ("lap", "abn") and self.config.preset != "none"
        return float(self.config.knowledge or 0) if has_losses else 0.0

    def prepare(self, network: nn.Module, example: Tensor) -> nn.Module:
        """Change the network's pooling in place and say where; keep a copy of it before that for ``kd``.

        Raises:
            UserError: the network has no such site, or pools by function calls.
        """
        config = self.config
        if config.preset == "none":
            return network
        if config.loss.kd and self.full_strength and config.row == "lap":
            self.teacher = copy.deepcopy(network).requires_grad_(requires_grad=False)
        if config.row == "abn":
            self.layers = (add_attention_branch(network, example),)
            self.notes = (f"lap: attention branch {self.layers[0].removesuffix('.logits')}",)
            return network
        options = RowOptions(pool=config.pool, concepts=config.concepts, window=config.window or "replaced")
        changed = extend(network, config.preset or "full", example=example, row=config.row, options=options)
        kinds = ", ".join(f"{site.name} ({site.kind})" for site in changed)
        self.notes = (f"lap: {len(changed)} sites with row={config.row}: {kinds or 'none'}",)
        if config.row == "lap" and config.knowledge:
            self.layers = tuple(f"{site.name}.scorer" for site in changed)
            self._main = tuple(f"{site.name}.scorer" for site in changed if not in_shortcut(site.name))
            self._late = (self._main or self.layers)[-config.loss.late_sites :]
        return network

    def epoch_start(self, network: nn.Module, epoch: int) -> None:
        """Freeze everything but scorers and sharpness, BatchNorm's statistics included, for ``frozen_epochs``."""
        frozen = epoch < self.config.frozen_epochs
        if frozen and not self._held:
            self._held = trained_outside(network, sites(network))
        hold(network, self._held, still=frozen)
        self._held = self._held if frozen else ()

    def epochs_end(self, network: nn.Module, phase: Phase) -> None:
        """Let everything be trained: what looks at the network between phases must not find it frozen."""
        del phase
        hold(network, self._held, still=False)

    def phase_end(self, network: nn.Module, phase: Phase) -> None:
        """Take BatchNorm's statistics of the selected weights, over the phase's first epoch."""
        if self.config.recalibrate:
            begin = getattr(phase.train, "set_epoch", None)
            if begin is not None:
                begin(0)
            recalibrate(network, phase.train, self.config.recalibrate)

    def penalty(self, step: Step) -> dict[str, Tensor]:
        """Return the weighted terms by name; equation (15)."""
        factor = self.strength(step.epoch)
        if self.config.row == "abn":
            return {"branch": factor * F.cross_entropy(widened(step.features[self.layers[0]]), step.batch.y)}
        with torch.autocast(step.x.device.type, enabled=False):
            scores = {layer: widened(step.features[layer]) for layer in self.layers}
            terms = self._general(step, scores) | self._expert(step, scores)
        return {name: factor * getattr(self.config.loss, name) * value for name, value in terms.items()}

    def _general(self, step: Step, scores: dict[str, Tensor]) -> dict[str, Tensor]:
        """What is known of any image: equations (7) to (9), (13) and (14)."""
        loss, y = self.config.loss, step.batch.y
        late = [scores[layer] for layer in self._late]
        several = late[0].shape[1] > 1
        terms: dict[str, Tensor] = {}
        if loss.clue and several:
            found = [losses.presence(s, loss.presence, loss.top_share) for s in scores.values()]
            terms["clue"] = torch.stack([losses.clue_loss(p, y) for p in found]).mean()
        if loss.uniq and several:
            terms["uniq"] = torch.stack([losses.uniq_loss(s, y) for s in late]).mean()
        if loss.ratio:
            present = self._present(y, late[0].shape[1])
            bounds = (loss.ratio_low, loss.ratio_high)
            terms["ratio"] = torch.stack([losses.ratio_loss(s, present, bounds) for s in late]).mean()
        if loss.cons and len(self._main) > 1:
            main = [scores[layer] for layer in self._main]
            pairs = [losses.consistency_loss(fine, coarse) for fine, coarse in pairwise(main)]
            terms["cons"] = torch.stack(pairs).mean()
        if loss.kd and self.teacher is not None:
            with mode(self.teacher, training=False), torch.no_grad(), altered(self.teacher, *step.inside):
                reference = self.teacher(step.batch.x)
            terms["kd"] = losses.distillation_loss(step.logits, reference).mean()
        return terms

    def _present(self, y: Tensor, concepts: int) -> Tensor:
        """Which classes' maps may be active ``(B, K)``; a single map stands for whatever is there."""
        present = torch.ones_like(y, dtype=torch.bool)[:, None] if concepts == 1 else F.one_hot(y, concepts).bool()
        empty = self.config.loss.negative_class
        return present if empty is None else present & (y != empty)[:, None]

    def _expert(self, step: Step, scores: dict[str, Tensor]) -> dict[str, Tensor]:
        """What an annotation says, of annotated samples alone: equations (10) to (12)."""
        loss, batch = self.config.loss, step.batch
        late = [scores[layer] for layer in self._late]
        terms: dict[str, Tensor] = {}

        def mean(region: Tensor, value: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
            values = []
            for s in late:
                cells = losses.on_grid(region, (s.shape[2], s.shape[3]), loss.mask_to_grid)
                counts = cells.flatten(1).any(1).to(s.dtype)
                values.append((value(s, cells) * counts).sum() / counts.sum().clamp_min(1))
            return torch.stack(values).mean()

        if loss.white or loss.box_mil:
            region = right_region(batch, self.name)
            options = {"level": loss.white_level, "share": loss.top_share}
            if loss.white:
                terms["white"] = mean(region, lambda s, m: losses.white_loss(losses.of_class(s, batch.y), m, **options))
            if loss.box_mil:
                terms["box_mil"] = mean(region, lambda s, m: losses.box_mil_loss(losses.of_class(s, batch.y), m))
        if loss.black:
            terms["black"] = mean(losses.grown(wrong_region(batch, self.name), loss.black_margin), losses.black_loss)
        return terms


def alphas(network: nn.Module) -> dict[str, float]:
    """Return the mean sharpness of each site by name."""
    return {name: float(site.alpha.mean()) for name, site in sites(network).items()}


class LocalAttentionPooling(PresetModule):
    """LightningModule for LAP."""

    feedback_class: ClassVar[type[Feedback]] = LAPFeedback
