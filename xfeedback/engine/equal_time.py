"""Give a run the time of another: more epochs, and a schedule that is stretched with them."""

from dataclasses import replace

from xfeedback.engine.spec import RunSpec
from xfeedback.methods.plain_equal_time import PlainEqualTimeConfig


def lengthened(spec: RunSpec) -> RunSpec:
    """Return what is trained for ``method=plain_equal_time``; any other spec as it is.

    Epochs become round(epochs * time_factor), at least 1, and so do the milestones of a stepped schedule; cosine and
    one-cycle schedules follow the length of the run. What the run is called stays: that comes from the spec given.
    """
    factors = [config.time_factor for config in spec.methods.values() if isinstance(config, PlainEqualTimeConfig)]
    if not factors:
        return spec

    def longer(epochs: int) -> int:
        return max(1, round(epochs * max(factors)))

    phases, first = spec.phases, spec.phases.base_epochs
    return replace(
        spec,
        phases=phases if first is None else replace(phases, base_epochs=longer(first)),
        trainer=replace(spec.trainer, max_epochs=longer(spec.trainer.max_epochs)),
        optimiser=replace(spec.optimiser, milestones=tuple(longer(epoch) for epoch in spec.optimiser.milestones)),
    )
