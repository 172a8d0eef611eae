"""The state of a stack under way: saved between two steps, taken up by the same seeds alone."""

import hashlib
import signal
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from xfeedback.engine.checkpoint import AtomicCheckpointIO, drop_old, latest
from xfeedback.engine.preempt import SIGNALS


@dataclass
class Asked:
    """Whether a signal has asked to stop, and which."""

    number: int | None = None


@contextmanager
def listening() -> Generator[Asked]:
    """Take note of signals that ask to stop, in the main thread; the handlers are set back at the end."""
    asked = Asked()

    def note(number: int, _frame: FrameType | None) -> None:
        asked.number = number

    main = threading.current_thread() is threading.main_thread()
    former = {number: signal.signal(number, note) for number in SIGNALS} if main else {}
    try:
        yield asked
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class StackCheckpoints:
    """Checkpoints of a stack, in the folder of its first run.

    Args:
        folder: where the first run keeps its own.
        runs: names of all runs of the stack; other runs' checkpoints are left alone.
    """

    def __init__(self, folder: Path, runs: Sequence[str]) -> None:
        self.folder = folder
        self.name = f"stack-{hashlib.sha256(chr(10).join(runs).encode()).hexdigest()[:12]}"

    def save(self, content: dict[str, Any], epoch: int, steps: int = 0) -> None:
        """Save the state after so many epochs and steps of the next, and keep the newest two."""
        path = self.folder / f"{self.name}-epoch-{epoch:06d}-step-{steps:08d}.ckpt"
        AtomicCheckpointIO().save_checkpoint(content, path)
        drop_old(self.folder, f"{self.name}-*.ckpt")

    def newest(self) -> tuple[dict[str, Any] | None, list[str]]:
        """Return the newest whole state, and a line for whatever should be known about where training begins."""
        path, notes = latest(self.folder, f"{self.name}-*.ckpt")
        if path is None:
            return None, notes
        return AtomicCheckpointIO().load_checkpoint(path), [*notes, f"resumed from {path.name}"]

    def clear(self) -> None:
        """Drop the checkpoints of a training that has ended."""
        for path in self.folder.glob(f"{self.name}-*.ckpt"):
            path.unlink()
