"""Arguments of the commands: a mistake is one line."""

import argparse
from typing import NoReturn

from xfeedback.errors import UserError

RUN = "folder of a finished run (outputs/runs/NAME), its name, or the folder of an export"


class Parser(argparse.ArgumentParser):
    """argparse with errors as :class:`~xfeedback.errors.UserError`."""

    def __init__(self, name: str, **options: object) -> None:
        described = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=f"xfeedback {name}", formatter_class=described, allow_abbrev=False, **options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments.

        Raises:
            UserError: always.
        """
        raise UserError(f"{message}. `{self.prog} --help` shows the arguments.")
