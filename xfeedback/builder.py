"""The edge to Hydra: composed configs become typed specs, and Hydra's complaints become one clear line.

This module, `run.py` and the sweeper plugin are the only ones that import hydra or omegaconf.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from xfeedback.errors import UserError, suggest

HYDRA_ONLY = ("hydra", "sweep")


def plain_config(config: DictConfig) -> dict[str, Any]:
    """Return the composed config as nested plain values with all interpolations resolved.

    Raises:
        UserError: a value is missing or an interpolation can't be resolved.
    """
    try:
        values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(str(error).splitlines()[0]) from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items() if key not in HYDRA_ONLY}


def explain(error: HydraException | OmegaConfBaseException) -> str:
    """Return what is wrong with a command line, and the nearest thing that exists, in one line."""
    text = str(error)
    if isinstance(error, MissingConfigException) or "Could not find '" in text:
        return _missing_choice(text)
    if match := re.search(r"Could not override '([^']+)'", text):
        return _unknown_key(match[1])
    if match := re.search(r"Error merging override (\S+)", text):
        return f"cannot set {match[1]}: {text.splitlines()[-1].strip()}"
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _missing_choice(text: str) -> str:
    match = re.search(r"Could not find '(?:([^']+)/)?([^'/]+)'", text)
    if not match or match[1] is None:
        return text.splitlines()[0]
    group, word = match[1], match[2]
    listing = text.split("Available options in", 1)[-1].splitlines()[1:]
    choices = [line.strip() for line in listing if line.startswith("\t")]
    known = f" Choices: {', '.join(choices)}." if choices else ""
    return f"unknown {group} '{word}'.{suggest(word, choices)}{known}"


def _unknown_key(key: str) -> str:
    known = list(_dotted(_default_config()))
    near = suggest(key, known) or suggest(key.split(".")[-1], {k.split(".")[-1] for k in known})
    return f"unknown option '{key}'.{near} `python run.py --cfg job` shows all options."


def _default_config() -> Mapping[str, Any]:
    if not GlobalHydra.instance().is_initialized():
        return {}
    loader = GlobalHydra.instance().config_loader()
    config = loader.load_configuration("config", overrides=[], run_mode=RunMode.RUN)
    values = OmegaConf.to_container(config, resolve=False)
    return {k: v for k, v in values.items() if k != "hydra"} if isinstance(values, dict) else {}


def _dotted(values: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{key}.")


def run_cell(config: DictConfig) -> int:
    """Run the cell that a composed config describes, say how it ended, and return the exit code.

    Raises:
        UserError: it can't be started; in a sweep this is a failed cell, and the others go on.
        SystemExit: with code 1 when a single run failed.
    """
    from xfeedback.engine import console
    from xfeedback.engine.run import refused, run_experiment
    from xfeedback.engine.spec import RunSpec

    alone = HydraConfig.get().mode is not RunMode.MULTIRUN
    spec = RunSpec.from_plain(plain_config(config))
    if alone:
        console.notices(spec)
    try:
        outcome = run_experiment(spec)
    except UserError as error:
        if alone:
            raise
        outcome = refused(spec, error)
    console.ended(spec, outcome)
    code = 1 if outcome.status == "failed" else 0
    if code and alone:
        raise SystemExit(code)
    return code


def run_sweep(
    jobs: list[list[str]],
    compose: Callable[[Sequence[str]], DictConfig],
    launch: Callable[[Sequence[Sequence[str]]], Sequence[Any]],
) -> list[Any]:
    """Check all cells, run those that are missing, and compare.

    Args:
        jobs: the overrides of each cell.
        compose: from overrides to a config.
        launch: run cells, given their overrides.

    Raises:
        UserError: a cell can't work; nothing has been trained.
        SystemExit: with code 1 when cells failed; the comparison has been written.
    """
    from xfeedback.engine import console, sweep
    from xfeedback.engine.spec import RunSpec

    specs = [RunSpec.from_plain(plain_config(compose(job))) for job in jobs]
    plan = sweep.plan(specs)
    console.planned(plan)
    by_run = {spec.run: job for spec, job in zip(plan.specs, jobs, strict=True)}
    pending = [
        [*by_run[spec.run], *(["decoy=corner"] if spec.run in plan.decoys_added else [])] for spec in plan.pending
    ]
    returned = [job.return_value for job in launch(pending)] if pending else []
    failed = sweep.compare(plan)
    if failed:
        raise SystemExit(1)
    return returned
