"""The edge to Hydra: composed configs become typed specs, and Hydra's complaints become one clear line.

This module, `xfeedback.command` and the sweeper plugin are the only ones that import hydra or omegaconf.
"""

import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from xfeedback.config import CONF, from_mapping
from xfeedback.errors import TrainingError, UserError, suggest

if TYPE_CHECKING:
    from xfeedback.engine.launch import Launch
    from xfeedback.engine.options import SweepConfig
    from xfeedback.engine.seeds import Seeds

HYDRA_ONLY = ("hydra", "sweep", "queued", "seeds", "execution")
NOT_A_CHOICE = "Config group override must be"


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
    found = {str(key): value for key, value in cast("dict[Any, Any]", values).items()}
    return found | {"method": _chosen(found["method"])} if isinstance(found.get("method"), dict) else found


def _chosen(methods: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what an experiment says of methods that are not chosen: a choice brings all of its options.

    Where none has all, options were taken out by hand (``~method.xbl.metric``): nothing is left out.
    """
    whole = {name: options for name, options in methods.items() if not (_own_options(name) - (options or {}).keys())}
    return whole or dict(methods)


@cache
def _own_options(method: str) -> frozenset[str]:
    """The options that ``conf/method`` lists; empty for a method of the user's own."""
    file = CONF / "method" / f"{method}.yaml"
    return frozenset(yaml.safe_load(file.read_text())[method] or ()) if file.is_file() else frozenset()


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
    """Run the cell that a config describes or that a sweep queued, say how it ended, and return the exit code.

    Raises:
        Exception: a single run can't be started; in a sweep this is a failed cell, and the others go on.
        TrainingError: a single run failed; with the traceback as a note.
    """
    from xfeedback.engine.launch import QUEUED

    if QUEUED in config:
        from xfeedback.engine.ways import run_queued

        return run_queued(Path(str(config[QUEUED])))
    from xfeedback.engine import console
    from xfeedback.engine.spec import RunSpec

    seeds_of(config).refuse_single()
    sweep_options(config).refuse_single()
    spec = RunSpec.from_plain(plain_config(config))
    from xfeedback.engine.run import run_experiment  # imports Lightning: after the cheap checks

    console.notices(spec)
    outcome = run_experiment(spec)
    if outcome.status == "failed":
        failure = TrainingError(console.failure(spec, outcome))
        failure.add_note(outcome.record["traceback"])
        raise failure
    console.ended(spec, outcome)
    return 0


def cell_lines(arguments: Sequence[str]) -> list[list[str]]:
    """Return the overrides of each line of the file that ``sweep.cells`` names; one empty line without it.

    Empty lines and what follows a ``#`` are left out.

    Raises:
        UserError: the file can't be read, or there is no cell in it.
    """
    named = [match[1] for argument in arguments if (match := re.fullmatch(r"(?:\+\+)?sweep\.cells=(.*)", argument))]
    if not named or named[-1] == "null":
        return [[]]
    path = Path(named[-1].strip("'\""))
    try:
        lines = [shlex.split(line, comments=True) for line in path.read_text("utf-8-sig").splitlines()]
    except (OSError, ValueError) as error:
        raise UserError(f"sweep.cells={path} can't be read: {error}") from error
    cells = [line for line in lines if line]
    if not cells:
        raise UserError(f"sweep.cells={path} holds no cell: write the overrides of one on each line")
    return cells


def run_sweep(
    jobs: list[list[str]],
    compose: Callable[[Sequence[str]], DictConfig],
    launch: "Launch",
    side_by_side: "Callable[[int], Launch]",
) -> None:
    """Check all cells, run those that are missing, and compare.

    Args:
        jobs: the overrides of each cell.
        compose: from overrides to a config.
        launch: run cells, given their overrides.
        side_by_side: likewise, in so many processes at a time on this machine.

    Raises:
        UserError: a cell can't work; nothing has been trained.
        TrainingError: the launcher stopped before all cells were run; those that finished have been compared.
        SystemExit: with code 1 when cells failed; the comparison has been written.
    """
    from xfeedback.engine import console, sweep, ways
    from xfeedback.engine.launch import SLURM, jobs_of, submitted
    from xfeedback.engine.spec import RunSpec, light_parts

    first, values = _composed(jobs, compose)
    launcher, chosen = launcher_of(first)
    options = sweep_options(first)
    if options.detach and launcher != SLURM:
        raise UserError(f"sweep.detach=true needs a queue to leave the cells in: add hydra/launcher={SLURM}.")
    for cell in values:  # the cheap checks of all cells before anything is imported
        light_parts(cell)
        refuse_processes(cell, launcher)
    plan = sweep.plan([RunSpec.from_plain(cell) for cell in values])
    console.planned(plan)
    if options.dry:
        console.dry(plan)
    elif options.detach:
        cells = sweep.enqueue(plan, fail_fast=options.fail_fast)
        handles = submitted(launch, jobs_of(cells, chosen)) if cells else []
        console.submitted([handle.job_id for handle in handles], plan)
    else:
        how = ways.chosen(seeds_of(first), launcher, plan.pending)
        start = ways.starter(how, launch, side_by_side, launcher, chosen)
        stopped = sweep.run(plan, start, one_by_one=how == "serial", fail_fast=options.fail_fast)
        _end(stopped, sweep.compare(plan))


def _composed(
    jobs: Sequence[Sequence[str]], compose: Callable[[Sequence[str]], DictConfig]
) -> tuple[DictConfig, list[dict[str, Any]]]:
    """Return the first cell's config and all cells' options; composing takes long, and is done once for all seeds."""
    known: dict[tuple[tuple[str, ...], bool], DictConfig] = {}
    values: list[dict[str, Any]] = []
    for job in jobs:
        seeds = [override for override in job if re.fullmatch(r"seed=\d+", override)]
        key = tuple(override for override in job if override not in seeds), bool(seeds)
        again = key in known
        if not again:
            known[key] = compose(job)
        elif seeds:
            known[key].seed = int(seeds[-1].removeprefix("seed="))
        asked = seeds_of(known[key])
        if again and seeds:
            asked.refuse_list()
        values += asked.cells(plain_config(known[key]))
    return next(iter(known.values())), values


def seeds_of(config: DictConfig) -> "Seeds":
    """Return how many seeds a config asks for, and how they are to be run.

    Raises:
        UserError: it can't work.
    """
    from xfeedback.engine.seeds import Seeds

    found = OmegaConf.to_container(OmegaConf.masked_copy(config, ["seeds", "execution"]), resolve=True)
    return Seeds.of(cast("dict[str, Any]", found))


def _end(stopped: Exception | None, failed: int) -> None:
    if stopped is not None:
        line = " ".join(str(stopped).split())[:200]
        raise TrainingError(f"the sweep stopped early ({line}); the same command goes on where it stood") from stopped
    if failed:
        raise SystemExit(1)


def launcher_of(config: DictConfig) -> tuple[str, list[str]]:
    """Return the launcher's name, and the override that jobs need where an experiment chose it."""
    launcher = str(config.hydra.runtime.choices["hydra/launcher"])
    typed = any(override.startswith("hydra/launcher=") for override in config.hydra.overrides.hydra)
    return launcher, [] if typed else [f"hydra/launcher={launcher}"]


def sweep_options(config: DictConfig) -> "SweepConfig":
    """Return the options of comparisons.

    Raises:
        UserError: one that can't work.
    """
    from xfeedback.engine.options import SweepConfig

    return from_mapping(SweepConfig, cast("dict[str, Any]", OmegaConf.to_container(config.sweep)), "sweep")


def refuse_processes(cell: Mapping[str, Any], launcher: str) -> None:
    """Refuse to sweep cells that start processes of their own, but on a cluster.

    Raises:
        UserError: it is such a cell.
    """
    from xfeedback.engine.launch import SLURM

    if cell.get("trainer", {}).get("strategy") == "ddp" and launcher != SLURM:
        raise UserError(
            f"trainer=ddp starts processes of its own and can't be swept with hydra/launcher={launcher}. Run its cells "
            f"one by one, or take hydra/launcher={SLURM}."
        )
