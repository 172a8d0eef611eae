"""From a trained module to the content of ``result.json``."""

import hashlib
import io
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xfeedback import files
from xfeedback.data import inputs
from xfeedback.data.task import Task
from xfeedback.engine.confusion import write_confusion
from xfeedback.engine.cost import step_ratio
from xfeedback.engine.evaluate import evaluate
from xfeedback.engine.pictures import write_pictures
from xfeedback.engine.spec import RunSpec
from xfeedback.engine.train import Trained, selection_metric
from xfeedback.feedback import FeedbackModule


def measure(spec: RunSpec, task: Task, module: FeedbackModule, trained: Trained, folder: Path) -> dict[str, Any]:
    """Evaluate, time, and save weights and pictures; return the result's content."""
    device = trained.device
    module.to(device)
    evaluation = evaluate(module.network, task, spec.evaluation, device)
    batches = list(islice(task.train_loader(spec.trainer.batch_size, device, spec.seed), 4))
    cost = {"cost/step_ratio": step_ratio(module, batches)}
    if trained.step_ms is not None:
        cost["cost/step_ms"] = trained.step_ms
    weights = save_weights(module.network, folder / "weights.pt")
    files.write_json(folder / inputs.FILE, inputs.Inputs.of(task).plain())
    write_pictures(folder, evaluation.pictures, task.class_names)
    write_confusion(folder, evaluation.confusion, task.class_names)
    return {
        **trained.continual,
        "metrics": {**_named(evaluation.metrics | trained.continual.get("metrics", {}), spec), **cost},
        "stamps": [*task.stamps_now, *module.stamps],
        "select_on": selection_metric(spec, task) or "last",
        "selected_epoch": trained.epoch,
        "epochs": trained.epochs,
        "steps": trained.steps,
        "resumed": bool(trained.notes),
        "notes": [*spec.notices, *module.notes, *trained.notes, *evaluation.notes],
        **({"curves": dict(evaluation.curves)} if evaluation.curves else {}),
        "reliability": {name: dict(bins) for name, bins in evaluation.reliability.items()},
        "weights_sha256": weights,
    }


def _named(metrics: dict[str, float], spec: RunSpec) -> dict[str, float]:
    """What was measured on validation data says so in its name."""
    return {f"val/{name}": value for name, value in metrics.items()} if spec.evaluation.split != "test" else metrics


def save_weights(network: nn.Module, path: Path) -> str:
    """Write the weights and return a hash of their names and bits."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    files.write_bytes(path, buffer.getvalue())
    return digest(weights)


def digest(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of weights' names and bits, whatever their shapes."""
    found = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        found.update(name.encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
