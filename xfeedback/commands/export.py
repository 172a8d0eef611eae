"""``xfeedback export RUN``: a trained network in a folder of its own, with a card that says what it is good for."""

import copy
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xfeedback.commands.parser import RUN, Parser
from xfeedback.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from xfeedback.trained import TrainedRun

ABOUT = """\
Write the network of a finished run into a folder that needs no data set and no code but xfeedback's:
weights (safetensors), options, what it must be given, the run's figures, a model card, and ONNX where that works.

  xfeedback export outputs/runs/NAME                  into outputs/exported/NAME
  xfeedback export outputs/runs/NAME --to FOLDER
  xfeedback predict FOLDER photo.jpg                  an export is used like a run
"""
ONNX = "model.onnx"
COPIED = ("config.yaml", "inputs.json", "provenance.json", "result.json", "explanations.png")


def run(arguments: Sequence[str]) -> int:
    """Write the export and print what is in it."""
    parser = Parser("export", description=ABOUT)
    parser.add_argument("run", help=RUN)
    parser.add_argument("--to", type=Path, help="the folder to make; default: exported/NAME beside the folder of runs")
    asked = parser.parse_args(arguments)

    from xfeedback import trained

    path = trained.found(Path(asked.run))
    target: Path = asked.to or path.resolve().parent.parent / "exported" / path.name
    _refuse_existing(target)
    loaded = trained.load(path)
    without = export(loaded, target)
    sys.stdout.write(f"exported {path.name} to {target}\n")
    if without:
        sys.stdout.write(f"{ONNX} was left out: {without}\n")
    return 0


def export(loaded: "TrainedRun", target: Path) -> str | None:
    """Write a trained network into a new folder, which is whole or not there.

    Returns:
        Why there is no ONNX file, or None where there is one.

    Raises:
        UserError: the folder can't be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as temporary:
            made = Path(temporary) / "export"
            made.mkdir()
            without = _fill(loaded, made)
            for file in made.iterdir():
                file.chmod(0o644)
                _flush(file)
            made.replace(target)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}. Choose another with --to.") from error
    return without


def _fill(loaded: "TrainedRun", folder: Path) -> str | None:
    from safetensors.torch import save_file

    from xfeedback import files
    from xfeedback.commands import card
    from xfeedback.trained import SAFE

    weights = {name: value.detach().contiguous().clone() for name, value in loaded.network.state_dict().items()}
    save_file(weights, folder / SAFE, metadata={"format": "pt", "run": str(loaded.result["run"])})
    for name in COPIED:
        if (loaded.folder / name).is_file():
            shutil.copyfile(loaded.folder / name, folder / name)
    if not (folder / "inputs.json").exists():  # a run from before they were kept
        files.write_json(folder / "inputs.json", loaded.inputs.plain())
    without = to_onnx(loaded, folder / ONNX)
    (folder / "README.md").write_text(card.text(loaded, without))
    return without


def to_onnx(loaded: "TrainedRun", file: Path) -> str | None:
    """Write the network as ONNX with inputs ``x`` and outputs ``logits``, any number of samples at a time.

    Returns:
        Why it was left out, or None.
    """
    from importlib.util import find_spec

    missing = [package for package in ("onnx", "onnxscript") if find_spec(package) is None]
    if missing:
        return f"no package {' and '.join(missing)} (pip install onnx onnxscript, and export again)"
    import torch

    from xfeedback import models

    example = models.example(loaded.inputs.in_shape, loaded.inputs.kind).repeat(2, *(1 for _ in loaded.inputs.in_shape))
    options: dict[str, Any] = {"input_names": ["x"], "output_names": ["logits"], "external_data": False}
    options["dynamic_shapes"] = ({0: torch.export.Dim("samples")},)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch's exporter says of itself
            torch.onnx.export(_expressible(loaded.network), (example,), str(file), verbose=False, **options)
    except Exception as error:  # noqa: BLE001 - whatever in this network has no form in ONNX
        file.unlink(missing_ok=True)
        return f"this network can't be expressed in ONNX: {_cause(error)}"
    return None


def _expressible(network: "nn.Module") -> "nn.Module":
    """A copy without the pooling that ONNX has no operation for, the largest value of all, which it has another for."""
    from torch import nn

    class Largest(nn.Module):
        def forward(self, x: "Tensor") -> "Tensor":
            return x.amax(-1, keepdim=True)

    network = copy.deepcopy(network)
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.AdaptiveMaxPool1d) and module.output_size == 1:
            network.set_submodule(name, Largest())
    return network


def _cause(error: BaseException) -> str:
    """What an error began with, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"


def _refuse_existing(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} is there already. Remove it, or choose another folder with --to.")


def _flush(file: Path) -> None:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())
