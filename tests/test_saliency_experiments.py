"""The experiments of saliency guided training: each row can work, controls among them, as many as the header says."""

import shlex
from collections.abc import Sequence
from itertools import product

import pytest
import yaml
from hydra import compose, initialize_config_dir

from tests.conftest import ROOT
from xfeedback.builder import plain_config
from xfeedback.engine.spec import RunSpec

FOLDER = ROOT / "conf" / "experiment" / "saliency_guided"
NAMES = ("cifar", "mnist", "text", "timeseries")


def sweeper(name: str) -> dict:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["hydra"]["sweeper"]


def specs(name: str, rows: slice = slice(None), more: Sequence[str] = ()) -> list[RunSpec]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return [
            RunSpec.from_plain(
                plain_config(
                    compose("config", overrides=[f"experiment=saliency_guided/{name}", *shlex.split(row), *more])
                )
            )
            for row in sweeper(name)["rows"][rows]
        ]


def test_every_file_is_tested():
    assert tuple(sorted(path.stem for path in FOLDER.glob("*.yaml"))) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_header_says_how_and_how_many(name):
    head = (FOLDER / f"{name}.yaml").read_text().split("defaults:")[0]
    assert f"# command:  python run.py -m experiment=saliency_guided/{name}\n" in head
    assert all(f"\n# {word}" in head for word in ("hardware:", "time: ", "figures: "))
    swept = [str(values).split(",") for values in sweeper(name)["params"].values()]
    runs = len(sweeper(name)["rows"]) * len(list(product(*swept)))
    assert f"{runs} runs ({len(sweeper(name)['rows'])} rows" in head


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_different_cells_with_both_controls(name):
    found = specs(name)
    assert len({spec.cell for spec in found}) == len(found)
    methods = [spec.method for spec in found]
    assert methods[0] == "plain"
    assert "plain_equal_time" in methods
    sources = {getattr(spec.methods.get("saliency_guided"), "mask_source", None) for spec in found}
    assert {"low", "random"} <= sources
    assert all(spec.evaluation.faithfulness for spec in found)


def test_series_of_every_network_layout_and_process_can_work():
    params = {key: values.split(",") for key, values in sweeper("timeseries")["params"].items() if key != "seed"}
    most = max(len(values) for values in params.values())
    for number in range(most):
        chosen = [f"{key}={values[number % len(values)]}" for key, values in params.items()]
        assert specs("timeseries", slice(2, 3), chosen)
