"""A trained network from a run's folder or from an export: ``load("outputs/runs/...")``.

Needs neither the data set nor the configuration files: what a network must be given stands beside its weights.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from xfeedback import files
from xfeedback.data import inputs as described
from xfeedback.data.inputs import Inputs
from xfeedback.errors import FeedbackWarning, UserError, suggest

if TYPE_CHECKING:
    from torch import Tensor, nn

    from xfeedback.data.entered import Sample
    from xfeedback.engine.spec import RunSpec

SAFE = "model.safetensors"
"""The weights of an export."""
BATCH = 64


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """A finished run with its network.

    Attributes:
        folder: of the run or the export.
        spec: its options.
        inputs: what the network must be given.
        result: the content of ``result.json``.
        provenance: the content of ``provenance.json``.
        network: with the selected weights, on the CPU and in evaluation mode.
    """

    folder: Path
    spec: "RunSpec"
    inputs: Inputs
    result: Mapping[str, Any]
    provenance: Mapping[str, Any]
    network: "nn.Module"

    def predict(self, given: Sequence[str]) -> "Iterator[tuple[Sample, Tensor]]":
        """Yield the samples of some files or texts, each with the probabilities of its classes ``(N,)``.

        Args:
            given: files of images, clips or series, or texts; see :mod:`xfeedback.data.entered`.

        Raises:
            UserError: one of them can't be read, or does not fit the network.
        """
        import torch

        from xfeedback.data import entered

        for batch in entered.batches(entered.read(given, self.spec.dataset, self.inputs), BATCH):
            with torch.no_grad():
                shares = self.network(torch.stack([sample.x for sample in batch])).double().softmax(1)
            yield from zip(batch, shares, strict=True)


def load(folder: str | Path) -> TrainedRun:
    """Return the network of a finished run, or of an export, with its weights verified.

    A run from before networks were described beside their weights reads its data set once for that.

    Raises:
        UserError: there is no such run, it is not finished, or a file of it is missing or damaged.
    """
    path = found(Path(folder))
    result = _result(path / "result.json")
    spec = _spec(path)
    inputs = _inputs(path, spec)
    try:
        network = _bare(spec, inputs)
    except UserError:
        raise
    except Exception as error:  # what its files say of it may be anything
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise UserError(f"{path}: no network can be built by its config.yaml and inputs.json: {reason}") from error
    weights = _weights(path, result)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the weights in {path} don't fit its config.yaml: {reason}") from error
    provenance = _checked(path / "provenance.json", {"data": dict, "git": dict, "versions": dict}, {})
    return TrainedRun(
        folder=path, spec=spec, inputs=inputs, result=result, provenance=provenance, network=network.eval()
    )


def found(folder: Path) -> Path:
    """Return the folder of a finished run or an export; a run's name is looked for in ``outputs/runs``.

    Raises:
        UserError: there is none, or the run is not finished.
    """
    runs = Path("outputs") / "runs"
    path = folder if folder.is_dir() else runs / folder.name
    if not path.is_dir():
        near = suggest(folder.name, [entry.name for entry in runs.iterdir()] if runs.is_dir() else [])
        raise UserError(f"no run in {folder}.{near} Give the folder of a run, outputs/runs/NAME, or of an export.")
    if (path / "result.json").is_file():
        return path
    if not (path / "config.yaml").is_file():
        raise UserError(f"{path} is no run: it has no config.yaml and no result.json.")
    raise UserError(f"the run {path} is not finished{_why(path)}; the command that began it goes on where it stood.")


def _why(path: Path) -> str:
    error = path / "error.json"
    return f" ({' '.join(str(files.read_record(error).get('error')).split())[:200]})" if error.is_file() else ""


def _result(file: Path) -> dict[str, Any]:
    needed = {"run": str, "metrics": dict, "weights_sha256": str}
    found = _checked(file, {"stamps": list, "notes": list}, needed)
    odd = [name for name, value in found["metrics"].items() if not isinstance(value, int | float)]
    if odd:
        raise _damaged(file, f"the metric {odd[0]} is no number")
    if not all(isinstance(line, str) for name in ("stamps", "notes") for line in found.get(name, ())):
        raise _damaged(file, "a stamp or note is no text")
    return found


def _checked(file: Path, may: Mapping[str, type], must: Mapping[str, type]) -> dict[str, Any]:
    """Read a record of a run: what it must say is there, and that and what it may say are of their kinds."""
    found = files.read_record(file)
    for name, kind in {**may, **must}.items():
        if name not in found and name in must:
            raise _damaged(file, f"'{name}' is missing")
        if not isinstance(found.get(name, kind()), kind):
            raise _damaged(file, f"'{name}' is not what it should be")
    return found


def _damaged(file: Path, why: str) -> UserError:
    return UserError(
        f"{file} is damaged: {why}. Restore it from a copy, or run the same command again with force=true."
    )


def _spec(path: Path) -> "RunSpec":
    from xfeedback.engine.spec import RunSpec

    try:
        values = yaml.safe_load((path / "config.yaml").read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"cannot read {path / 'config.yaml'}: {' '.join(str(error).split())[:150]}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path / 'config.yaml'} is damaged: it holds no options")
    return RunSpec.from_plain(values)


def _inputs(path: Path, spec: "RunSpec") -> Inputs:
    file = path / described.FILE
    if file.is_file():
        return Inputs.read(file)
    from xfeedback.engine.run import load_task

    return Inputs.of(load_task(spec))


def _bare(spec: "RunSpec", inputs: Inputs) -> "nn.Module":
    """Build the network as training began with it, with any weights."""
    from xfeedback import methods, models
    from xfeedback.feedback import FeedbackModule

    model: Any = spec.model
    if getattr(model, "pretrained", False):
        model = replace(model, pretrained=False)  # its own weights follow; nothing is downloaded
    known: dict[str, Any] = {"kind": inputs.kind, "vocabulary": inputs.vocabulary}
    network = models.build(model, inputs.in_shape, len(inputs.class_names), spec.seed, **known)
    feedbacks = [methods.feedback_class(name)(config) for name, config in spec.methods.items()]
    host: dict[str, Any] = {
        "example": models.example(inputs.in_shape, inputs.kind),
        "seed": spec.seed,
        "channels_last": spec.trainer.channels_last,
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FeedbackWarning)  # they stand in result.json
        return FeedbackModule(network, feedbacks, **host).network


def _weights(path: Path, result: Mapping[str, Any]) -> "dict[str, Tensor]":
    """Return the weights as they were when the run was finished."""
    from xfeedback.engine.result import digest

    safe = path / SAFE
    file = safe if safe.is_file() else path / "weights.pt"
    try:
        weights = _safe(file) if file == safe else _pickled(file)
    except Exception as error:  # a damaged file fails in any way
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise UserError(
            f"cannot read the weights {file}: {reason}. Run the same command again with force=true."
        ) from error
    if digest(weights) != result.get("weights_sha256"):
        raise UserError(f"{file} is damaged: its weights are not those that result.json names by weights_sha256.")
    return weights


def _safe(file: Path) -> "dict[str, Tensor]":
    from safetensors.torch import load_file

    return load_file(file)


def _pickled(file: Path) -> "dict[str, Tensor]":
    import torch

    return torch.load(file, map_location="cpu", weights_only=True)
