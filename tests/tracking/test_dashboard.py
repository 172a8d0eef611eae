"""The dashboard's charts: complete files without a network, and what is made at wandb."""

import importlib.util
import json

import pytest
import wandb

from tests.conftest import ROOT
from tests.tracking.server import wandb_server
from xfeedback.tracking import charts

CSV = """dataset,model,method,metric,mean,sd,ci_low,ci_high,n_seeds,published,verdict
mnist,cnn,plain,acc/random,61.2,2.1,58.0,64.4,5,,
mnist,cnn,"xbl (c_exp=""3"")",acc/random,93.1,,,,1,95.2,near
mnist,cnn,plain,explanation/inside,20.0,2.0,18.0,24.0,5,,
"""


@pytest.fixture(scope="module")
def dashboard():
    spec = importlib.util.spec_from_file_location("wandb_dashboard", ROOT / "scripts" / "wandb_dashboard.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_hole_of_a_chart_has_a_column_or_a_text():
    for name, chart in charts.CHARTS.items():
        assert charts.holes(chart, "field") == set(charts.FIELDS[name])
        assert charts.holes(chart, "string") == {"title", "axis"}
        assert chart["data"] == {"name": "wandb"}


def test_a_comparison_becomes_a_chart_with_its_figures(dashboard, tmp_path, capsys):
    (tmp_path / "comparison.csv").write_text(CSV)
    assert dashboard.main([str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    (path,) = (tmp_path / "out").glob("*.vl.json")
    assert str(path) in capsys.readouterr().out
    chart = json.loads(path.read_text())
    assert "${" not in path.read_text()
    assert chart["title"] == "mnist, cnn"
    rows = chart["data"]["values"]
    assert [(row["method"], row["mean"], row["ci_low"]) for row in rows] == [
        ("plain", 61.2, 58.0),
        ('xbl (c_exp="3")', 93.1, None),
    ]
    named = {layer["encoding"]["x"]["field"] for layer in chart["layer"]}
    assert named == {"ci_low", "mean", "published"} <= set(rows[0])
    assert chart["layer"][0]["encoding"]["x"]["title"] == "acc/random %"


def test_a_folder_without_a_comparison_is_a_mistake(dashboard, tmp_path, capsys):
    assert dashboard.main([str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no comparison.csv" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_charts_are_made_at_wandb_as_they_are_written(dashboard, tmp_path, monkeypatch, capsys):
    wandb.teardown()
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_API_KEY", "5ec2e7" * 6 + "5ec2")
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        assert dashboard.main(["--entity", "me", "--out", str(tmp_path)]) == 0, capsys.readouterr().err
    wandb.teardown()
    made = {chart["chartName"]: json.loads(chart["spec"]) for chart in server.charts}
    assert made == {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert "logger.charts=me" in capsys.readouterr().out
