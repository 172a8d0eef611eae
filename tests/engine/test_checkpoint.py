import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from xfeedback.engine.checkpoint import AtomicCheckpointIO, RandomState, SaveForResume, latest

CONTENT = {"weights": {"w": torch.arange(6.0).reshape(2, 3)}, "epoch": 3, "names": ["a", "b"]}


def save(folder, epoch, content=CONTENT):
    AtomicCheckpointIO().save_checkpoint(content, folder / f"epoch-{epoch:06d}.ckpt")


def test_what_is_saved_is_loaded(tmp_path):
    save(tmp_path, 3)
    (path,) = tmp_path.iterdir()
    loaded = AtomicCheckpointIO().load_checkpoint(path)
    assert torch.equal(loaded["weights"]["w"], CONTENT["weights"]["w"])
    assert (loaded["epoch"], loaded["names"]) == (3, ["a", "b"])
    AtomicCheckpointIO().remove_checkpoint(path)
    assert not list(tmp_path.iterdir())


def test_code_is_never_loaded(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("never",)

    path = tmp_path / "epoch-000001-x.ckpt"
    torch.save({"evil": Evil()}, path)
    with pytest.raises(Exception, match="Weights only load failed"):
        AtomicCheckpointIO().load_checkpoint(path, weights_only=False)


def test_the_newest_whole_checkpoint_is_taken(tmp_path):
    assert latest(tmp_path) == (None, [])
    for epoch in (2, 9, 10):
        save(tmp_path, epoch)
    paths = sorted(tmp_path.iterdir())
    assert latest(tmp_path) == (paths[-1], [])
    paths[-1].write_bytes(paths[-1].read_bytes()[:-1])
    found, notes = latest(tmp_path)
    assert found == paths[-2]
    assert notes == [f"checkpoint {paths[-1].name} is damaged; the one before it is used"]
    for path in paths:
        path.write_bytes(b"")
    assert latest(tmp_path)[0] is None
    assert len(latest(tmp_path)[1]) == 3


def test_a_failed_save_keeps_what_was_there(tmp_path, monkeypatch):
    save(tmp_path, 1)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        save(tmp_path, 2)
    assert [path.name[:12] for path in tmp_path.iterdir()] == ["epoch-000001"]


class FakeTrainer(SimpleNamespace):
    def save_checkpoint(self, path):
        AtomicCheckpointIO().save_checkpoint({"epoch": self.current_epoch}, path)


def test_the_newest_two_are_kept_and_the_last_epoch_needs_none(tmp_path):
    kept = {}
    for epoch in range(7):
        trainer = FakeTrainer(current_epoch=epoch, max_epochs=7, is_global_zero=True)
        SaveForResume(tmp_path, 2).on_train_epoch_end(trainer, None)
        kept[epoch] = [path.name[:12] for path in sorted(tmp_path.iterdir())]
    assert kept[0] == []
    assert kept[1] == kept[2] == ["epoch-000002"]
    assert kept[5] == kept[6] == ["epoch-000004", "epoch-000006"]


def draws():
    return random.random(), np.random.random(), np.random.normal(), torch.rand(3)  # noqa: NPY002


def test_random_states_go_through_a_checkpoint_file(tmp_path):
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    draws()  # leaves half a pair of normal numbers pending in numpy
    save(tmp_path, 1, {"state": RandomState().state_dict()})
    expected = draws()
    draws()
    RandomState().load_state_dict(AtomicCheckpointIO().load_checkpoint(next(tmp_path.iterdir()))["state"])
    found = draws()
    assert found[:3] == expected[:3]
    assert torch.equal(found[3], expected[3])
