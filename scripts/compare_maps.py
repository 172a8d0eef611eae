"""Draw the explanations of several runs of the same test images under one another.

    python scripts/compare_maps.py OUT.png plain=RUN xbl=RUN ... [explainer]

The line at the bottom is what the first run says. The README's picture was made this way.
"""

import io
import sys
from pathlib import Path

import numpy as np

from xfeedback import files
from xfeedback.engine.pictures import run_picture
from xfeedback.errors import UserError

SAME = {"index", "images", "series", "tokens"}
"""What tells test samples, decoys on them included, apart."""


def combined(runs: dict[str, Path], explainer: str) -> dict[str, np.ndarray]:
    """Return the first run's arrays with one map a run in place of its own.

    Raises:
        UserError: a run has no such explanations, or explained other images.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, folder in runs.items():
        try:
            with np.load(folder / "explanations.npz", allow_pickle=False) as kept:
                found = dict(kept)
            cover = found[f"map/{explainer}"]
        except (OSError, KeyError) as error:
            raise UserError(f"{folder} has no explanations by {explainer} ({error})") from error
        if not arrays:
            arrays = {key: value for key, value in found.items() if not key.startswith("map/")}
        elif not all(np.array_equal(arrays[name], found.get(name, ())) for name in arrays.keys() & SAME):
            raise UserError(f"{folder} explained other test images than the first run")
        arrays[f"map/{name}"] = cover
    return arrays


def main() -> int:
    """Write the picture; return the exit code."""
    pairs = [text.partition("=") for text in sys.argv[2:] if "=" in text]
    explainer = next((text for text in sys.argv[2:] if "=" not in text), "grad_cam")
    if not pairs:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    try:
        arrays = combined({name: Path(folder) for name, _, folder in pairs}, explainer)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    names = [str(number) for number in range(int(max(arrays["label"].max(), arrays["prediction"].max())) + 1)]
    picture = io.BytesIO()
    run_picture(arrays, names).save(picture, "PNG")
    files.write_bytes(Path(sys.argv[1]), picture.getvalue())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
