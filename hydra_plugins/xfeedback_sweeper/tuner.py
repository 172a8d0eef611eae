"""A sweeper that tunes options on validation data; the work is done in :mod:`xfeedback.engine.study`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.xfeedback_sweeper.sweeper import ComparisonSweeper

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from xfeedback.engine.spec import RunSpec
    from xfeedback.engine.study import TuningStudy


class TuningSweeper(ComparisonSweeper):
    """Search the space that the command line spans in Hydra's words, and print the command with the best values.

    ``interval(a, b)``, ``int(interval(a, b))``, ``range(a, b, step)``, ``choice(x, y)`` or ``x,y``;
    ``tag(log, interval(a, b))`` searches the logarithm. Several seeds are averaged.

    Args:
        params: the space where the command line does not say otherwise.
        rows: of an experiment that compares; refused.
        options: see :class:`xfeedback.engine.tune.TuneConfig`.
    """

    def __init__(
        self, params: Mapping[str, str] | None = None, rows: Sequence[str] | None = None, **options: Any
    ) -> None:
        super().__init__(params, rows)
        self.compares, self.options = bool(rows), options

    def sweep(self, arguments: list[str]) -> None:
        """Run the trials that are left and show the best.

        Raises:
            UserError: the search can't work; nothing has been trained.
            TrainingError: it stopped early, or no trial has a value.
            SystemExit: with code 1 when trials failed.
        """
        from xfeedback.builder import launcher_of, sweep_options

        space, fixed, seeds = self._parsed(arguments)
        _refuse_fixed(space)
        base = self._compose(fixed)
        sweeping, (launcher, chosen) = sweep_options(base), launcher_of(base)
        study = self._study(base, space, seeds, launcher)
        from xfeedback.engine import tuned  # after the cheap checks
        from xfeedback.engine.ways import by_launcher

        if sweeping.dry:
            study.read()
            tuned.planned(study)
            return
        with study.opened():
            tuned.planned(study)
            start = by_launcher(self._launch, launcher, chosen)
            how = {"one_by_one": launcher == "basic", "fail_fast": sweeping.fail_fast}
            tuned.run(study, lambda values: self._spec([*fixed, *tuned.overrides(values)]), start, **how)
            tuned.show(study, fixed)
        if study.failed:
            raise SystemExit(1)

    def _parsed(self, arguments: Sequence[str]) -> tuple[dict[str, Override], list[str], list[int] | None]:
        """What is tuned, what all trials have in common, and the seeds; the last word on an option counts."""
        from xfeedback.errors import UserError

        if self.compares:
            raise UserError("this experiment compares several rows; tune one method without experiment=...")
        context = cast("HydraContext", self.hydra_context)
        parser = OverridesParser.create(config_loader=context.config_loader)
        parsed = {o.get_key_element(): o for o in parser.parse_overrides([*self._parse_config(), *arguments])}
        swept = {name: override for name, override in parsed.items() if override.is_sweep_override()}
        fixed = [str(override.input_line) for name, override in parsed.items() if name not in swept]
        seeds = [int(seed) for seed in swept.pop("seed").sweep_string_iterator()] if "seed" in swept else None
        return swept, fixed, seeds

    def _study(
        self, config: DictConfig, space: Mapping[str, Override], seeds: Sequence[int] | None, launcher: str
    ) -> "TuningStudy":
        from xfeedback.builder import plain_config, refuse_processes, seeds_of, sweep_options
        from xfeedback.config import from_mapping
        from xfeedback.engine.spec import RunSpec, light_parts
        from xfeedback.engine.tune import TuneConfig
        from xfeedback.errors import UserError

        options = from_mapping(TuneConfig, self.options, "hydra.sweeper")
        if sweep_options(config).detach or sweep_options(config).cells:
            raise UserError("sweep.detach and sweep.cells don't go with tuning, where trials follow one another")
        values = plain_config(config)
        light_parts(values)
        refuse_processes(values, launcher)
        if values["force"]:
            raise UserError("force=true would train finished trials anew each time; remove the study's folder instead")
        base, asked = RunSpec.from_plain(values), seeds_of(config)
        asked.refuse_ways("hydra/sweeper=optuna")
        if seeds is not None:
            asked.refuse_list()
        else:
            seeds = [cell["seed"] for cell in asked.cells(values)]
        from xfeedback.engine.study import TuningStudy

        distributions = {name: distribution(override) for name, override in space.items()}
        defaults = {name: _default(config, name, found) for name, found in distributions.items()}
        return TuningStudy(base, distributions, options, seeds, defaults)

    def _spec(self, overrides: Sequence[str]) -> "RunSpec":
        from xfeedback.builder import plain_config
        from xfeedback.engine.spec import RunSpec

        return RunSpec.from_plain(plain_config(self._compose(overrides)))


def _refuse_fixed(space: Mapping[str, Override]) -> None:
    from xfeedback.engine.tune import FIXED
    from xfeedback.errors import UserError

    if not space:
        raise UserError("nothing to tune: give a range, e.g. 'method.xbl.c_exp=tag(log, interval(0.1, 100))'")
    for name in space:
        if name == "method":
            raise UserError("tune one method at a time: method=... without a list of them")
        if name.lstrip("+").split(".")[0] in FIXED:
            raise UserError(f"{name} can't be tuned: it changes on what trials are judged")


def _default(config: DictConfig, name: str, found: "BaseDistribution") -> Any:
    """What an option is without being tuned, as the distribution would write it; a group's choice where it is one."""
    from optuna.distributions import CategoricalDistribution

    value = config.hydra.runtime.choices.get(name, OmegaConf.select(config, name.lstrip("+")))
    if not isinstance(found, CategoricalDistribution):
        return value
    return "null" if value is None else str(value)


def distribution(override: Override) -> "BaseDistribution":
    """Return what Optuna draws from for a sweep in Hydra's words; choices are kept as they were typed.

    Raises:
        UserError: it can't be drawn from.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    from xfeedback.errors import UserError

    sweep = override.value()
    try:
        if isinstance(sweep, IntervalSweep):
            log, (low, high) = "log" in sweep.tags, (cast("float", sweep.start), cast("float", sweep.end))
            if isinstance(low, int) and isinstance(high, int):
                return IntDistribution(low, high, log=log)
            return FloatDistribution(low, high, log=log)
        if "log" in getattr(sweep, "tags", ()):
            raise ValueError("a logarithm is searched between two ends, tag(log, interval(a, b))")
        if isinstance(sweep, RangeSweep):
            values = sorted(sweep.range())
            kind: Any = IntDistribution if isinstance(values[0], int) else FloatDistribution
            step = abs(cast("float", sweep.step))
            return kind(values[0], values[-1], step=step) if len(values) > 1 else kind(values[0], values[0])
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    except (ValueError, IndexError) as error:
        raise UserError(f"{override.input_line} can't be drawn from: {error}") from error
