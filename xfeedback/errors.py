"""Errors that end a command with one clear line instead of a traceback."""

import signal
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """The request can't be carried out as asked: the message says what is wrong and what to do (exit code 2)."""

    exit_code = 2


class TrainingError(Exception):
    """A run failed after it had started: the message says where and why (exit code 1)."""

    exit_code = 1


class Preempted(BaseException):
    """Training was asked to stop by a signal, and its state is saved (exit code 75: the same command goes on).

    No error, so that nothing swallows it on its way out.

    Attributes:
        signal_number: of the signal that asked.
    """

    exit_code = 75

    def __init__(self, signal_number: int) -> None:
        name = signal.Signals(signal_number).name
        super().__init__(f"stopped by {name}; the same command goes on where it stood")
        self.signal_number = signal_number


class FeedbackWarning(UserWarning):
    """A method will run on this network, but can hardly do what it is for."""


def suggest(word: str, choices: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the nearest of ``choices``, or an empty string when nothing is near.

    >>> suggest("xlb", ["plain", "xbl"])
    " Did you mean 'xbl'?"
    """
    near = get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else ""


def unknown(kind: str, word: str, choices: Iterable[str]) -> UserError:
    """Build the error for a name that does not exist, with a suggestion and all choices."""
    known = sorted(choices)
    return UserError(f"unknown {kind} '{word}'.{suggest(word, known)} Choices: {', '.join(known)}.")
