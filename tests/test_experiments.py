"""Each experiment says how it is run, and every cell of its sweep is one that can work."""

from itertools import product

import pytest
import yaml
from hydra import compose, initialize_config_dir

from tests.conftest import ROOT
from xfeedback.builder import plain_config
from xfeedback.engine.spec import RunSpec

EXPERIMENTS = ROOT / "conf" / "experiment"
XBL = sorted(path.stem for path in (EXPERIMENTS / "xbl").glob("*.yaml"))


def swept(name: str) -> dict[str, list[str]]:
    """What each option takes in turn; rows of their own options stand as ``rows``."""
    sweeper = yaml.safe_load((EXPERIMENTS / f"{name}.yaml").read_text())["hydra"]["sweeper"]
    params = {key: str(values).split(",") for key, values in sweeper["params"].items()}
    rows = sweeper.get("rows") or [f"method={method}" for method in params.pop("method", [])] or [""]
    return {"rows": rows, **params}


def specs(name: str) -> list[RunSpec]:
    params = {key: values for key, values in swept(name).items() if key not in ("seed", "rows")}
    cells = []
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for row, *values in product(swept(name)["rows"], *params.values()):
            overrides = [f"{key}={value}" for key, value in zip(params, values, strict=True)]
            config = compose("config", overrides=[f"experiment={name}", *row.split(), *overrides])
            cells.append(RunSpec.from_plain(plain_config(config)))
    return cells


@pytest.mark.parametrize("name", XBL)
def test_the_header_says_how(name):
    head = (EXPERIMENTS / "xbl" / f"{name}.yaml").read_text().split("defaults:")[0]
    assert f"# command:  python run.py -m experiment=xbl/{name}\n" in head
    assert all(f"\n# {word}" in head for word in ("hardware:", "time: ", "figures: "))


TABLES = ("annotations", "forms", "targets")
"""Experiments without controls: each row is a cell."""


@pytest.mark.parametrize("name", TABLES)
def test_tables_without_controls(name):
    cells, params = specs(f"xbl/{name}"), swept(f"xbl/{name}")
    assert len({cell.cell for cell in cells}) == len(cells) == len(params["rows"])
    assert {cell.method for cell in cells} == {"plain", "xbl"}
    runs = len(cells) * len(params["seed"])
    assert f"{runs} runs (plain " in (EXPERIMENTS / "xbl" / f"{name}.yaml").read_text()


@pytest.mark.parametrize("name", sorted(set(XBL) - set(TABLES)))
def test_cells(name):
    """Plain, and plain for as long, once, whatever training is told; other methods once a control; the count."""
    cells = specs(f"xbl/{name}")
    params = swept(f"xbl/{name}")
    controls = params["dataset.annotation.control"]
    once = [row for row in params["rows"] if row.startswith("method=plain")]
    assert [row.split()[0] for row in params["rows"][len(once) :]] == ["method=rrr", "method=xbl"]
    assert {row.split()[0] for row in once} == {"method=plain", "method=plain_equal_time"}
    assert controls[0] == "none"
    assert len({cell.cell for cell in cells}) == len(once) + 2 * len(controls)
    runs = (len(once) + 2 * len(controls)) * len(params["seed"])
    assert f"{runs} runs (plain once" in (EXPERIMENTS / "xbl" / f"{name}.yaml").read_text()


def test_the_small_decoy_cifar_is_the_smoke_setting():
    cell = specs("xbl/decoy_cifar")[0]
    data, optimiser, trainer = cell.dataset, cell.optimiser, cell.trainer
    assert (data.source, data.augment, data.annotation.center_box) == ("subset", "none", 16)  # type: ignore[attr-defined]
    assert (cell.decoy.on, cell.decoy.code, cell.decoy.size, cell.model.name) == (True, "gray", 4, "gapnet_bn")
    assert (optimiser.name, optimiser.lr, optimiser.schedule, optimiser.weight_decay) == ("adam", 0.004, "one_cycle", 0)
    assert (trainer.max_epochs, trainer.batch_size, trainer.select_on) == (12, 128, "last")
