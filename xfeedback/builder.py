"""The edge to Hydra: composed configs become typed specs, and Hydra's complaints become one clear line.

This module, `run.py` and the sweeper plugin are the only ones that import hydra or omegaconf.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from xfeedback.errors import TrainingError, UserError, suggest

HYDRA_ONLY = ("hydra", "sweep")
NOT_A_CHOICE = "Config group override must be"
Launch = Callable[[Sequence[Sequence[str]]], Sequence[JobReturn]]
CONF = Path(__file__).parents[1] / "conf"


def plain_config(config: DictConfig) -> dict[str, Any]:
    """Return the composed config as nested plain values with all interpolations resolved.

    Raises:
        UserError: a value is missing or an interpolation can't be resolved.
    """
    own = [str(key) for key in config if key not in HYDRA_ONLY]
    try:
        values = OmegaConf.to_container(OmegaConf.masked_copy(config, own), resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(f"option '{error.full_key}': {str(error).splitlines()[0]}") from error
    return {str(key): value for key, value in cast("dict[Any, Any]", values).items()}


def explain(error: Exception) -> UserError | TrainingError:
    """Return what is wrong with a command line, and the nearest thing that exists, as an error of one line."""
    if isinstance(error, UserError | TrainingError):
        return error
    text = str(error)
    if isinstance(error, MissingConfigException):
        return UserError(_missing_choice(error))
    if isinstance(error, HydraException | OmegaConfBaseException) or text.startswith(NOT_A_CHOICE):
        return UserError(_complaint(text))
    line = " ".join(text.split())[:500]
    return TrainingError(f"{type(error).__name__}: {line} (unexpected; XFEEDBACK_TRACEBACK=1 shows where)")


def _complaint(text: str) -> str:
    if match := re.search(r"Could not override '([^']+)'", text):
        return _unknown_key(match[1])
    if match := re.search(r"Ambiguous value for argument '([^']+)'", text):
        return f"{match[1]} lists several values; add -m to compare them all, or write [a,b] for one list"
    if text.startswith(NOT_A_CHOICE):
        return "a group takes the name of a choice or a list of names, e.g. method=plain or 'method=[xbl,rrr]'"
    return " ".join(text.split())


def _missing_choice(error: MissingConfigException) -> str:
    group, _, word = (error.missing_cfg_file or "").rpartition("/")
    if not group:
        return str(error).splitlines()[0]
    choices = list(error.options or sorted(file.stem for file in (CONF / group).glob("*.yaml")))
    known = f" Choices: {', '.join(choices)}." if choices else ""
    return f"unknown {group} '{word}'.{suggest(word, choices)}{known}"


def _unknown_key(key: str) -> str:
    group, _, rest = key.partition(".")
    choice = rest.split(".", maxsplit=1)[0]
    if (CONF / group / f"{choice}.yaml").is_file() and f"{group}.{choice}" not in _dotted(_options_at_hand()):
        return f"option '{key}' belongs to {group}={choice}, which is not chosen. Add {group}={choice}."
    known = list(_dotted(_options_at_hand()))
    near = suggest(key, known) or suggest(key, {name.rsplit(".", maxsplit=1)[-1] for name in known})
    return f"unknown option '{key}'.{near} `python run.py --cfg job` shows all options."


def _options_at_hand() -> Mapping[str, Any]:
    """The options with the groups chosen on the command line; those of all choices where several are swept."""
    chosen = [re.sub(r"^(\w+)=(\w+(,\w+)+)$", r"\1=[\2]", argument) for argument in sys.argv[1:]]
    groups = [argument for argument in chosen if (CONF / argument.split("=")[0]).is_dir()]
    for overrides in (groups, []):
        try:
            with initialize_config_dir(str(CONF), version_base="1.3"):
                config = compose("config", overrides=overrides)
        except (HydraException, OmegaConfBaseException, ValueError):
            continue
        values = OmegaConf.to_container(config, resolve=False)
        return {str(key): value for key, value in values.items()} if isinstance(values, dict) else {}
    return {}


def _dotted(values: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{key}.")


def run_cell(config: DictConfig) -> int:
    """Run the cell that a composed config describes, say how it ended, and return the exit code.

    Raises:
        Exception: a single run can't be started; in a sweep this is a failed cell, and the others go on.
        TrainingError: a single run failed; with the traceback as a note.
    """
    from xfeedback.engine import console
    from xfeedback.engine.spec import RunSpec

    alone = HydraConfig.get().mode is not RunMode.MULTIRUN
    spec = RunSpec.from_plain(plain_config(config))
    from xfeedback.engine.run import refused, run_experiment  # imports Lightning: after the cheap checks

    if alone:
        console.notices(spec)
    try:
        outcome = run_experiment(spec)
    except Exception as error:
        if alone:
            raise
        outcome = refused(spec, error)
    if outcome.status == "failed" and alone:
        failure = TrainingError(console.failure(spec, outcome))
        failure.add_note(outcome.record["traceback"])
        raise failure
    console.ended(spec, outcome)
    return int(outcome.status == "failed")


def run_sweep(
    jobs: list[list[str]],
    compose: Callable[[Sequence[str]], DictConfig],
    launch: Launch,
) -> None:
    """Check all cells, run those that are missing, and compare.

    Args:
        jobs: the overrides of each cell.
        compose: from overrides to a config.
        launch: run cells, given their overrides.

    Raises:
        UserError: a cell can't work; nothing has been trained.
        TrainingError: the launcher stopped before all cells were run; those that finished have been compared.
        SystemExit: with code 1 when cells failed; the comparison has been written.
    """
    from xfeedback.engine import console, sweep
    from xfeedback.engine.spec import RunSpec, light_parts

    configs = [compose(job) for job in jobs]
    values = [plain_config(config) for config in configs]
    for cell, config in zip(values, configs, strict=True):  # the cheap checks of all cells before anything is imported
        light_parts(cell)
        _refuse_processes(cell, config)
    specs = [RunSpec.from_plain(cell) for cell in values]
    plan = sweep.plan(specs)
    console.planned(plan)
    pending = [
        _with_decoys(jobs[plan.jobs[spec.run]]) if spec.run in plan.decoys_added else jobs[plan.jobs[spec.run]]
        for spec in plan.pending
    ]
    stopped = _launched(launch, pending) if pending else None
    failed = sweep.compare(plan)
    if stopped is not None:
        line = " ".join(str(stopped).split())[:200]
        raise TrainingError(f"the sweep stopped early ({line}); the same command goes on where it stood") from stopped
    if failed:
        raise SystemExit(1)


def _launched(launch: Launch, jobs: list[list[str]]) -> Exception | None:
    """Run the cells, which record their own failures; return what stopped the launcher itself, e.g. a killed worker."""
    try:
        for job in launch(jobs):
            _ = job.return_value
    except Exception as error:  # noqa: BLE001 - what is finished is compared first
        return error
    return None


def _with_decoys(job: Sequence[str]) -> list[str]:
    return [*(override for override in job if not override.startswith("decoy=")), "decoy=corner"]


def _refuse_processes(cell: Mapping[str, Any], config: DictConfig) -> None:
    strategy = cell.get("trainer", {}).get("strategy")
    launcher = config.hydra.runtime.choices["hydra/launcher"]
    if strategy == "ddp" and launcher != "submitit_slurm":
        raise UserError(
            f"trainer=ddp starts processes of its own and can't be swept with hydra/launcher={launcher}. Run its cells "
            "one by one, or take hydra/launcher=submitit_slurm."
        )
