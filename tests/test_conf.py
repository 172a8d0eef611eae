"""Defaults stand in one place twice, in the YAML and in the dataclass: both must say the same."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from xfeedback import data, models
from xfeedback.config import from_mapping
from xfeedback.continual.options import EwcConfig, PhasesConfig
from xfeedback.data.decoy import DecoyConfig
from xfeedback.engine.options import EvaluationConfig, LoggerConfig, PathsConfig, SweepConfig, TrainerConfig
from xfeedback.feedback import OptimiserConfig

CONF = ROOT / "conf"


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def read(group: str, name: str) -> dict[str, Any]:
    """The YAML's values on top of those of the files of the same group that it builds on."""
    text = yaml.safe_load((CONF / group / f"{name}.yaml").read_text()) or {}
    bases = [base for base in text.pop("defaults", []) if isinstance(base, str) and base != "_self_"]
    merged: dict[str, Any] = {}
    for base in bases:
        merged |= read(group, base)
    return merged | text


def assert_equal_but(values: dict[str, Any], config: type, group: str, but: set[str] = frozenset()) -> None:
    """Every option is in the YAML, and all have the dataclass's defaults but those named."""
    typed: Any = config
    assert set(values) == {f.name for f in fields(typed)}, f"{group}: the YAML must list every option"
    found = asdict(from_mapping(typed, values, group))
    expected = asdict(typed(**{name: found[name] for name in but}))
    assert found == expected, group


def test_every_group_of_conf_is_checked_somewhere():
    groups = {path.name for path in CONF.iterdir() if path.is_dir()}
    assert groups - {"experiment", "debug", "hydra", "method"} == {
        "trainer",
        "optimiser",
        "evaluation",
        "logger",
        "model",
        "dataset",
        "decoy",
        "paths",
        "phases",
        "continual",
    }


def test_sweep():
    values = yaml.safe_load((CONF / "config.yaml").read_text())["sweep"]
    assert_equal_but(values, SweepConfig, "sweep")


def test_trainer():
    assert_equal_but(read("trainer", "auto"), TrainerConfig, "trainer")


@pytest.mark.parametrize("name", choices("trainer"))
def test_trainers_differ_in_where_they_run_alone(name):
    changed = {key for key, value in read("trainer", name).items() if value != read("trainer", "auto")[key]}
    assert changed <= {"accelerator", "devices", "strategy"}
    from_mapping(TrainerConfig, read("trainer", name), "trainer")


RECIPE = {
    "adam": set(),
    "adamw": {"name"},
    "adadelta": {"name", "lr"},
    "sgd": {"name", "lr", "momentum", "weight_decay", "schedule"},
}


@pytest.mark.parametrize("name", choices("optimiser"))
def test_optimisers(name):
    values = read("optimiser", name)
    assert values["name"] == name
    assert_equal_but(values, OptimiserConfig, "optimiser", RECIPE[name])


@pytest.mark.parametrize("name", choices("evaluation"))
def test_evaluation(name):
    assert_equal_but(read("evaluation", name), EvaluationConfig, "evaluation")


@pytest.mark.parametrize("name", choices("logger"))
def test_loggers(name):
    assert read("logger", name)["name"] == name
    assert_equal_but(read("logger", name), LoggerConfig, "logger", {"name"})


PHASED = {
    "single": set(),
    "classes": {"name"},
    "portions": {"name"},
    "mistakes": {"name", "n", "holdout"},
}


@pytest.mark.parametrize("name", choices("phases"))
def test_phases(name):
    values = read("phases", name)
    assert values["name"] == name
    assert_equal_but(values, PhasesConfig, "phases", PHASED[name])


def test_continual():
    assert choices("continual") == ["ewc", "none"]
    assert read("continual", "none") == {"name": "none"}
    assert_equal_but(read("continual", "ewc"), EwcConfig, "continual")


def test_models_have_a_file_each():
    assert choices("model") == models.names()


@pytest.mark.parametrize("name", choices("model"))
def test_models(name):
    assert read("model", name)["name"] == name
    assert_equal_but(read("model", name), models.config_class(name), "model", {"name"})


def test_datasets_have_a_file_each():
    assert choices("dataset") == sorted([*data.names(), "decoy_coco", "decoy_digits"])


@pytest.mark.parametrize("name", data.names())
def test_datasets(name):
    values = read("dataset", name)
    assert values["dataset"]["name"] == name
    assert_equal_but(values["dataset"], data.config_class(name), "dataset", {"name"})
    brought = _overrides(name)
    assert brought.keys() == {"model", "optimiser"}
    from_mapping(OptimiserConfig, read("optimiser", brought["optimiser"]) | values.get("optimiser", {}), "optimiser")
    from_mapping(models.config_class(brought["model"]), read("model", brought["model"]), "model")
    from_mapping(TrainerConfig, read("trainer", "auto") | values["trainer"], "trainer")


def _overrides(name: str) -> dict[str, str]:
    """The choices of other groups that a data set brings."""
    defaults = yaml.safe_load((CONF / "dataset" / f"{name}.yaml").read_text())["defaults"]
    return {key.split("/")[-1]: value for entry in defaults if isinstance(entry, dict) for key, value in entry.items()}


def test_decoy_digits_are_digits_with_a_label():
    changed = yaml.safe_load((CONF / "dataset" / "decoy_digits.yaml").read_text())["dataset"]
    assert changed == {"name": "digits", "label": "decoy_digits"}


def test_decoy_coco_is_coco_with_patches_of_one_cell():
    values = yaml.safe_load((CONF / "dataset" / "decoy_coco.yaml").read_text())
    assert values["dataset"] == {"name": "coco", "label": "decoy_coco"}
    assert DecoyConfig(name="corner", **values["decoy"]).code == "hue"


@pytest.mark.parametrize("name", choices("decoy"))
def test_decoys(name):
    assert read("decoy", name)["name"] == name
    assert_equal_but(read("decoy", name), DecoyConfig, "decoy", {"name"})


def test_paths_lists_every_option():
    assert set(read("paths", "default")) == {f.name for f in fields(PathsConfig)}


def test_yaml_files_have_a_comment_that_says_what_they_are():
    """A file that only sets a name needs none."""
    silent = [
        str(path.relative_to(CONF))
        for path in sorted(CONF.rglob("*.yaml"))
        if len(path.read_text().splitlines()) > 4 and "#" not in path.read_text()
    ]
    assert [Path(name).parts[0] for name in silent if not name.startswith("hydra")] == []
