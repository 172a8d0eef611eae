"""What is submitted: one file a cell with its resolved options, so that nothing edited later changes it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from xfeedback import files
from xfeedback.engine.spec import RunSpec
from xfeedback.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Queued:
    """A cell that waits to be run.

    Attributes:
        spec: what to run.
        stop: a file whose existence means that no further cell shall start; None: nothing stops it.
    """

    spec: RunSpec
    stop: Path | None = None

    @property
    def stopped(self) -> bool:
        """Whether an earlier cell failed in a sweep that was to end there."""
        return self.stop is not None and self.stop.exists()


def put(queued: Queued, folder: Path) -> Path:
    """Write a cell into ``folder`` and return the file's absolute path.

    Raises:
        OSError: it can't be written.
    """
    spec = queued.spec
    content = {
        "run": spec.run,
        "stop": None if queued.stop is None else str(queued.stop.absolute()),
        "notices": list(spec.notices),
        "options": {**spec.plain(), "force": spec.force},
    }
    path = (folder / f"{spec.run}.yaml").absolute()
    files.write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return path


def with_one_thread(path: Path) -> None:
    """Let a queued cell compute with one thread, where its options don't say with how many.

    Raises:
        OSError: it can't be written.
    """
    queued = take(path)
    trainer = queued.spec.trainer
    if trainer.threads is None:
        put(replace(queued, spec=replace(queued.spec, trainer=replace(trainer, threads=1))), path.parent)


def take(path: Path) -> Queued:
    """Read a cell back.

    Raises:
        UserError: the file is gone or damaged, or this version of the program understands its options differently.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"cannot read the queued cell {path}: {error}. Start the sweep again.") from error
    if not isinstance(content, Mapping) or set(content) != {"run", "stop", "notices", "options"}:
        raise UserError(f"{path} is no queued cell. Start the sweep again.")
    spec = _spec(content["options"], content["notices"])
    if spec.run != content["run"]:
        raise UserError(f"{path} was queued by another version of the program. Start the sweep again.")
    return Queued(spec=spec, stop=None if content["stop"] is None else Path(content["stop"]))


def _spec(options: Mapping[str, Any], notices: list[str]) -> RunSpec:
    return replace(RunSpec.from_plain(options), notices=tuple(notices))
