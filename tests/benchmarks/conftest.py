"""The benchmarks are scripts beside each other; their fragments go to a folder of the test's."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Import a benchmark by its name."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    before = set(sys.modules)
    monkeypatch.setattr(importlib.import_module("common"), "FRAGMENTS", tmp_path / "bench")
    yield importlib.import_module
    own = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    for name in (set(sys.modules) - before) & own:
        del sys.modules[name]
