"""The experiments of saliency guided training: each row can work, controls among them, as many as the header says."""

import shlex
from functools import cache
from itertools import product

import pytest
import yaml
from hydra import compose, initialize_config_dir

from tests.conftest import ROOT
from xfeedback.builder import plain_config
from xfeedback.engine.spec import RunSpec
from xfeedback.methods.saliency_guided import SaliencyGuidedConfig

FOLDER = ROOT / "conf" / "experiment" / "saliency_guided"
NAMES = ("bird", "cifar", "mnist", "mnist_controls", "text", "timeseries")
RELEASED = ("mnist_released", "timeseries_released")
"""Audits of what the released programs do, without controls."""


def sweeper(name: str) -> dict:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["hydra"]["sweeper"]


@cache
def specs(name: str, row: int | None = None, more: tuple[str, ...] = ()) -> list[RunSpec]:
    chosen = sweeper(name)["rows"] if row is None else [sweeper(name)["rows"][row]]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return [
            RunSpec.from_plain(
                plain_config(
                    compose("config", overrides=[f"experiment=saliency_guided/{name}", *shlex.split(words), *more])
                )
            )
            for words in chosen
        ]


def test_every_file_is_tested():
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == sorted((*NAMES, *RELEASED))


@pytest.mark.parametrize("name", [*NAMES, *RELEASED])
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
    # on series the same weights without the gradient pass: tests/methods/test_saliency_guided.py
    assert {"low", "random_cheap" if name == "timeseries" else "random"} <= sources
    assert all(spec.evaluation.faithfulness for spec in found)


def test_rows_of_mnist_are_not_trained_again_for_its_controls():
    own, more = ({spec.cell for spec in specs(name)} for name in ("mnist", "mnist_controls"))
    assert own < more


@pytest.mark.parametrize("model", ["lstm", "lstm_cell_attention", "tcn", "transformer"])
def test_each_network_for_series_has_the_same_four_rows_and_equal_options(model):
    found = [spec for spec in specs("timeseries") if spec.model.name == model]
    sources = [getattr(spec.methods.get("saliency_guided"), "mask_source", spec.method) for spec in found]
    assert sources == ["plain", "plain_equal_time", "low", "random_cheap"]
    assert len({(str(spec.trainer), str(spec.optimiser), str(spec.evaluation)) for spec in found}) == 1


@pytest.mark.parametrize("name", RELEASED)
def test_audits_do_as_the_released_programs_do_and_say_so(name):
    plain, guided = specs(name)
    assert plain.methods["plain"] is not None
    config = guided.methods["saliency_guided"]
    assert isinstance(config, SaliencyGuidedConfig)
    assert (config.variant, config.rank, config.dropout, config.mask_fraction) == (
        "paper",
        "signed",
        "independent",
        0.5,
    )
    assert {spec.trainer.select_on for spec in (plain, guided)} == {"test"}
    assert guided.evaluation.baseline == guided.evaluation.background == "uniform"
    assert guided.evaluation.explain_class == "true"
    assert guided.model == plain.model
    if name == "timeseries_released":
        assert (guided.trainer.max_epochs, guided.trainer.batch_size, guided.optimiser.lr) == (500, 50, 1e-3)
        assert vars(guided.model)["output"] == "softmax"
        assert vars(guided.dataset)["n_val"] == 0
    else:
        assert (guided.trainer.max_epochs, guided.trainer.batch_size) == (100, 512)
        assert guided.evaluation.recompute_each_level


def test_series_of_every_network_layout_and_process_can_work():
    params = {key: values.split(",") for key, values in sweeper("timeseries")["params"].items() if key != "seed"}
    most = max(len(values) for values in params.values())
    for number in range(most):
        chosen = [f"{key}={values[number % len(values)]}" for key, values in params.items()]
        assert specs("timeseries", 2, tuple(chosen))
