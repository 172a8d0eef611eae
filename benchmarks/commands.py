"""Run the program as a user does and say what it took: for benchmarks of the command line."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from common import ROOT


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What a command took.

    Attributes:
        began: when it was started, seconds since the epoch.
        wall, cpu: seconds, of its children too.
        peak: largest resident memory in bytes.
    """

    began: float
    wall: float
    cpu: float
    peak: int


LAUNCH = """
import json, os, resource, sys, time
began, clock = time.time(), time.perf_counter()
child = os.fork()
if not child:
    os.execv(sys.argv[1], sys.argv[1:])
_, status, used = os.wait4(child, 0)
ended = {"code": os.waitstatus_to_exitcode(status), "began": began, "wall": time.perf_counter() - clock}
print(json.dumps({**ended, "cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss}))
"""
"""Starts a command from a small process: a child's largest memory is at least its parent's at the start."""


def run(*options: str, folder: Path) -> Ended:
    """Run ``run.py`` in ``folder`` on one thread.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    command = [sys.executable, "-S", "-c", LAUNCH, sys.executable, str(ROOT / "run.py"), *options]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    used = json.loads(done.stdout.splitlines()[-1])
    if used.pop("code"):
        raise RuntimeError(f"run.py {' '.join(options)} failed: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Ended(**{**used, "peak": used["peak"] * unit})
