"""Loggers through the real command line: their files stand in the run folder, and none ends a training."""

from tests.cli.command import DIGITS, only_run, read, run


def test_wandb_is_offline_unless_logged_in(tmp_path):
    ended = run(*DIGITS, "logger=wandb", "trainer.progress=false", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert ended.err == ""
    folder = only_run(tmp_path)
    assert len(list(folder.glob("wandb/offline-run-*/run-*.wandb"))) == 1
    assert len(list(folder.glob("wandb/offline-run-*/files/media/images/explanations_*.png"))) == 1
    assert read(folder)["status"] == "done"


def test_wandb_without_network_does_not_stop_a_training(tmp_path):
    closed = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40, "WANDB_MODE": "online"}
    ended = run(*DIGITS, "logger=wandb", "trainer.progress=false", cwd=tmp_path, **closed)
    assert ended.code == 0, ended.err
    assert "note: logger=wandb could not start: " in ended.err
    assert "Training goes on." in ended.err
    result = read(only_run(tmp_path))
    assert result["status"] == "done"
    print(f"\nwithout network: {ended.seconds:.1f} s")
    assert result["seconds"] < 40  # 10 of them for the connection; the default of wandb is 90
