"""Fixtures that several files share."""

from pathlib import Path

import numpy as np
import pytest

from tests.data.image_folders import SIZE, level, write
from xfeedback import data
from xfeedback.data import cifar_batches
from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.options import Places
from xfeedback.data.sets import cifar


@pytest.fixture(name="load")
def loaded_texts(tmp_path):
    """Load a small set of texts by its name."""

    def load(name, **options):
        config = data.config_class(name)(min_count=1, **options)
        return data.load(config, DecoyConfig(name="none"), seed=0, root=tmp_path, cache=tmp_path / "cache")

    return load


@pytest.fixture(name="places")
def small_cifar_places(tmp_path, monkeypatch):
    """Small numbers for the sizes of the splits, and no network."""
    monkeypatch.setattr(cifar, "SUBSET_TRAIN", 30)
    monkeypatch.setattr(cifar, "JPEG_VALIDATION", 12)

    def fail(*_args):
        raise OSError("no network")

    monkeypatch.setattr(cifar_batches, "_fetch", fail)
    return Places(root=tmp_path / "root", extra=(tmp_path / "extra",), cache=tmp_path / "cache")


@pytest.fixture(name="root")
def image_folder_root(tmp_path) -> Path:
    """Ten pictures of cats and ten of dogs, each of one grey in colour mode: the grey tells which it is."""
    for name in ("cat", "dog"):
        for i in range(10):
            write(tmp_path / "mine" / "images" / name / f"{i}.png", np.full((*SIZE, 3), level(name, i)))
    return tmp_path / "mine"
