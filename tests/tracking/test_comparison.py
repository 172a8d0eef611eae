"""The comparison's run, from two small runs and their sweep in this process."""

import csv
import json

import pytest

from tests.cli.wandb_file import read_offline
from tests.engine.small import small_spec
from xfeedback.engine import sweep
from xfeedback.engine.run import run_experiment
from xfeedback.tracking import charts

KEY = "5ec2e7" * 6 + "5ec2"


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Two cells that log at wandb, offline though a key is at hand, and their comparison."""
    place = tmp_path_factory.mktemp("swept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_API_KEY", KEY)
        patch.setenv("WANDB_MODE", "offline")
        logger = {"name": "wandb", "charts": "me"}
        specs = [small_spec(place, logger=logger, method={name: {}}) for name in ("plain", "label_smoothing")]
        for spec in specs:
            assert run_experiment(spec).status == "done"
        plan = sweep.plan(specs)
        assert sweep.compare(plan) == 0
        assert sweep.compare(plan) == 0  # sends nothing anew
    return plan


@pytest.fixture(scope="module")
def offline(swept):
    (part,) = swept.out.glob("wandb/offline-run-*/*.wandb")
    return read_offline(part)


def test_it_is_a_run_of_its_own_that_is_named_by_its_cells(swept, offline):
    named = {
        "run_id": f"comparison-{swept.name.rsplit('-', 1)[1]}",
        "job_type": "comparison",
        "display_name": swept.name,
    }
    assert {key: offline.run[key] for key in named} == named
    assert offline.config["runs"] == [spec.run for spec in swept.specs]
    assert set(offline.run["tags"]) == {"comparison", "decoy_digits", "gapnet"}


def test_its_table_is_the_one_in_the_csv(swept, offline):
    with (swept.out / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = offline.table("comparison")
    assert len(found) == len(rows) > 10
    for row, line in zip(found, rows, strict=True):
        assert (row["method"], row["metric"]) == (line["method"], line["metric"])
        assert row["mean"] == (float(line["mean"]) if line["mean"] else None)


def test_it_holds_the_single_values_the_table_for_people_and_what_the_runs_show(swept, offline):
    seeds = {(row["method"], row["metric"]): row for row in offline.table("seeds")}
    for spec in swept.specs:
        result = json.loads((spec.folder / "result.json").read_text())
        row = seeds[spec.method, "acc/random"]
        assert (row["value"], row["run"], row["seed"]) == (result["metrics"]["acc/random"], spec.run, 0)
    assert [row["method"] for row in offline.table("table/decoy_digits-gapnet")] == ["plain", "label_smoothing"]
    (row,) = offline.history
    assert row["explanations.captions"] == row["confusion.captions"] == [spec.run for spec in swept.specs]
    (page,) = (path for file, path in offline.files.items() if file.endswith(".html"))
    assert page.read_text().endswith((swept.out / "comparison.html").read_text())
    assert offline.summary["cells_done"] == 2


def test_its_charts_name_columns_of_the_tables_behind_them(offline):
    for chart in ("intervals", "seeds"):
        key = f"chart/decoy_digits-gapnet/{chart}"
        panel = offline.config[f"_wandb.visualize.{key}"]["panel_config"]
        assert panel["panelDefId"] == f"me/xfeedback-{chart}"
        rows = offline.table(f"{key}_table")
        assert {row["metric"] for row in rows} == {"acc/random"}
        assert set(panel["fieldSettings"].values()) <= set(rows[0])
        assert set(panel["fieldSettings"]) == charts.holes(charts.CHARTS[f"xfeedback-{chart}"], "field")
        assert set(panel["stringSettings"]) == charts.holes(charts.CHARTS[f"xfeedback-{chart}"], "string")


def test_the_key_is_in_no_file(swept):
    files = [path for path in swept.out.parents[1].rglob("*") if path.is_file()]
    assert len(files) > 40
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_what_wandb_keeps_behind_the_tables_lies_in_the_folder(swept):
    assert len(list(swept.out.glob("wandb/data/artifacts/staging/*"))) >= 4
