"""Reading pickles from strangers: arrays, dictionaries, lists, text and numbers, and nothing that could run code."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from xfeedback.data import folders
from xfeedback.errors import UserError

_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


class _ForbiddenError(Exception):
    """The pickle names something that is not needed to make an array."""


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in _ALLOWED:
            raise _ForbiddenError(f"{module_name}.{global_name}")
        if global_name == "_reconstruct":
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        return {"ndarray": np.ndarray, "dtype": np.dtype}[global_name]


def load(path: Path, content: bytes) -> Any:
    """Return the object in ``content``, a Python 2 or 3 pickle; text of Python 2 comes as bytes.

    Raises:
        UserError: the pickle is damaged, or asks for anything else than numpy arrays and plain values.
    """
    try:
        return _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    except _ForbiddenError as error:
        raise UserError(
            f"{path} is refused: it asks for {error}, and a data file needs numpy arrays only. Don't use this file."
        ) from error
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        MemoryError,
        OverflowError,
    ) as error:
        raise folders.damaged(path, f"no readable pickle ({error or type(error).__name__})") from error
