"""What trouble with a tracker looks like to a person: one line, above the progress bar."""

import sys

from tqdm import tqdm


def one_line(error: BaseException) -> str:
    """Return an error's text on one line, its kind where it has no text.

    >>> one_line(ConnectionError("the server   went away."))
    'the server went away'
    """
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def note(text: str) -> None:
    """Show a line on stderr, above the progress bar."""
    tqdm.write(f"note: {text}", file=sys.stderr)
