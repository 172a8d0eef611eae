"""What one does with trained runs and own data: ``xfeedback explain``, ``predict``, ``export``, ``data``.

A module here has ``run(arguments) -> int``, which returns the exit code and imports what is slow when it needs it.
"""

from collections.abc import Sequence
from importlib import import_module

from xfeedback.errors import unknown

NAMES = ("data", "explain", "export", "predict")


def run(arguments: Sequence[str]) -> int:
    """Run the command that the first argument names, and return its exit code.

    Raises:
        UserError: there is no such command, or it can't do what is asked.
    """
    name, *rest = arguments
    if name not in NAMES:
        raise unknown("command", name, NAMES)
    return import_module(f"{__name__}.{name}").run(rest)
