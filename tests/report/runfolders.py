"""Make run folders like the engine's, with invented numbers and real handwritten digits, for tests of the report."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from sklearn.datasets import load_digits

VIEWS = ("acc/random", "acc/conflict", "acc/clean", "acc/correlated")
PROFILE = {  # accuracies on the four views, share inside the annotation, milliseconds a step, how the map looks
    "plain": ((11.2, 0.3, 12.0, 99.8), 18.0, 4.0, "decoy"),
    "rrr": ((88.7, 87.0, 89.5, 96.1), 55.0, 9.1, "both"),
    "xbl": ((93.6, 92.8, 93.9, 96.7), 74.0, 4.6, "digit"),
    "saliency_guided": ((11.4, 0.6, 14.0, 99.5), 20.0, 8.2, "decoy"),
}


@dataclass
class Cell:
    """One configured method; every number of its runs follows from it and the seed."""

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    dataset: str = "decoy_digits"
    model: str = "gapnet"
    variant: str = "clean"
    stamps: tuple[str, ...] = ()
    shift: float = 0.0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def config(self, seed: int) -> dict[str, Any]:
        return {
            "seed": seed,
            "variant": self.variant,
            "method": {name: dict(self.options) for name in self.method.split("+") if name != "plain"},
            "dataset": {"name": self.dataset, "limit_train": None},
            "model": {"name": self.model, "width": 16},
            "optimiser": {"name": "adam", "lr": 0.003},
            "trainer": {"max_epochs": 6, "precision": "32"},
            "paths": {"output": f"/somewhere/{seed}"},
            **self.extra,
        }

    @property
    def cell(self) -> str:
        return _hash({key: value for key, value in self.config(0).items() if key not in ("seed", "paths")})

    def name(self, seed: int) -> str:
        return f"{self.dataset}-{self.model}-{self.method}-s{seed}-{_hash([self.cell, seed])}"


def write_run(
    root: Path,
    cell: Cell,
    seed: int,
    status: str = "done",
    *,
    maps: bool = True,
    metrics: Mapping[str, float] | None = None,
    error: str = "loss became nan (term=xbl/exp, step=12)",
) -> Path:
    """Write one run folder below ``root`` and return it."""
    folder = root / cell.name(seed)
    folder.mkdir(parents=True)
    rng = np.random.default_rng([seed, int(cell.cell[:8], 16)])
    (folder / "config.yaml").write_text(yaml.safe_dump(cell.config(seed), sort_keys=False))
    _dump(folder / "provenance.json", _provenance(cell, seed))
    if status == "unfinished":
        _history(folder, cell, rng, epochs=2)
        return folder
    who = {
        "run": folder.name,
        "dataset": cell.dataset,
        "model": cell.model,
        "method": cell.method,
        "seed": seed,
        "cell": cell.cell,
    }
    if status == "failed":
        _history(folder, cell, rng, epochs=3)
        _dump(
            folder / "error.json",
            who | {"error": error, "kind": "TrainingError", "traceback": "...", "at": "2026-01-05T10:00:00"},
        )
        return folder
    _history(folder, cell, rng, epochs=6)
    if maps:
        _explanations(folder, cell, rng)
    numbers = dict(metrics) if metrics is not None else _metrics(cell, rng)
    _dump(folder / "result.json", who | {
        "status": "done", "variant": cell.variant, "metrics": numbers,
        "stamps": list(cell.stamps), "select_on": "last", "epochs": 6, "seconds": 12.5, "resumed": False, "notes": [],
        "finished_at": f"2026-01-05T10:{seed:02d}:30",
    })  # fmt: skip
    return folder


def write_runs(root: Path, cells: Sequence[Cell], seeds: Sequence[int] = (0, 1, 2), **kwargs: Any) -> list[Path]:
    """Write all runs of ``cells`` and return their folders, cell by cell."""
    return [write_run(root, cell, seed, **kwargs) for cell in cells for seed in seeds]


def standard() -> list[Cell]:
    """The four methods of the default comparison."""
    return [
        Cell("plain"),
        Cell("rrr", {"weight": 10.0}),
        Cell("xbl", {"c_cls": 1.0, "c_exp": 10.0, "guided": True}),
        Cell("saliency_guided", {"mask_fraction": 0.5, "lambda_kl": 1.0}),
    ]


def _metrics(cell: Cell, rng: np.random.Generator) -> dict[str, float]:
    accuracies, inside, cost, _ = PROFILE[cell.method.split("+")[0]]
    found = {
        view: float(np.clip(mean + cell.shift + rng.normal(0, 1.2), 0, 100))
        for view, mean in zip(VIEWS, accuracies, strict=True)
    }
    return found | {
        "explanation/inside": inside + float(rng.normal(0, 2)),
        "explanation/inside_gradient": inside * 0.6 + float(rng.normal(0, 2)),
        "cost/step_ms": cost + float(rng.uniform(0, 0.3)),
    }


def _history(folder: Path, cell: Cell, rng: np.random.Generator, epochs: int) -> None:
    top = PROFILE[cell.method.split("+")[0]][0][0]
    lines = []
    for epoch in range(epochs):
        rise = 1 - np.exp(-(epoch + 1) / 2)
        lines.append({
            "epoch": epoch, "step": (epoch + 1) * 19, "phase": "0",
            "train/loss": float(2.3 * (1 - 0.9 * rise) + rng.uniform(0, 0.1)),
            "train/ce": float(2.3 * (1 - 0.92 * rise) + rng.uniform(0, 0.1)), "train/acc": float(99 * rise),
            "val/random": float(np.clip(10 + (top - 10) * rise + rng.normal(0, 3), 0, 100)), "seconds": 0.4,
        })  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@cache
def pictures(count: int = 10) -> dict[str, np.ndarray]:
    """Digits of 32x32 with a decoy patch in a corner, the digit's pixels and the patch's pixels."""
    digits = load_digits()
    index = np.array([int(np.flatnonzero(digits.target == label)[20]) for label in range(count)])
    small = np.kron(digits.images[index] / 16, np.ones((1, 3, 3)))
    image = np.zeros((count, 32, 32))
    image[:, 4:28, 4:28] = 0.5 * small
    mask = image > 0
    wrong = np.zeros_like(mask)
    for position in range(count):
        row, column = (0, 28) if position % 2 else (28, 0)
        wrong[position, row : row + 4, column : column + 4] = True
        image[position][wrong[position]] = 1 - 0.09 * ((3 * position) % 10)
    return {
        "images": np.uint8(255 * image)[..., None],
        "mask": mask,
        "wrong": wrong,
        "label": digits.target[index],
        "index": index,
    }


def _explanations(folder: Path, cell: Cell, rng: np.random.Generator) -> None:
    seen = pictures()
    accuracies, _, _, looks = PROFILE[cell.method.split("+")[0]]
    right = rng.uniform(0, 100, len(seen["label"])) < accuracies[0]
    prediction = np.where(right, seen["label"], (seen["label"] + 3) % 10)
    share = {"decoy": (0.15, 1.0), "digit": (1.0, 0.03), "both": (1.0, 0.45)}[looks]
    coarse = _blur(share[0] * seen["mask"] + share[1] * seen["wrong"], 5) + rng.uniform(0, 0.02, seen["mask"].shape)
    fine = _blur((share[0] * seen["mask"] + share[1] * seen["wrong"]) * rng.uniform(0, 1, seen["mask"].shape), 1)
    np.savez_compressed(
        folder / "explanations.npz", **seen, prediction=prediction,
        **{"map/grad_cam": _scale(coarse).astype(np.float16), "map/gradient": _scale(fine).astype(np.float16)},
    )  # fmt: skip


def _blur(maps: np.ndarray, radius: int) -> np.ndarray:
    kernel = np.exp(-(np.arange(-2 * radius, 2 * radius + 1) ** 2) / (2 * radius**2 / 2 + 0.1))
    for axis in (1, 2):
        maps = np.apply_along_axis(lambda line: np.convolve(line, kernel / kernel.sum(), "same"), axis, maps)
    return maps


def _scale(maps: np.ndarray) -> np.ndarray:
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    return (maps - low) / (high - low)


def _provenance(cell: Cell, seed: int) -> dict[str, Any]:
    return {
        "git": {"commit": "3961109aa0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5", "dirty": False},
        "versions": {"python": "3.11.7", "torch": "2.11.0", "xfeedback": "0.1.0"},
        "machine": {"host": f"node{seed % 2 + 1}", "cpu": "Xeon", "cores": 2, "gpu": None},
        "data": {"fingerprint": "5f0c1e9b7a33", "stamps": list(cell.stamps)},
        "command": f"python run.py method={cell.method} seed={seed}",
        "started_at": "2026-01-05T10:00:00",
    }


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2))


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
