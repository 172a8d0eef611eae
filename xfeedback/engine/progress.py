"""How far a sweep is: counted from the run folders, whoever runs the cells."""

import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from xfeedback.engine.estimate import duration
from xfeedback.engine.folder import RunFolder
from xfeedback.engine.spec import RunSpec

EVERY = 1.0
"""Seconds between two looks at the folders."""


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How many cells are where.

    Attributes:
        done, failed: finished since the sweep began.
        running: begun and not finished.
        left: neither begun nor finished.
        seconds: since the sweep began.
    """

    done: int
    failed: int
    running: int
    left: int
    seconds: float

    def __str__(self) -> str:
        parts = [f"{self.done} done"]
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.running} running"] if self.running else []
        parts += [f"{self.left} to go"] if self.left else []
        ended = self.done + self.failed
        remaining = self.running + self.left
        parts += [f"about {duration(self.seconds / ended * remaining)} left"] if ended and remaining else []
        return ", ".join(parts)


class Watch:
    """Counts the cells of a sweep from its beginning.

    Args:
        specs: the cells that are to be run.
    """

    def __init__(self, specs: Sequence[RunSpec]) -> None:
        self.specs = specs
        self.began = time.time()

    def state(self, spec: RunSpec) -> str:
        """Where a cell is, as :meth:`RunFolder.state` says."""
        return RunFolder(spec).state(since=self.began)

    def tally(self) -> Tally:
        """Look at the folders."""
        states = [self.state(spec) for spec in self.specs]
        counted = {state: states.count(state) for state in ("done", "failed", "running", "left")}
        return Tally(**counted, seconds=time.time() - self.began)

    @contextmanager
    def reporting(self, say: Callable[[Tally], None]) -> Generator[None]:
        """Say in the background how far the cells are, each time one of them has ended."""
        stop = threading.Event()

        def look() -> None:
            ended = 0
            while not stop.wait(EVERY):
                tally = self.tally()
                if tally.done + tally.failed > ended and tally.running + tally.left:
                    ended = tally.done + tally.failed
                    say(tally)

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
