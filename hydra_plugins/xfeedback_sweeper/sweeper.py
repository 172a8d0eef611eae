"""A grid sweeper that checks all cells before the first is trained, skips finished ones, and ends with a comparison."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import cast

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ComparisonSweeper(BasicSweeper):
    """Run a grid of cells, whatever the launcher, and compare them.

    Args:
        params: what is swept when the command line does not say otherwise, e.g. ``{"seed": "0,1,2"}``.
        rows: overrides of one row of the table each, combined with the rest, where rows differ in options of their own:
            ``["method=plain", "method=xbl method.xbl.c_exp=10"]``. A command line, or a line of ``sweep.cells``, that
            chooses methods replaces them.
    """

    def __init__(self, params: Mapping[str, str] | None = None, rows: Sequence[str] | None = None) -> None:
        super().__init__(max_batch_size=None, params=dict(params or {}))
        self.rows = [shlex.split(row) for row in rows or [""]]

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what further launchers are made of."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self._task = task_function

    def sweep(self, arguments: list[str]) -> None:
        """Plan, run what is missing, and compare; raises ``SystemExit(1)`` when cells failed."""
        from xfeedback.builder import run_sweep

        run_sweep(self._jobs(arguments), self._compose, self._launch, self._side_by_side)

    def _jobs(self, arguments: list[str]) -> list[list[str]]:
        context = cast("HydraContext", self.hydra_context)
        parser = OverridesParser.create(config_loader=context.config_loader)
        params = self._parse_config()
        if any(argument.startswith("seeds=") and argument != "seeds=null" for argument in arguments):
            params = [param for param in params if not param.startswith("seed=")]
        jobs = []
        for cell in self._cells(arguments):
            overrides = parser.parse_overrides([*params, *cell, *arguments])
            jobs += self.split_arguments(overrides, None)[0]
        return jobs

    def _cells(self, arguments: Sequence[str]) -> list[list[str]]:
        """The overrides of each row with each line of ``sweep.cells``; lines that choose methods go without rows."""
        from xfeedback.builder import cell_lines

        lines = cell_lines(arguments)
        chosen = [any(part.startswith("method=") for part in (*line, *arguments)) for line in lines]
        left = [line for line, own in zip(lines, chosen, strict=True) if not own]
        combined = [[*row, *line] for row, line in product(self.rows, left)]
        return combined + [line for line, own in zip(lines, chosen, strict=True) if own]

    def _compose(self, job: Sequence[str]) -> DictConfig:
        context = cast("HydraContext", self.hydra_context)
        return context.config_loader.load_sweep_config(cast("DictConfig", self.config), list(job))

    def _side_by_side(self, at_once: int) -> Callable[[Sequence[Sequence[str]]], Sequence[JobReturn]]:
        """Return what runs jobs in so many processes at a time on this machine."""
        context = cast("HydraContext", self.hydra_context)
        config = self._compose(["hydra/launcher=joblib", f"hydra.launcher.n_jobs={at_once}"])
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=self._task, config=config
        )
        return partial(launcher.launch, initial_job_idx=0)

    def _launch(self, jobs: Sequence[Sequence[str]]) -> Sequence[JobReturn]:
        return cast("Launcher", self.launcher).launch(jobs, initial_job_idx=0)
