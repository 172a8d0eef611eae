"""Runs on images that are decoded during training: stopped in the middle of an epoch, broken files, throughput."""

import json
import signal

from tests.data.miniature import SYNSETS, options, truncate, write_imagenet
from tests.engine.small import small_spec
from tests.engine.test_preempt import stopped_at
from xfeedback.engine.run import run_experiment


def spec_of(data, outputs, **dataset):
    """6 steps an epoch; small_spec's limits don't apply."""
    small = {"limit_train": None, "limit_test": None, **options(data, **dataset)}
    return small_spec(outputs, dataset=small, decoy={"name": "none"}, trainer={"batch_size": 4, "max_epochs": 2})


def history(spec):
    return [json.loads(line) for line in (spec.folder / "metrics.jsonl").read_text().splitlines()]


def test_stopped_in_the_middle_of_an_epoch_it_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    """Decoded by processes of their own in one run and by the training one in the other; a broken file is replaced."""
    write_imagenet(tmp_path)
    for number in range(3):
        truncate(tmp_path / "imagenet" / "train" / SYNSETS[0] / f"{SYNSETS[0]}_{number}.JPEG")
    whole_spec = spec_of(tmp_path, tmp_path / "whole", broken="skip", workers=1)
    whole = run_experiment(whole_spec).record
    spec = spec_of(tmp_path, tmp_path / "stopped", broken="skip")
    assert spec.run == whole_spec.run
    before = signal.getsignal(signal.SIGUSR1)
    stopped_at(8, spec, monkeypatch)
    assert signal.getsignal(signal.SIGUSR1) == before
    assert max(p.name for p in (spec.folder / "checkpoints").iterdir()).startswith("epoch-000001-step-00000003")
    again = run_experiment(spec).record
    assert again["resumed"]
    assert again["weights_sha256"] == whole["weights_sha256"]
    assert again["stamps"] == whole["stamps"] == ["subset", "3 broken images replaced"]
    timed = ("seconds", "data/images_per_second", "data/waiting")
    found, expected = ([{k: v for k, v in e.items() if k not in timed} for e in history(s)] for s in (spec, whole_spec))
    assert found == expected
    for line in history(whole_spec):
        assert line["data/images_per_second"] > 0
        assert 0 < line["data/waiting"] <= 100


def test_a_truncated_image_ends_a_run_in_one_line(tmp_path):
    path = write_imagenet(tmp_path) / "val" / SYNSETS[0] / "ILSVRC2012_val_00000000.JPEG"
    truncate(path)
    outcome = run_experiment(spec_of(tmp_path, tmp_path / "out"))
    assert outcome.status == "failed"
    assert outcome.record["error"].startswith(f"cannot decode the image {path}: image file is truncated")
    assert "\n" not in outcome.record["error"]
