"""Where a number comes from: code, versions, data, machine, command."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("xfeedback", "torchvision", "torchaudio", "pytorch-lightning", "hydra-core", "numpy", "timm")

CHECKOUT = Path(__file__).parents[2]


def collect(*, fingerprint: str, stamps: tuple[str, ...]) -> dict[str, Any]:
    """Return what is needed to repeat a run: commit, versions, data fingerprint, machine, command."""
    return {
        "git": git_state(CHECKOUT),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,  # with its build: +cpu and +cu130 round differently
            **{package: _version(package) for package in PACKAGES},
        },
        "data": {"fingerprint": fingerprint, "stamps": list(stamps)},
        "machine": {
            "host": platform.node(),
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "command": sys.argv,
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def commit() -> str | None:
    """Return the commit of this code, or None where there is no git."""
    return _git(CHECKOUT, "rev-parse", "HEAD")


def git_state(folder: Path) -> dict[str, Any]:
    """Return ``{"commit", "dirty"}`` of the checkout, with None where there is no git."""
    commit = _git(folder, "rev-parse", "HEAD")
    status = _git(folder, "status", "--porcelain")
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
