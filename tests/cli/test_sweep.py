"""A whole comparison through the real command line: shared footing, failed cells, the table."""

import csv
import json
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from tests.cli.command import SMALL, Ended, read, run

SWEEP = (
    "-m",
    "dataset=digits",
    "method=plain,xbl",
    "optimiser.lr=0.003,1e30",
    "seed=0,0",
    "model.width=4",
    "trainer.max_epochs=2",
    "trainer.progress=false",
    *SMALL,
)


@pytest.fixture(scope="module")
def sweep(once) -> tuple[Path, Ended]:
    def command(place: Path) -> None:
        (place / "ended.json").write_text(json.dumps(asdict(run(*SWEEP, cwd=place))))

    folder = once("sweep", SWEEP, command)
    return folder, Ended(**read(folder, "ended.json"))


def test_a_failing_cell_stops_no_other_and_the_command_says_so(sweep):
    folder, ended = sweep
    runs = sorted(path for path in (folder / "outputs" / "runs").iterdir())
    failed = [path for path in runs if (path / "error.json").exists()]
    done = [path for path in runs if (path / "result.json").exists()]
    assert ended.code == 1
    assert ended.err == ""
    assert (len(runs), len(failed), len(done)) == (4, 2, 2)
    assert {read(path, "error.json")["method"] for path in failed} == {"plain", "xbl"}
    assert "4 cells (4 rows), 4 to run" in ended.out
    for path in failed:
        assert f"failed {path.name.split('-')[2]} on decoy_digits, seed 0: the loss is not finite" in ended.out


def test_the_table_names_the_failed_cells_with_their_reason(sweep):
    folder, ended = sweep
    (comparison,) = (folder / "outputs" / "comparisons").iterdir()
    assert {path.name for path in comparison.iterdir()} == {f"comparison.{end}" for end in ("csv", "md", "tex", "html")}
    table = ended.out.split("4 to run")[1]
    assert "plain (lr=1e+30)" in table
    assert "failed: the loss is not finite at epoch 0" in " ".join(table.split())
    with (comparison / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected = "dataset,model,method,metric,mean,sd,ci_low,ci_high,n_seeds,published,verdict,boot_low,boot_high"
    assert ",".join(rows[0]) == expected
    assert {row["dataset"] for row in rows} == {"decoy_digits"}
    assert any("failed: the loss is not finite" in row["verdict"] for row in rows)
    assert {row["metric"] for row in rows} >= {"acc/random", "acc/clean", "explanation/inside", "cost/step_ratio"}


def test_methods_of_one_table_see_the_same_images(sweep):
    folder, ended = sweep
    assert "note: xbl needs annotations and digits has none: decoys are on" in ended.out
    assert "note: another method of the sweep needs annotations on digits: decoys are on" in ended.out
    prints = {read(path, "provenance.json")["data"]["fingerprint"] for path in (folder / "outputs" / "runs").iterdir()}
    configs = [yaml.safe_load((path / "config.yaml").read_text()) for path in (folder / "outputs" / "runs").iterdir()]
    assert len(prints) == 1
    assert {config["decoy"]["name"] for config in configs} == {"corner"}
