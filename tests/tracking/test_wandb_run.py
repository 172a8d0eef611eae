import pytest

from tests.cli.wandb_file import read_offline
from xfeedback.tracking import wandb_run
from xfeedback.tracking.wandb_logger import RowLogger
from xfeedback.tracking.wandb_run import About, mode_of, start


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    """Nobody is logged in, and no server was given up before."""
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr(wandb_run, "_unreachable", [])


@pytest.mark.parametrize(
    ("mode", "environment", "netrc", "found"),
    [
        ("auto", {}, "", "offline"),
        ("auto", {"WANDB_API_KEY": "x"}, "", "online"),
        ("auto", {}, "machine api.wandb.ai login user password x", "online"),
        ("auto", {"WANDB_API_KEY": "x", "WANDB_MODE": "offline"}, "", "offline"),
        ("online", {}, "", "online"),
        ("online", {"WANDB_MODE": "disabled"}, "", "disabled"),
        ("offline", {"WANDB_API_KEY": "x"}, "", "offline"),
        ("offline", {"WANDB_MODE": "online"}, "", "online"),
    ],
)
def test_wandb_goes_online_only_for_whoever_is_logged_in(mode, environment, netrc, found, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text(netrc)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert mode_of(mode) == found


def about(folder, **changed):
    return About(
        **{"name": "n", "id": "abc", "project": "p", "group": "g", "job_type": "j", "folder": folder} | changed
    )


def test_a_server_that_was_given_up_is_not_asked_again_by_the_next_cell(tmp_path, monkeypatch, capsys):
    asked = []

    def broken(_, mode):
        asked.append(mode)
        if mode == "online":
            raise ConnectionError("no route")

    monkeypatch.setattr(wandb_run, "_start", broken)
    for _ in range(3):
        start(about(tmp_path, mode="online"))
    assert asked == ["online", "offline", "offline", "offline"]
    assert capsys.readouterr().err.count("note: wandb: no route. Training goes on offline") == 1


def test_a_disabled_run_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    run = start(about(tmp_path))
    RowLogger(run).log_metrics({"train/loss": 1.0}, 3)
    wandb_run.finish(run, "done")
    assert list(tmp_path.iterdir()) == []


def test_an_epoch_is_one_row_and_rows_go_by_steps(tmp_path):
    """Validation comes first and says the step after the last one, as Lightning gives it."""
    run = start(about(tmp_path))
    logger = RowLogger(run)
    for step in (4, 8):
        logger.log_metrics({"val/all": 50.0 + step, "epoch": 0}, step)
        logger.log_metrics({"train/loss": 1 / step, "epoch": 0}, step - 1)
    logger.log_metrics({"acc/test": 60.0}, 8)
    wandb_run.finish(run, "done")
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    found = read_offline(path)
    rows = [(row["_step"], row.get("val/all"), row.get("train/loss"), row.get("acc/test")) for row in found.history]
    assert rows == [(4, 54.0, 0.25, None), (8, 58.0, 0.125, None), (9, None, None, 60.0)]
    assert found.summary["val/all"] == {"max": 58.0, "last": 58.0}
    patterns = [name for name in found.metrics if "*" in name]
    assert patterns == ["*"]  # of two that fit, wandb takes either, from run to run
