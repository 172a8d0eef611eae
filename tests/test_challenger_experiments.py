"""Challenger's experiments say how they are run, and every row of theirs is a cell of its own that can work."""

import shlex

import pytest
import yaml
from hydra import compose, initialize_config_dir

from tests.conftest import ROOT
from xfeedback.builder import plain_config
from xfeedback.engine.spec import RunSpec

FOLDER = ROOT / "conf" / "experiment" / "challenger"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_rows(path):
    text = path.read_text()
    name, head = f"challenger/{path.stem}", text.split("defaults:")[0]
    assert f"# command:  python run.py -m experiment={name}\n" in head
    assert all(f"\n# {word}" in head for word in ("hardware:", "time: ", "figures: "))
    sweeper = yaml.safe_load(text)["hydra"]["sweeper"]
    rows, seeds = sweeper["rows"], sweeper["params"]["seed"].split(",")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        configs = [compose("config", overrides=[f"experiment={name}", *shlex.split(row)]) for row in rows]
    specs = [RunSpec.from_plain(plain_config(config)) for config in configs]
    assert len({spec.cell for spec in specs}) == len(rows)
    assert all(spec.trainer.select_on == "last" for spec in specs)
    sets = len(sweeper["params"].get("dataset.problem", "one").split(","))
    assert f"{len(rows) * len(seeds) * sets} runs" in head
    sources = [getattr(spec.methods.get("challenger"), "map_source", None) for spec in specs]
    assert {"real", "random_place"} <= set(sources)
    assert "init_frozen" in sources or (FOLDER / f"{path.stem}_controls.yaml").exists()


@pytest.mark.parametrize("name", ["vision", "text", "timeseries"])
def test_rows_are_not_trained_again_for_their_controls(name):
    def cells(experiment):
        chosen = yaml.safe_load((FOLDER / f"{experiment}.yaml").read_text())["hydra"]["sweeper"]["rows"]
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            own = [[f"experiment=challenger/{experiment}", *shlex.split(row)] for row in chosen]
            configs = [compose("config", overrides=overrides) for overrides in own]
        return {RunSpec.from_plain(plain_config(config)).cell for config in configs}

    assert cells(name) < cells(f"{name}_controls")
