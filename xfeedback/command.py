"""The command line: ``xfeedback method=xbl dataset=cifar``, from any folder; ``python run.py`` is the same.

A first argument that is a plain word is a command of :mod:`xfeedback.commands`: ``xfeedback explain RUN image.png``.
``--config-dir FOLDER`` adds your own configs. Exit codes: 0 done, 1 a run failed, 2 the request can't work, 75 stopped
by a signal with its state saved, 130 interrupted.
"""

import os
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

ASKED_FOR_TRACEBACK = bool(os.environ.get("XFEEDBACK_TRACEBACK"))
os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then leaves errors to main(), which shows one line
warnings.filterwarnings("ignore", message=r"\s*.hydra/launcher/\w+. is validated against")  # the defaults in conf/

import hydra  # noqa: E402
from omegaconf import DictConfig  # noqa: E402

from xfeedback.config import CONF  # noqa: E402
from xfeedback.errors import Preempted  # noqa: E402

_SEVERAL = ("-m", "--multirun")
_HOME = re.compile(r"""^(paths\.\w+)=(~[^"',]*)$""")
_LETTERS = re.compile(r"""^([\w.@/+]+)=(?=.*[^\0-\x7f])([^"'\\,()\[\]{}=]*)$""")
"""Options whose value Hydra reads in quotes alone."""
_NOT_RUN = ("-h", "--help", "--hydra-help", "--version", "-c", "--cfg", "-i", "--info", "-sc")
"""Flags with which a command line runs nothing."""


@hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
def cell(config: DictConfig) -> int:
    """Run one cell and return its exit code."""
    from xfeedback.builder import run_cell

    try:
        return run_cell(config)
    except Preempted as stop:
        _leave(stop)
    except Exception as error:  # noqa: BLE001 - Hydra would print all overrides before it lets an exception through
        _stop(error)


def main() -> None:
    """Run the command line; whatever goes wrong ends it with one line."""
    try:
        if re.fullmatch(r"[a-z_]+", " ".join(sys.argv[1:2])):
            from xfeedback import commands

            raise SystemExit(commands.run(sys.argv[1:]))
        sys.argv[1:] = several(quoted(sys.argv[1:]))
        cell()
    except Preempted as stop:  # of a sweep in this process
        _leave(stop)
    except KeyboardInterrupt:
        _end("interrupted; the same command resumes where it stood", 130)
    except Exception as error:  # noqa: BLE001 - the traceback is there for whoever asks for it
        _stop(error)


def quoted(arguments: Sequence[str]) -> list[str]:
    """Return a command line with quotes round what Hydra does not read without them.

    That is a folder that begins with ``~``, and a value with letters beyond ASCII, but for lists and the like.

    >>> quoted(["method=xbl", "paths.outputs=~/x", "dataset.root=/home/j\u00fcrgen"])
    ['method=xbl', 'paths.outputs="~/x"', 'dataset.root="/home/j\u00fcrgen"']
    """
    return [_LETTERS.sub(r'\1="\2"', _HOME.sub(r'\1="\2"', argument)) for argument in arguments]


def several(arguments: Sequence[str]) -> list[str]:
    """Return a command line with the flag for several runs at its end, where it has it or asks for several seeds.

    Between two options Hydra would not understand what comes after it.
    """
    if any(argument in _SEVERAL for argument in arguments):
        return [*(argument for argument in arguments if argument not in _SEVERAL), "-m"]
    asks = any(argument.startswith("seeds=") and argument != "seeds=null" for argument in arguments)
    answered = any(argument.split("=")[0] in _NOT_RUN for argument in arguments)
    return [*arguments, "-m"] if asks and not answered else list(arguments)


def composed(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the options of a run with these overrides, as nested plain values.

    Raises:
        Exception: one of them is wrong; :func:`xfeedback.builder.explain` says why in a line.
    """
    from xfeedback.builder import plain_config

    with hydra.initialize_config_dir(str(CONF.absolute()), version_base="1.3"):
        return plain_config(hydra.compose("config", overrides=quoted(overrides)))


def _leave(stop: Preempted) -> NoReturn:
    """End the process as whoever started it wants that: submitit's own handler queues the job anew."""
    former = signal.getsignal(stop.signal_number)
    if callable(former):
        former(stop.signal_number, None)
    _end(str(stop), stop.exit_code)


def _stop(error: Exception) -> NoReturn:
    from xfeedback.builder import explain

    explained = explain(error)
    _end(str(explained), explained.exit_code)


def _end(line: str, code: int) -> NoReturn:
    if ASKED_FOR_TRACEBACK:
        traceback.print_exc()
    sys.stderr.write(f"error: {line}\n")
    raise SystemExit(code)
