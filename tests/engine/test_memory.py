"""Freed memory is used again: a large tensor made over and over touches no new page."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, torch
from xfeedback.engine.memory import keep_freed_memory
torch.set_num_threads(1)
if {keep}:
    assert keep_freed_memory()
for number in range(20):
    if number == 5:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.full((12_000_000,), 1.0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*, keep: bool) -> int:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(keep=keep)], capture_output=True, text=True, check=True, timeout=120
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_pages_are_touched_once():
    """But for those that the system takes back on its own; each of the 48 MB tensors has 11,719 pages of 4 KiB."""
    assert faults(keep=True) < 0.5 * faults(keep=False)
