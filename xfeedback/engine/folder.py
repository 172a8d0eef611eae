"""A run's folder: what is in it, whether it is finished, and who is working in it."""

import errno
import fcntl
import json
import os
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml

from xfeedback import files
from xfeedback.engine.spec import RunSpec
from xfeedback.errors import Preempted, UserError


class BusyError(UserError):
    """Another process is at work on the run."""


class RunFolder:
    """The folder of one run.

    Attributes:
        spec: the run.
        path: its folder.
    """

    def __init__(self, spec: RunSpec) -> None:
        self.spec, self.path = spec, spec.folder

    @property
    def history(self) -> Path:
        """One line of JSON an epoch."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Where the state for resuming is kept while the run is not finished."""
        return self.path / "checkpoints"

    @property
    def begun(self) -> bool:
        """Whether there is anything in it to read."""
        return (self.path / "config.yaml").exists()

    def result(self) -> dict[str, Any] | None:
        """Return the result of a finished run, or None."""
        path = self.path / "result.json"
        return files.read_json(path) if path.exists() else None

    def error(self) -> dict[str, Any] | None:
        """Return why the run failed when it was last tried, or None."""
        path = self.path / "error.json"
        return files.read_json(path) if path.exists() else None

    def state(self, since: float) -> Literal["done", "failed", "running", "left"]:
        """Where the run is: finished, or since a time (seconds of the epoch) failed or begun, or nothing of these.

        One that was told to stop is left: it has not failed, and goes on from where it stood.
        """
        if (self.path / "result.json").exists():
            return "done"
        if _touched(self.path / "error.json", since):
            return "left" if _kind(self.path / "error.json") == Preempted.__name__ else "failed"
        return "running" if _touched(self.path / "config.yaml", since) else "left"

    def busy(self) -> bool:
        """Whether a process is at work on the run at this moment."""
        if not self.path.exists():
            return False
        try:
            with self.opened():
                return False
        except BusyError:
            return True

    def check(self) -> None:
        """Find out, without making anything, whether the folder can be made or written.

        Raises:
            UserError: it can't.
        """
        place = next(place for place in (self.path, *self.path.parents) if place.exists())
        if not place.is_dir():
            raise unwritable(self.path, OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))
        if not os.access(place, os.W_OK | os.X_OK):
            raise unwritable(self.path, OSError(errno.EACCES, os.strerror(errno.EACCES)))

    @contextmanager
    def opened(self) -> Generator[None]:
        """Make the folder and hold its lock; the lock goes with the process, however it ends.

        Raises:
            UserError: the folder can't be written.
            BusyError: another process is at work in it.
        """
        with locked(self.path, "run"):
            yield

    def set_aside(self) -> Path:
        """Move a run out of the way, so that it can be run anew without losing it, and return where it is.

        Raises:
            UserError: it can't be moved.
            BusyError: another process is at work in it.
        """
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        target = self.path.parents[1] / "superseded" / f"{self.path.name}-{stamp}"
        with self.opened():
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                self.path.rename(target)
            except OSError as error:
                raise unwritable(target.parent, error) from error
        return target

    def begun_with(self, pattern: str) -> dict[str, Any] | None:
        """Return the provenance of the state that the run would go on from; None where it would begin anew.

        Args:
            pattern: of the checkpoints that hold such a state.

        Raises:
            UserError: it is damaged.
        """
        path = self.path / "provenance.json"
        return files.read_json(path) if path.exists() and any(self.checkpoints.glob(pattern)) else None

    def begin(self, provenance: dict[str, Any]) -> None:
        """Write what is known before training; drop the error of an earlier try and what it left half written.

        Raises:
            UserError: the folder can't be written.
        """
        try:
            for half in self.path.rglob(".*.tmp"):
                half.unlink()
            self._write_config()
            files.write_json(self.path / "provenance.json", provenance)
            (self.path / "error.json").unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(self.path, error) from error

    def _write_config(self) -> None:
        config = yaml.safe_dump(self.spec.plain(), sort_keys=False, allow_unicode=True)  # methods are in order
        files.write_text(self.path / "config.yaml", config)

    def finish(self, result: dict[str, Any]) -> dict[str, Any]:
        """Write ``result.json``, the last file of a good run, and drop the checkpoints it no longer needs."""
        whole = {**self._head(), "status": "done", "finished_at": _now(), **result}
        files.write_json(self.path / "result.json", whole)
        for checkpoint in self.checkpoints.glob("*.ckpt"):
            checkpoint.unlink()
        return whole

    def fail(self, error: BaseException, message: str) -> dict[str, Any]:
        """Write ``error.json``; where even that fails, the caller still has the line to show."""
        whole = self.failure(error, message)
        try:
            if not self.begun:
                self._write_config()
            files.write_json(self.path / "error.json", whole)
        except OSError as second:
            whole["error"] += f" (error.json could not be written: {second.strerror})"
        return whole

    def failure(self, error: BaseException, message: str) -> dict[str, Any]:
        """Return what ``error.json`` holds."""
        trace = "".join(traceback.format_exception(error))
        kind = type(error).__name__
        return {**self._head(), "status": "failed", "at": _now(), "error": message, "kind": kind, "traceback": trace}

    def _head(self) -> dict[str, Any]:
        spec = self.spec
        return {
            "run": spec.run,
            "dataset": spec.label,
            "model": spec.model.name,
            "method": spec.method,
            "seed": spec.seed,
            "variant": spec.variant,
            "cell": spec.cell,
        }


@contextmanager
def locked(path: Path, what: str) -> Generator[None]:
    """Make a folder and hold its lock; the lock goes with the process, however it ends.

    Args:
        path: the folder.
        what: it holds, for the message.

    Raises:
        UserError: the folder can't be written.
        BusyError: another process is at work in it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        _lock(path, handle, what)
        yield
    finally:
        os.close(handle)


def _lock(path: Path, handle: int, what: str) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BusyError(f"another process is at work on this {what}: {path}. Wait for it to finish.") from error
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> UserError:
    """Build the error for a folder that can't be written."""
    return UserError(f"cannot write to {path}: {error.strerror}. Choose another folder with paths.outputs=FOLDER.")


def _touched(path: Path, since: float) -> bool:
    try:
        return path.stat().st_mtime >= since
    except FileNotFoundError:
        return False


def _kind(path: Path) -> str | None:
    """The kind of a recorded error; None where it is gone, because the run has just begun anew."""
    try:
        return json.loads(path.read_text())["kind"]
    except (OSError, ValueError, KeyError):
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
