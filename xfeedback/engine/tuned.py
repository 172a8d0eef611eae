"""Run the trials of a study, and show what came out: a table, a file, and the command that trains the best."""

import csv
import io
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from xfeedback import files
from xfeedback.engine import sweep
from xfeedback.engine.folder import unwritable
from xfeedback.engine.spec import RunSpec
from xfeedback.engine.study import REASON, SCORES, TuningStudy
from xfeedback.errors import TrainingError

OF_STUDY = ("seeds=", "execution=", "sweep.")
"""What options begin with that say how trials are run; with the best one they would say it twice, or of one run."""
SHOWN = 10
"""Rows of the table on the screen; the file has all."""
_OUT = Console(highlight=False, soft_wrap=True)


def run(
    study: TuningStudy,
    compose: Callable[[Mapping[str, Any]], RunSpec],
    launch: sweep.Launch,
    *,
    one_by_one: bool = False,
    fail_fast: bool = False,
) -> None:
    """Run the trials that are left.

    Args:
        study: opened.
        compose: from a trial's values to what is to be run.
        launch: run queued cells.
        one_by_one: cells are run in this process, one after the other.
        fail_fast: begin no further trial once one has failed.

    Raises:
        UserError: see :meth:`TuningStudy.tell`.
        TrainingError: the launcher itself was stopped, or a run has no end.
    """
    while trials := study.ask():
        asked = {trial: study.specs(compose(trial.params)) for trial in trials}
        plan = sweep.plan([spec for specs in asked.values() for spec in specs])
        stopped = sweep.run(plan, launch, one_by_one=one_by_one)
        if stopped is not None:
            line = " ".join(str(stopped).split())[:200]
            raise TrainingError(f"the study stopped early ({line}); the same command goes on") from stopped
        told = study.tell(asked)
        for trial in told:
            _ended(study, trial)
        if fail_fast and any(trial.state == TrialState.FAIL for trial in told):
            return


def planned(study: TuningStudy) -> None:
    """Say what a study will do."""
    done, seeds = len(study.trials), len(study.seeds)
    seed = f"{seeds} seeds" if seeds > 1 else "1 seed"
    before = f", {done} finished before" if done else ""
    _OUT.print(f"{study.config.n_trials} trials of {seed}{before}: {study.direction} {study.objective}", markup=False)
    for name, distribution in study.space.items():
        _OUT.print(f"  {name}: {_words(distribution)}", markup=False)


def _ended(study: TuningStudy, trial: FrozenTrial) -> None:
    """Say what came out of a trial, and which is the best so far."""
    what = f"trial {trial.number + 1} of {study.config.n_trials}: {_value(trial)}"
    best = f" (best: {_value(study.ranked[0])}, trial {study.ranked[0].number + 1})" if study.ranked else ""
    _OUT.print(f"{what}{best}  {' '.join(overrides(trial.params))}", markup=False, style="dim")


def show(study: TuningStudy, fixed: Sequence[str]) -> None:
    """Print the best trials, write all of them, and print the command that trains and tests the best.

    Args:
        study: with its trials.
        fixed: overrides that all trials have in common, as they were typed.

    Raises:
        UserError: the file can't be written.
        TrainingError: no trial has a value.
    """
    path = study.outputs / "trials.csv"
    try:
        files.write_text(path, _csv(study))
    except OSError as error:
        raise unwritable(path, error) from error
    if not study.ranked:
        raise TrainingError(f"none of the {len(study.failed)} trials has a value; the first: {_value(study.failed[0])}")
    _OUT.print(_table(study))
    _OUT.print(f"all {len(study.trials)} trials ({len(study.failed)} failed): {path}", markup=False)
    _OUT.print(f"to train and test the best: {command(study, fixed)}", markup=False)


def command(study: TuningStudy, fixed: Sequence[str]) -> str:
    """Return the command that trains and tests with the best trial's values."""
    many = ["-m"] if len(study.seeds) > 1 else []
    seeds = [f"seed={','.join(map(str, study.seeds))}"]
    kept = [word for word in fixed if not word.lstrip("+").startswith(OF_STUDY)]
    words = [*many, *kept, *overrides(study.ranked[0].params), *seeds]
    return f"python run.py {shlex.join(words)}"


def overrides(values: Mapping[str, Any]) -> list[str]:
    """Return a trial's values as they are typed."""
    return [f"{name}={value}" for name, value in values.items()]


def _words(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return ", ".join(map(str, distribution.choices))
    assert isinstance(distribution, FloatDistribution | IntDistribution)  # noqa: S101 - there is no other
    step = f" in steps of {distribution.step}" if distribution.step else ""
    return f"{distribution.low} to {distribution.high}{step}{' (log)' if distribution.log else ''}"


def _value(trial: FrozenTrial) -> str:
    return f"failed: {trial.user_attrs[REASON]}" if trial.value is None else f"{trial.value:.2f}"


def _table(study: TuningStudy) -> Table:
    names = list(study.space)
    table = Table(title=f"{study.objective}: the best of {len(study.trials)} trials", title_justify="left")
    for heading in ("trial", study.objective, *names):
        table.add_column(heading, justify="right", overflow="fold")
    for trial in study.ranked[:SHOWN]:
        values = (trial.params[name] for name in names)
        shown = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in values)
        table.add_row(str(trial.number + 1), _value(trial), *shown)
    return table


def _csv(study: TuningStudy) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", study.objective, *(f"seed {seed}" for seed in study.seeds), *study.space, "failed"])
    for trial in study.trials:
        scores = [*trial.user_attrs[SCORES], *[""] * len(study.seeds)][: len(study.seeds)]
        value = "" if trial.value is None else trial.value
        values = [trial.params[name] for name in study.space]
        writer.writerow([trial.number + 1, value, *scores, *values, trial.user_attrs[REASON] or ""])
    return text.getvalue()
