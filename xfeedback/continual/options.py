"""Options of phases and of elastic weight consolidation. Light: importing this module imports no torch."""

from dataclasses import dataclass
from typing import Literal

from xfeedback.config import require
from xfeedback.feedback.options import WeightedConfig


@dataclass(frozen=True, kw_only=True)
class PhasesConfig:
    """How training is cut into phases; ordinary training is one.

    Attributes:
        name: ``single``: one phase; ``classes``: each phase has classes of its own; ``portions``: a base phase, then
            equal portions of the rest, stratified; ``mistakes``: the whole training set each time, from the second
            phase on with the samples of the next slice of the pool that the network gets wrong (Mazumder et al. 2022).
        n: how many phases after the first; for ``classes`` how many phases there are.
        base: share of the training set in the first phase of ``portions``.
        base_epochs: epochs of the first phase; None: ``trainer.max_epochs``, as in all others.
        optimiser: state of the optimiser when a phase begins: ``fresh``; ``full``: kept; ``tf_legacy_step``: moments
            anew, step count kept, as in the released program of ``mistakes`` (Adam only).
        outputs: ``shared``: one head that is never told the phase (class-incremental); ``per_phase``: a sample competes
            among its own phase's classes only, in training and in tests (task-incremental).
        replay: ``all``: a phase trains on the data of all phases so far; for ``classes`` and ``portions``.
        order: ``list``: classes by number, the pool in its given order; ``shuffled``: drawn from ``order_seed``.
        order_seed: of orders and portions; the run's seed does not change them.
        holdout: share of the training set that is set aside as validation set, the same for every seed; stratified, or
            by whole groups (speakers) where the data have some. For ``mistakes`` it is drawn beside the pool.
        pool: ``mistakes``: share of the training set that is set aside as pool; None: the data's own validation set.
        split: ``mistakes``: slices of the pool: ``equal`` drops what is left over; ``cut165`` cuts at multiples of
            16.5 %, the last at 100 %, and needs n=6.
        added: ``mistakes`` or, as a control that only trains longer, ``none``.
        keep_old_mistakes: keep those of earlier phases too.
    """

    name: Literal["single", "classes", "portions", "mistakes"] = "single"
    n: int = 5
    base: float = 0.5
    base_epochs: int | None = None
    optimiser: Literal["fresh", "full", "tf_legacy_step"] = "fresh"
    outputs: Literal["shared", "per_phase"] = "shared"
    replay: Literal["none", "all"] = "none"
    order: Literal["list", "shuffled"] = "list"
    order_seed: int = 0
    holdout: float = 0.0
    pool: float | None = None
    split: Literal["equal", "cut165"] = "equal"
    added: Literal["mistakes", "none"] = "mistakes"
    keep_old_mistakes: bool = False

    def __post_init__(self) -> None:
        require(self.n >= 1, "n", self.n, "1 or more")
        require(0 < self.base < 1, "base", self.base, "between 0 and 1")
        require(self.base_epochs is None or self.base_epochs >= 1, "base_epochs", self.base_epochs, "1 or more")
        require(self.order_seed >= 0, "order_seed", self.order_seed, "0 or more")
        require(0 <= self.holdout < 1, "holdout", self.holdout, "at least 0 and below 1")
        require(self.pool is None or 0 < self.pool < 1, "pool", self.pool, "between 0 and 1")
        require(self.split == "equal" or self.n == 6, "n", self.n, "6 for split=cut165")
        only = f"for {' or '.join(_WHERE['outputs'])} only, and not for {self.name}"
        require(self.outputs == "shared" or self.name in _WHERE["outputs"], "outputs", self.outputs, only)
        for option in ("replay", "pool", "added", "keep_old_mistakes"):
            unused = getattr(self, option) == getattr(type(self), option)
            only = f"left as it is for {self.name}; it is for {' and '.join(_WHERE[option])}"
            require(unused or self.name in _WHERE[option], option, getattr(self, option), only)

    @property
    def count(self) -> int:
        """How many phases there are."""
        return {"single": 1, "classes": self.n}.get(self.name, self.n + 1)


_WHERE = {
    "outputs": ("classes",),
    "replay": ("classes", "portions"),
    **dict.fromkeys(("pool", "added", "keep_old_mistakes"), ("mistakes",)),
}


@dataclass(frozen=True, kw_only=True)
class EwcConfig(WeightedConfig):
    """Options of elastic weight consolidation (Kirkpatrick et al. 2017).

    Attributes:
        name: as in ``continual=ewc``.
        weight: lambda; not portable between Fisher estimators, nor between libraries.
        fisher: which estimate of the Fisher information's diagonal (:mod:`xfeedback.continual.fisher`).
        half: the penalty is lambda/2 times the weighted squares; false: lambda times.
        anchors: ``last``: the network is held near its last phase's end; ``all``: near the end of every phase;
            ``online``: as ``last`` with F = gamma F_old + F_new (Schwarz et al. 2018).
        gamma: for ``online``.
        n: draws with replacement for the estimate; None: every sample of the pool once.
        pool: samples the estimate may use: those the anchor's weights get right (``correct``), those that the weights
            of the phase's last epoch get right (``correct_last``), or the phase's whole training set (``all_train``).
        batch_size: samples of a mini-batch of ``fisher=batched``; others only take as many at a time.
    """

    name: Literal["ewc"] = "ewc"
    fisher: Literal["empirical", "true_exact", "true_sampled", "batched", "official"] = "empirical"
    half: bool = True
    anchors: Literal["last", "all", "online"] = "last"
    gamma: float = 0.95
    n: int | None = 4242
    pool: Literal["correct", "correct_last", "all_train"] = "correct"
    batch_size: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.gamma <= 1, "gamma", self.gamma, "from 0 to 1")
        require(self.n is None or self.n >= 1, "n", self.n, "1 or more")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
