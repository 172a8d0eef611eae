"""One run at wandb: online where that works, offline otherwise, with the same content."""

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xfeedback.tracking.pictures import PICTURES, confusion_rows
from xfeedback.tracking.words import note, one_line

if TYPE_CHECKING:
    from wandb import Run

Mode = Literal["online", "offline", "disabled"]
SECONDS: dict[str, Any] = {"login_timeout": 10, "init_timeout": 10, "finish_timeout": 60}
"""How long wandb may keep a run waiting when it does not answer; what it could not send stays on disk."""
STEP = "trainer/global_step"
SUMMARY = {"train/loss": "min,last", "train/acc": "max,last"}
"""What the summary keeps of a figure; of accuracies on validation data the best too, of all others the last value."""
PREEMPTED = "preempted"
_DATA = "WANDB_DATA_DIR"
_unreachable: list[str] = []
"""Why the server was given up in this process; it is said once, and not asked again for every cell of a sweep."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What wandb is told of a run when it starts.

    Attributes:
        name, id: shown, and by which a run that goes on later is found again.
        project, group, job_type, tags: where it stands.
        config: options.
        folder: where ``wandb/`` with its files is made.
        goes_on: it began before, and adds to what the server has of it.
        mode: ``auto`` is online for whoever is logged in; WANDB_MODE overrides it.
    """

    name: str
    id: str
    project: str
    group: str
    job_type: str
    folder: Path
    goes_on: bool = False
    mode: str = "auto"
    tags: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


def mode_of(wanted: str) -> Mode:
    """Decide before anything connects: WANDB_MODE, then the option, then whether a key is at hand."""
    wanted = os.environ.get("WANDB_MODE", wanted)
    if wanted in ("online", "shared", "run"):
        return "online"
    if wanted in ("offline", "dryrun"):
        return "offline"
    if wanted == "disabled":
        return "disabled"
    netrc = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    logged_in = bool(os.environ.get("WANDB_API_KEY")) or (netrc.exists() and "wandb" in netrc.read_text())
    return "online" if logged_in else "offline"


def start(about: About) -> "Run":
    """Start or go on with a run; offline where the server does not answer, which is said once a process."""
    import wandb

    mode = mode_of(about.mode)
    if mode == "online" and _unreachable:
        mode = "offline"
    if mode == "online":
        try:
            return _start(about, mode)
        except Exception as error:  # noqa: BLE001 - a network that fails ends no training
            _unreachable.append(one_line(error))
            note(f"wandb: {one_line(error)}. Training goes on offline; scripts/wandb_sync.py sends the run later.")
            wandb.teardown()  # what failed would still hold the run's id
    return _start(about, "disabled" if mode == "disabled" else "offline")


def _start(about: About, mode: Mode) -> "Run":
    import wandb

    run = wandb.init(
        name=about.name,
        id=about.id,
        project=about.project,
        group=about.group,
        job_type=about.job_type,
        tags=about.tags,
        config=dict(about.config),
        dir=about.folder,
        mode=mode,
        resume="allow" if about.goes_on else None,
        settings=wandb.Settings(quiet=True, silent=mode != "online", console="off", **SECONDS),
    )
    run.define_metric(STEP)
    run.define_metric("*", step_metric=STEP, step_sync=True)
    return run


def define(run: "Run", name: str) -> None:
    """Say what the summary keeps of a figure, by its whole name: of two patterns that fit, wandb takes either."""
    kept = "max,last" if name.startswith("val/") else SUMMARY.get(name)
    if kept is not None:
        run.define_metric(name, step_metric=STEP, step_sync=True, summary=kept)


def send_pictures(run: "Run", folder: Path) -> None:
    """Send a finished run's pictures, and its confusion matrix as a chart that can be pointed at."""
    import wandb

    shown: dict[str, Any] = {
        name: [wandb.Image(str(folder / file))] for name, file in PICTURES.items() if (folder / file).exists()
    }
    rows = confusion_rows(folder)
    if rows:
        columns = ("Actual", "Predicted", "nPredictions")
        table = wandb.Table(columns=[*columns], data=[list(row) for row in rows])
        fields = {name: name for name in columns}
        shown["confusion_chart"] = wandb.plot_table(
            "wandb/confusion_matrix/v1", table, fields, {"title": "Confusion matrix, test set"}
        )
    if shown:
        with kept_in(folder):
            run.log(shown)


def finish(run: "Run", ending: str) -> None:
    """Close a run as ``done``, ``failed`` or ``preempted``; wandb then waits for a preempted one to go on."""
    if ending == PREEMPTED:
        run.mark_preempting()
    run.finish(exit_code=0 if ending == "done" else 1)


@contextmanager
def kept_in(folder: Path) -> Generator[None]:
    """Let wandb keep the files behind tables in ``folder/wandb/data``; by default they would lie in the home folder."""
    given = os.environ.get(_DATA)
    os.environ.setdefault(_DATA, str((folder / "wandb" / "data").resolve()))
    try:
        yield
    finally:
        if given is None:
            del os.environ[_DATA]
