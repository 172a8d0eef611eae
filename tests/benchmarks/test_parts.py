"""Each benchmark runs in its quick mode and says what it should."""

import json
import sys

import pytest
import torch

IN_PROCESS = ("steps", "lap", "explainers", "loaders", "reports", "phases", "gap")


@pytest.mark.parametrize("name", IN_PROCESS)
def test_quick(name, script, monkeypatch, capsys):
    module, common = script(name), script("common")
    monkeypatch.setattr(sys, "argv", [name, "--quick"])
    assert common.main(name, module.measure, module.__doc__) == 0
    found = json.loads((common.folder(quick=True) / f"{name}.json").read_text())
    assert found["tables"]
    assert all(len(row) == len(table["columns"]) for table in found["tables"] for row in table["rows"])
    assert found["machine"]["torch"] == torch.__version__
    assert found["title"]
    assert found["tables"][0]["title"] in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["startup", "sweeps"])
def test_quick_commands(name, script, monkeypatch):
    module, common = script(name), script("common")
    monkeypatch.setattr(sys, "argv", [name, "--quick"])
    assert common.main(name, module.measure, module.__doc__) == 0


def test_the_bare_loop_does_the_runners_work(script):
    """Without dropout, which the runner keys by step, both end with the same weights; the runner's epochs are timed."""
    timer, network = script("runner").run(256, 2, dropout_features=0.0, dropout_dense=0.0)
    assert timer.bare.epochs == len(timer.runner_seconds) == len(timer.bare_seconds) == 2
    assert min(timer.runner_seconds) > 0
    for name, found in timer.bare.network.state_dict().items():
        torch.testing.assert_close(found, network.state_dict()[name], msg=name)


def test_a_quick_page_has_every_part_and_leaves_the_real_one_alone(script, monkeypatch, tmp_path):
    page, common = script("all"), script("common")
    bars = [{"what": "x / y", "bar": 1.2, "limit": "1.00", "found": 1.25, "low": 1.2, "high": 1.3, "unit": ""}]
    table = {"title": "Times", "columns": ["a", "b"], "rows": [["1", "2"]]}
    told = {"seconds": 3.0, "load": [0.1, 0.2], "when": "2026-01-01T00:00", "machine": common.machine()}
    for name in ("steps", "lap"):
        path = common.folder(quick=True) / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"title": name, "said": ["So."], "tables": [table], "bars": bars, **told}))
    monkeypatch.setattr(sys, "argv", ["all", "--quick", "--page"])
    assert page.main() == 0
    text = (common.folder(quick=True) / "performance.md").read_text()
    assert "| x / y | 1.25 (1.20 to 1.30) | 1.2 | 1.00 | no |" in text
    assert text.count("| time to 94 % on CIFAR-10, plain and each method | not measured |") == 1
    assert "## lap" in text
    assert "`python benchmarks/steps.py`: 3 s, load 0.1 to 0.2" in text


def test_a_part_that_does_not_exist_is_refused(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["all", "stepz"])
    with pytest.raises(SystemExit) as stop:
        script("all").main()
    assert stop.value.code == 2
    assert "no part stepz; there are steps, lap" in capsys.readouterr().err


def test_without_a_gpu_its_part_refuses_in_a_line(script, monkeypatch, capsys):
    module, common = script("gpu"), script("common")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu"])
    assert common.main("gpu", module.measure, module.__doc__) == 2
    said = capsys.readouterr().err
    assert said == "error: benchmarks/gpu.py needs a CUDA device, and torch sees none on this machine\n"
    assert not (common.folder(quick=False) / "gpu.json").exists()


def test_what_the_gpu_part_runs_works_on_a_cpu(script):
    rows = script("gpu").images_a_second("gapnet", 16, 2, "cpu", 1)
    assert [row[0].split()[0] for row in rows] == ["plain", "saliency_guided", "xbl", "challenger", "lap"]


def test_the_goal_is_read_off_a_history(script):
    gpu = script("gpu")
    lines = [{"val/val": 90.0, "seconds": 2.0}, {"val/val": 94.5, "seconds": 3.0}, {"val/val": 94.7, "seconds": 3.0}]
    assert gpu.goal_of(lines) == ["2", "5.0 s", "94.70 %"]
    assert gpu.goal_of(lines[:1])[:2] == ["not reached", "not reached"]
