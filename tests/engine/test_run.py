import errno
import hashlib
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.engine.small import small_spec
from xfeedback import models
from xfeedback.engine import run as engine
from xfeedback.engine.evaluate import predictions
from xfeedback.engine.folder import BusyError, RunFolder
from xfeedback.engine.run import load_task, refused, run_experiment
from xfeedback.errors import TrainingError, UserError


def measured(outcome):
    record = outcome.record
    metrics = {name: value for name, value in record["metrics"].items() if not name.startswith("cost/")}
    return record["weights_sha256"], metrics, record["steps"], record["selected_epoch"]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return run_experiment(small_spec(tmp_path_factory.mktemp("done"), method={"xbl": {}}))


def test_a_run_leaves_these_files_and_no_other(done):
    names = {str(path.relative_to(done.folder)) for path in done.folder.rglob("*")}
    assert names == {
        ".lock",
        "checkpoints",
        "config.yaml",
        "confusion.json",
        "confusion.png",
        "explanations.npz",
        "explanations.png",
        "inputs.json",
        "metrics.jsonl",
        "provenance.json",
        "result.json",
        "weights.pt",
    }


def test_the_result_says_what_came_out(done):
    record = json.loads((done.folder / "result.json").read_text())
    assert done.status == "done"
    assert record == done.record
    assert {"status": "done", "dataset": "decoy_digits", "model": "gapnet", "method": "xbl"}.items() <= record.items()
    assert {"seed": 0, "variant": "clean", "epochs": 2, "steps": 4, "selected_epoch": 1}.items() <= record.items()
    assert record["select_on"] == "last"
    assert record["resumed"] is False
    assert {"limit_train=60", "limit_test=40"} <= set(record["stamps"])
    views = {f"acc/{view}" for view in ("random", "clean", "conflict", "correlated")}
    assert views | {"explanation/inside", "cost/step_ms", "cost/step_ratio"} <= record["metrics"].keys()
    assert record["metrics"]["cost/step_ratio"] > 0.5
    assert record["seconds"] > 0


def test_the_provenance_says_where_it_came_from(done):
    found = json.loads((done.folder / "provenance.json").read_text())
    assert set(found) == {"git", "versions", "data", "machine", "command", "started_at"}
    assert found["versions"]["torch"] == torch.__version__
    assert {"python", "xfeedback", "pytorch-lightning", "numpy"} <= found["versions"].keys()
    assert len(found["data"]["fingerprint"]) == 64
    assert found["machine"]["cpus"] >= 1


def test_the_saved_weights_are_those_that_were_scored(done):
    weights = torch.load(done.folder / "weights.pt", weights_only=True)
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode() + weights[name].numpy().tobytes())
    assert digest.hexdigest() == done.record["weights_sha256"]
    spec = small_spec(done.folder.parents[1], method={"xbl": {}})
    task = load_task(spec)
    network = models.build(spec.model, task.in_shape, task.n_classes, seed=9)
    network.load_state_dict(weights)
    network.eval()
    for view, loader in task.test_loaders(64, "cpu").items():
        hits = predictions(network, loader).argmax(1) == task.test.y
        assert 100 * float(hits.double().mean()) == pytest.approx(done.record["metrics"][f"acc/{view}"])


def test_the_explanations_are_there_to_look_at(done):
    with np.load(done.folder / "explanations.npz", allow_pickle=False) as arrays:
        assert {"images", "label", "prediction", "index", "mask", "wrong", "map/grad_cam", "map/gradient"} == set(
            arrays
        )
        assert arrays["images"].shape == (3, 32, 32, 1)
    with Image.open(done.folder / "explanations.png") as picture:
        assert picture.width > 300
        assert picture.height > 300


def test_the_same_seed_gives_the_same_bits_whatever_ran_before(done, tmp_path):
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    again = run_experiment(small_spec(tmp_path, method={"xbl": {}}))
    other = run_experiment(small_spec(tmp_path, method={"xbl": {}}, seed=1))
    assert measured(again) == measured(done)
    assert other.record["weights_sha256"] != done.record["weights_sha256"]


def test_a_finished_run_is_not_touched(done, monkeypatch):
    monkeypatch.setattr(engine, "load_task", lambda _: pytest.fail("read data"))
    again = run_experiment(small_spec(done.folder.parents[1], method={"xbl": {}}))
    assert again.status == "skipped"
    assert again.record == done.record


def test_a_run_that_another_process_finished_meanwhile_is_not_trained_again(tmp_path, monkeypatch):
    spec, load = small_spec(tmp_path), engine.load_task

    def load_slowly(asked):
        monkeypatch.setattr(engine, "load_task", load)
        assert run_experiment(spec).status == "done"
        return load(asked)

    monkeypatch.setattr(engine, "load_task", load_slowly)
    late = run_experiment(spec)
    assert late.status == "skipped"
    assert late.record["metrics"]
    assert not late.record["resumed"]


