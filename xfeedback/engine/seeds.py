"""How many seeds a cell is run with, and how. Light: importing this module imports no torch."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from xfeedback.errors import UserError, suggest

Execution = Literal["auto", "vmap", "processes", "serial"]


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """What a command line says of seeds.

    Attributes:
        count: each cell is run with so many, ``seed``, ``seed + 1``, ...; None: with ``seed`` alone.
        execution: ``vmap``: the seeds of a cell as one program; ``processes``: cells side by side on this machine;
            ``serial``: one after the other; ``auto``: with ``seeds`` the first on a GPU and the second elsewhere,
            without it the third.
    """

    count: int | None = None
    execution: Execution = "auto"

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Read ``seeds`` and ``execution``.

        Raises:
            UserError: one of them can't work.
        """
        count, execution = values.get("seeds"), values.get("execution", "auto")
        whole = isinstance(count, int) and not isinstance(count, bool)
        if count is not None and not (whole and count >= 1):
            raise UserError(f"seeds={count} must be a whole number, 1 or more: so many seeds, from seed=... on")
        if execution not in get_args(Execution):
            known = get_args(Execution)
            raise UserError(f"execution={execution} must be one of {', '.join(known)}.{suggest(str(execution), known)}")
        return cls(count=count, execution=execution)

    def cells(self, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the options of a cell with each of its seeds."""
        first = values.get("seed", 0)
        if self.count is None or not isinstance(first, int):  # what is wrong with it is said where all options are read
            return [dict(values)]
        return [{**values, "seed": first + k} for k in range(self.count)]

    def refuse_single(self) -> None:
        """Refuse what makes no sense of a single run.

        Raises:
            UserError: several seeds, or a way to run several.
        """
        if self.count is not None:
            raise UserError(f"seeds={self.count} is several runs: add -m to the command")
        if self.execution not in ("auto", "serial"):
            raise UserError(f"execution={self.execution} is a way to run several seeds: add seeds=8, say")

    def refuse_list(self) -> None:
        """Refuse a number of seeds where several are listed too.

        Raises:
            UserError: there is one.
        """
        if self.count is not None:
            raise UserError(f"seeds={self.count} and a list of seed=... both say which seeds: leave one of them out")

    def refuse_ways(self, by: str) -> None:
        """Refuse a way to run seeds that does not go with a sweeper of this name.

        Raises:
            UserError: it does not.
        """
        if self.execution not in ("auto", "serial"):
            raise UserError(f"execution={self.execution} does not go with {by}: take hydra/launcher=joblib")


def cores() -> int:
    """Return how many processes can compute at a time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
