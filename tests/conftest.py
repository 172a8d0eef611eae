"""Shared fixtures: one thread for repeatable bits, and the folder with real data sets."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real data sets: ``$XFEEDBACK_DATA`` or ``../shared/data`` beside the checkout."""
    folder = Path(os.environ.get("XFEEDBACK_DATA", ROOT.parent / "shared" / "data"))
    if folder.is_dir():
        return folder
    message = f"no real data at {folder}; set XFEEDBACK_DATA to a folder with MNIST/, CIFAR10/, ..."
    if os.environ.get("XFEEDBACK_REQUIRE_DATA") == "1":
        pytest.fail(message)
    pytest.skip(message)
