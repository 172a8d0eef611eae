"""Arguments of the commands: a mistake is one line."""

import argparse
import sys
from pathlib import Path
from typing import Any, NoReturn

from xfeedback.errors import UserError

RUN = "folder of a finished run (outputs/runs/NAME), its name, or the folder of an export"


class Parser(argparse.ArgumentParser):
    """argparse with errors as :class:`~xfeedback.errors.UserError`."""

    def __init__(self, name: str, **options: Any) -> None:
        described = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=f"{program()} {name}", formatter_class=described, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments.

        Raises:
            UserError: always.
        """
        raise UserError(f"{message}. `{self.prog} --help` shows the arguments.")


def program() -> str:
    """Return how the program was called: ``xfeedback``, or ``python run.py`` in the checkout."""
    return "python run.py" if Path(sys.argv[0]).name == "run.py" else "xfeedback"
