"""Set samples of the training set aside, as validation set and as pool, before decoys are planted."""

from dataclasses import replace

import numpy as np

from xfeedback.continual.options import PhasesConfig
from xfeedback.data.source import SPLIT_SEED, Part, Source, stratified
from xfeedback.dtypes import Ints
from xfeedback.errors import UserError


def arrange(config: PhasesConfig, source: Source) -> Source:
    """Return the source with the validation set and the pool that the phases ask for.

    Raises:
        UserError: a validation set is asked for and the data have their own, or a pool and there is nothing for it.
    """
    mistakes = config.name == "mistakes"
    pool = source.val if mistakes and config.pool is None else None
    if mistakes and config.pool is None and pool is None:
        raise UserError("phases=mistakes: these data have no validation set to slice. Set one aside: phases.pool=0.2.")
    if mistakes:
        source = replace(source, val=None)
    elif config.holdout and source.val is not None:
        raise UserError(f"phases.holdout={config.holdout}: these data have their own validation set. Use 0.")
    train = source.train
    if config.pool is not None:
        train, pool = set_aside(train, config.pool)
    stamps = source.stamps if config.pool is None else (*source.stamps, f"pool={config.pool:g}")
    if config.holdout:
        train, val = set_aside(train, config.holdout)
        source, stamps = replace(source, val=val), (*stamps, f"holdout={config.holdout:g}")
    return replace(source, train=train, pool=pool, stamps=stamps)


def set_aside(part: Part, share: float) -> tuple[Part, Part]:
    """Split a share off, the same for every seed: return (what stays, what was set aside).

    Whole groups where the samples have groups, else stratified by class.

    Raises:
        UserError: one of both would be empty.
    """
    chosen = np.zeros(len(part.y), dtype=bool)
    if part.group is None:
        chosen[stratified(part.y, round(share * len(part.y)))] = True
    else:
        chosen = np.isin(part.group, _groups(part.group, share))
    if not 0 < chosen.sum() < len(chosen):
        raise UserError(f"a share of {share:g} of {len(chosen)} training samples leaves nothing on one side.")
    return part.take(np.flatnonzero(~chosen)), part.take(np.flatnonzero(chosen))


def _groups(group: Ints, share: float) -> Ints:
    """Groups in a drawn order until they hold ``share`` of the samples."""
    names, counts = np.unique(group, return_counts=True)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(names))
    enough = int(np.searchsorted(np.cumsum(counts[order]), share * len(group))) + 1
    return names[order[:enough]]
