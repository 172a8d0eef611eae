"""A search for options: its trials, drawn with Optuna, told what came out, and kept so that the search goes on.

Akiba et al. 2019, Optuna: A next-generation hyperparameter optimization framework; the sampler is the tree-structured
Parzen estimator of Bergstra et al. 2011. Each trial is drawn by a generator of its own from those that have ended: a
study that was interrupted asks for the same values again, and finds the runs that it has already trained.
"""

import hashlib
import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import isfinite
from pathlib import Path
from statistics import mean
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from xfeedback import files
from xfeedback.engine.folder import RunFolder, locked, unwritable
from xfeedback.engine.spec import RunSpec
from xfeedback.engine.tune import Direction, TuneConfig, direction, objective
from xfeedback.errors import Preempted, TrainingError, UserError
from xfeedback.seeding import derive

Space = Mapping[str, BaseDistribution]
"""The distribution of each option that is tuned."""
EXPLAINING = ("val/explanation/", "val/faithfulness/")
STORE = "study.log"
"""The trials in Optuna's own format, which its other tools read: ``JournalStorage(JournalFileBackend(path))``."""
REASON, SCORES = "reason", "scores"
"""What is kept with a trial: why it failed, or the objective with each seed."""
_STARTED = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.FAIL)


class TuningStudy:
    """The trials of one search.

    Args:
        base: what every trial has in common.
        space: what is tuned.
        config: how.
        seeds: that each trial is run with; its value is the mean.
        defaults: values of the space that are tried first, where they lie in it.

    Raises:
        UserError: it is not known which direction of the objective is better.
    """

    def __init__(
        self, base: RunSpec, space: Space, config: TuneConfig, seeds: Sequence[int], defaults: Mapping[str, Any]
    ) -> None:
        self.base, self.space, self.config, self.seeds = base, space, config, seeds
        self.objective = objective(base) if config.objective == "auto" else config.objective
        wanted = config.direction
        self.direction: Direction = direction(self.objective) if wanted == "auto" else wanted
        self.defaults = {name: value for name, value in defaults.items() if _holds(space[name], value)}
        self.outputs = Path(base.paths.outputs) / "studies" / self._name()
        self._asking = self._empty()

    def _name(self) -> str:
        space = {name: distribution_to_json(distribution) for name, distribution in sorted(self.space.items())}
        sampler = (self.config.seed, self.config.random_trials)
        identity = {key: value for key, value in self.base.identity().items() if key != "seed"}
        content = [identity, space, self.objective, self.direction, list(self.seeds), sampler, self.defaults]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
        return f"{self.base.label}-{self.base.model.name}-{self.base.method}-{digest}"

    def _empty(self) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return optuna.create_study(direction=self.direction)

    @property
    def trials(self) -> list[FrozenTrial]:
        """Those that have ended, in order."""
        return [trial for trial in self._asking.get_trials(deepcopy=False) if trial.state.is_finished()]

    @property
    def ranked(self) -> list[FrozenTrial]:
        """Those with a value, the best first."""
        sign = -1 if self.direction == "maximize" else 1
        done = [trial for trial in self.trials if trial.state == TrialState.COMPLETE]
        return sorted(done, key=lambda trial: (sign * (trial.value or 0.0), trial.number))

    @property
    def failed(self) -> list[FrozenTrial]:
        """Those without a value, in order."""
        return [trial for trial in self.trials if trial.state != TrialState.COMPLETE]

    @property
    def left(self) -> int:
        """How many trials are still to be run."""
        return max(0, self.config.n_trials - len(self.trials))

    def read(self) -> None:
        """Take up the trials of earlier commands, if there are any; writes nothing.

        Raises:
            UserError: the file that holds them is damaged.
        """
        path = self.outputs / STORE
        if not path.exists():
            return
        try:
            storage = self._storage()
        except ValueError as error:
            again = "Remove it: the same trials are asked for again, and their finished runs are found"
            raise UserError(f"{path} is damaged: {error}. {again}.") from error
        if self.outputs.name in optuna.get_all_study_names(storage):
            stored = optuna.load_study(storage=storage, study_name=self.outputs.name)
            self._asking = self._empty()
            self._asking.add_trials(stored.get_trials(deepcopy=False))

    @contextmanager
    def opened(self) -> Generator[None]:
        """Take up the trials of earlier commands and keep other processes away from the study.

        Raises:
            UserError: the folder can't be written, or another process is at work on the study.
        """
        with locked(self.outputs, "study"):
            _drop_half_line(self.outputs / STORE)
            self.read()
            yield

    def _storage(self) -> JournalStorage:
        return JournalStorage(JournalFileBackend(str(self.outputs / STORE)))

    def _store(self, trials: Sequence[FrozenTrial]) -> None:
        name = self.outputs.name
        study = optuna.create_study(
            storage=self._storage(), study_name=name, direction=self.direction, load_if_exists=True
        )
        study.add_trials(trials)

    def ask(self) -> list[Trial]:
        """Return the next trials, each drawn from those that have ended; the first has the defaults."""
        if not self.trials and self.defaults:
            self._asking.enqueue_trial(dict(self.defaults), skip_if_exists=True)
        return [self._ask() for _ in range(min(self.config.at_once, self.left))]

    def _ask(self) -> Trial:
        config, number = self.config, len(self._asking.get_trials(deepcopy=False, states=_STARTED))
        seed = derive(config.seed, "trial", number) % 2**32
        self._asking.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=config.random_trials)
        return self._asking.ask(dict(self.space))

    def specs(self, trial: RunSpec) -> list[RunSpec]:
        """Return the runs of a trial: judged on validation data, in the study's own folder, one for each seed."""
        told = {"split": "validation", "pictures": 0}
        if not self.objective.startswith(EXPLAINING):
            told |= {"explained": 0, "faithfulness": ()}
        evaluation = replace(trial.evaluation, **told)
        paths = replace(trial.paths, outputs=str(self.outputs))
        return [replace(trial, evaluation=evaluation, paths=paths, seed=seed) for seed in self.seeds]

    def tell(self, trials: Mapping[Trial, Sequence[RunSpec]]) -> list[FrozenTrial]:
        """Note what came out of trials that have been run, keep it, and return it.

        Raises:
            UserError: a run could not be started as asked for, or has no such figure.
            TrainingError: a run has no end.
        """
        told = []
        for trial, specs in trials.items():
            scores, reason = self._judge(specs)
            trial.set_user_attr(SCORES, scores)
            trial.set_user_attr(REASON, reason)
            value, state = (mean(scores), TrialState.COMPLETE) if reason is None else (None, TrialState.FAIL)
            told.append(self._asking.tell(trial, value, state=state))
        self._store(told)
        return told

    def _judge(self, specs: Sequence[RunSpec]) -> tuple[list[float], str | None]:
        scores = []
        for spec in specs:
            folder = RunFolder(spec)
            result = folder.result()
            if result is None:
                return scores, _reason(folder)
            scores.append(_score(result["metrics"], self.objective))
            if not isfinite(scores[-1]):
                return scores[:-1], f"{self.objective} is {scores[-1]} with seed {spec.seed}"
        return scores, None