@pytest.mark.parametrize("method", ["plain", "xbl", "rrr", "saliency_guided"])
def test_half_precision_and_channels_last_train(method, tmp_path):
    trainer = {"precision": "bf16-mixed", "channels_last": True}
    outcome = run_experiment(small_spec(tmp_path, method={method: {}}, trainer=trainer))
    assert outcome.status == "done", outcome.record


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (TrainingError("the loss is not finite. Lower it."), "the loss is not finite. Lower it."),
        (UserError("no mask"), "no mask"),
        (RuntimeError("CUDA out of memory. Tried\nmore"), "CUDA out of memory. Tried Lower trainer.batch_size or use"),
        (OSError(errno.ENOSPC, "No space left on device"), "no space while writing to the run folder: No space left"),
        (OSError(errno.EFBIG, "File too large", "w.pt"), "no space while writing w.pt: File too large. Free some"),
        (KeyError("layer"), "KeyError: 'layer' (error.json holds the traceback)"),
    ],
)
def test_whatever_happens_in_training_is_recorded_in_a_line(error, line, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(engine, "fit", fail)
    spec = small_spec(tmp_path)
    outcome = run_experiment(spec)
    kept = json.loads((spec.folder / "error.json").read_text())
    assert outcome.status == "failed"
    assert outcome.record == kept
    assert kept["error"].startswith(line)
    assert kept["kind"] == type(error).__name__
    assert not (spec.folder / "result.json").exists()


def test_an_interrupt_is_no_failure(tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "fit", interrupt)
    spec = small_spec(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(spec)
    assert not (spec.folder / "error.json").exists()


def test_a_cell_that_can_not_start_is_recorded_for_the_table(tmp_path):
    spec = small_spec(tmp_path)
    outcome = refused(spec, UserError("no data"))
    assert outcome.record["error"] == "no data"
    assert {path.name for path in spec.folder.iterdir()} == {"config.yaml", "error.json"}
    other = small_spec(tmp_path, seed=1)
    assert refused(other, BusyError("another process")).status == "busy"
    assert not other.folder.exists()


def test_what_is_refused_leaves_nothing(tmp_path):
    spec = small_spec(tmp_path, trainer={"select_on": "val"})
    with pytest.raises(UserError, match="has no such validation set; it has none"):
        run_experiment(spec)
    assert not list(Path(tmp_path).iterdir())


def test_a_method_without_a_single_annotation_to_learn_from_is_refused(tmp_path):
    x, y = np.zeros((40, 12, 12), np.uint8), np.arange(40) % 2
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x, y_test=y, mask_train=0 * x, mask_test=x + 1)
    dataset = {"name": "image_arrays", "file": str(tmp_path / "a.npz"), "limit_train": None, "limit_test": None}
    own = small_spec(tmp_path, dataset=dataset, decoy={"name": "none"}, method={"rrr": {}})
    with pytest.raises(UserError, match="method=rrr needs annotations, and not one of the 40 training samples of"):
        load_task(own)
    load_task(small_spec(tmp_path, dataset=dataset, decoy={"name": "none"}))


def test_a_run_resumes_in_the_same_process(done, tmp_path, monkeypatch):
    spec = small_spec(tmp_path, method={"xbl": {}})
    stopped_before_its_end(spec, monkeypatch)
    assert len(list(RunFolder(spec).checkpoints.iterdir())) == 1
    again = run_experiment(spec)
    assert again.record["resumed"]
    assert measured(again) == measured(done)


def stopped_before_its_end(spec, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(engine, "measure", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
        assert run_experiment(spec).status == "failed"


def test_a_state_that_was_trained_on_other_data_is_not_taken_up(tmp_path, monkeypatch):
    def spec(outputs, seed):
        x = np.random.default_rng(seed).integers(0, 255, (40, 12, 12), dtype=np.uint8)
        np.savez(tmp_path / "a.npz", x=x, y=np.arange(40) % 2)
        dataset = {"name": "image_arrays", "file": str(tmp_path / "a.npz"), "limit_train": None, "limit_test": None}
        return small_spec(tmp_path / outputs, dataset=dataset, decoy={"name": "none"}, evaluation={"explained": 0})

    begun = spec("out", 0)
    stopped_before_its_end(begun, monkeypatch)
    again, fresh = run_experiment(spec("out", 1)), run_experiment(spec("fresh", 1))
    assert not again.record["resumed"]
    assert measured(again) == measured(fresh)
    (kept,) = (tmp_path / "out" / "superseded").iterdir()
    assert len(list((kept / "checkpoints").iterdir())) == 1
    note = f"begun anew, as the data have changed; what was trained on the former ones is kept in {kept}"
    assert note in again.record["notes"]
    assert note in again.said
    assert note not in fresh.record["notes"]


def test_a_state_of_another_commit_is_taken_up_and_said_so(done, tmp_path, monkeypatch):
    spec = small_spec(tmp_path, method={"xbl": {}})
    stopped_before_its_end(spec, monkeypatch)
    path = RunFolder(spec).path / "provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"git": {"commit": 40 * "a"}}))
    monkeypatch.setattr(engine.provenance, "commit", lambda: 40 * "b")
    again = run_experiment(spec)
    assert measured(again) == measured(done)
    assert "begun at commit aaaaaaaaaaaa, gone on with at bbbbbbbbbbbb" in again.record["notes"]


def test_a_run_that_another_process_is_running_anew_is_left_to_it(done):
    spec = small_spec(done.folder.parents[1], method={"xbl": {}}, force=True)
    with RunFolder(spec).opened(), pytest.raises(BusyError):
        run_experiment(spec)
    assert RunFolder(spec).result() == done.record
