"""Write a run's explanations: arrays for the report, and a picture to look at."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfeedback import files


def write_pictures(folder: Path, arrays: Mapping[str, NDArray], class_names: Sequence[str]) -> None:
    """Write ``explanations.npz`` and ``explanations.png``, when there is anything to show."""
    if not arrays:
        return
    from xfeedback.report.heatmaps import run_picture

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays, allow_pickle=False)  # type: ignore[arg-type]
    files.write_bytes(folder / "explanations.npz", buffer.getvalue())
    files.write_bytes(folder / "explanations.png", run_picture(arrays, class_names))
