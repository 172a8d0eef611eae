"""Runs that several tests look at are made once, for all processes of the test run."""

import fcntl
import hashlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import run, stop_after

Make = Callable[..., Path]


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of pytest-xdist share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "common"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def once(common: Path) -> Callable[[str, tuple[str, ...], Callable[[Path], None]], Path]:
    """Call with a name, options and what to do in a fresh folder: done by the first process that asks."""

    def make_once(name: str, options: tuple[str, ...], make: Callable[[Path], None]) -> Path:
        place = common / f"{name}-{hashlib.sha256(repr(options).encode()).hexdigest()[:8]}"
        with (common / f"{place.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not place.exists():
                fresh = place.with_suffix(".new")
                shutil.rmtree(fresh, ignore_errors=True)
                fresh.mkdir()
                make(fresh)
                fresh.rename(place)
        return place

    return make_once


@pytest.fixture(scope="session")
def finished(once) -> Make:
    """Call with options: the folder in which the command ran to its end. Only to be read; copy it to go on from it."""

    def make(*options: str) -> Path:
        def command(place: Path) -> None:
            done = run(*options, cwd=place)
            assert done.code == 0, done.err

        return once("finished", options, command)

    return make


@pytest.fixture(scope="session")
def killed(once) -> Make:
    """Call with options: the folder in which the command was killed after three epochs. Only to be read."""

    def make(*options: str) -> Path:
        def command(place: Path) -> None:
            assert stop_after(3, signal.SIGKILL, *options, cwd=place).code == -signal.SIGKILL

        return once("killed", options, command)

    return make
