"""A grid sweeper that checks all cells before the first is trained, skips finished ones, and ends with a comparison."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser


class ComparisonSweeper(BasicSweeper):
    """Run a grid of cells, whatever the launcher, and compare them.

    Args:
        params: what is swept when the command line does not say otherwise, e.g. ``{"seed": "0,1,2"}``.
    """

    def __init__(self, params: Mapping[str, str] | None = None) -> None:
        super().__init__(max_batch_size=None, params=dict(params or {}))

    def sweep(self, arguments: list[str]) -> Any:
        """Plan, run what is missing, and compare; raises ``SystemExit(1)`` when cells failed."""
        from xfeedback.builder import run_sweep

        return run_sweep(self._jobs(arguments), self._compose, self._launch)

    def _jobs(self, arguments: list[str]) -> list[list[str]]:
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        (jobs,) = self.split_arguments(overrides, None)
        return jobs

    def _compose(self, job: Sequence[str]) -> Any:
        assert self.hydra_context is not None
        assert self.config is not None
        return self.hydra_context.config_loader.load_sweep_config(self.config, list(job))

    def _launch(self, jobs: Sequence[Sequence[str]]) -> Sequence[Any]:
        assert self.launcher is not None
        return self.launcher.launch(jobs, initial_job_idx=0)
