"""Runs side by side end with the sweep that started them, however that was ended."""

import multiprocessing
import os
import signal
import threading
import time

SECONDS = 1.0
"""Between two looks."""


def end_with_sweep() -> None:
    """In a worker of joblib: once the sweep's process is gone, save the state of training, and end.

    A worker that is left alone would train on unseen, and hold the locks of its runs.
    """
    if multiprocessing.current_process().name.startswith("LokyProcess") and _NAME not in _threads():
        threading.Thread(target=_watch, args=(os.getppid(),), name=_NAME, daemon=True).start()


_NAME = "xfeedback-end-with-sweep"


def _threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def _watch(parent: int) -> None:
    """The first signal is heeded by training, which saves its state; the one that finds none ends the process."""
    while os.getppid() == parent:
        time.sleep(SECONDS)
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(SECONDS)