def _drop_half_line(path: Path) -> None:
    """Drop what a write that was cut off left at the end of a file of lines; the next line would begin behind it."""
    content = path.read_bytes() if path.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        try:
            files.write_bytes(path, whole)
        except OSError as error:
            raise unwritable(path, error) from error


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    if not isinstance(distribution, FloatDistribution | IntDistribution) or not isinstance(value, int | float):
        return False
    steps = (value - distribution.low) / (distribution.step or 1)
    aligned = distribution.step is None or abs(steps - round(steps)) < 1e-9
    return aligned and distribution.low <= value <= distribution.high


def _score(metrics: Mapping[str, float], name: str) -> float:
    if name not in metrics:
        known = ", ".join(sorted(metric for metric in metrics if metric.startswith("val/")))
        raise UserError(f"hydra.sweeper.objective={name} is not measured here; there are: {known}")
    return float(metrics[name])


def _reason(folder: RunFolder) -> str:
    """Why a run has failed; what would stop every other trial too, or is no failure, ends the study."""
    error = folder.error()
    if error is None or error["kind"] == Preempted.__name__:
        raise TrainingError(f"{folder.path.name} is not finished; the same command goes on where it stood")
    if error["kind"] == UserError.__name__:
        raise UserError(error["error"])
    return error["error"]
