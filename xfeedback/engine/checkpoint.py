"""Checkpoints that are whole or not there, and say when they are damaged."""

import hashlib
import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.plugins.io import CheckpointIO

from xfeedback import files

KEPT = 2


class AtomicCheckpointIO(CheckpointIO):
    """Write checkpoints through a temporary file, with the content's hash in the name; load plain data only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save to ``path`` with ``-<sha256, 16 digits>`` added to its stem.

        Raises:
            OSError: it could not be written; earlier checkpoints stay as they were.
        """
        del storage_options
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        content = buffer.getvalue()
        target = Path(path)
        files.write_bytes(target.with_name(f"{target.stem}-{_digest(content)}{target.suffix}"), content)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Load tensors and plain containers, never code."""
        del weights_only
        return torch.load(path, map_location=map_location or "cpu", weights_only=True)

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint."""
        Path(path).unlink(missing_ok=True)


def latest(folder: Path, pattern: str = "epoch-*.ckpt") -> tuple[Path | None, list[str]]:
    """Return the newest whole checkpoint of a folder, and a line for each damaged one that was passed over."""
    notes = []
    for path in sorted(folder.glob(pattern), reverse=True):
        if path.stem.endswith(_digest(path.read_bytes())):
            return path, notes
        notes.append(f"checkpoint {path.name} is damaged; the one before it is used")
    return None, notes


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


class SaveForResume(Callback):
    """Save the whole state of training at the end of epochs, and keep the newest two."""

    def __init__(self, folder: Path, every_n_epochs: int, epochs_before: int = 0) -> None:
        self.folder, self.every, self.before = folder, every_n_epochs, epochs_before

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after every n-th epoch; the last one needs no state to resume from."""
        del pl_module
        epoch = trainer.current_epoch + 1
        if epoch % self.every or epoch == trainer.max_epochs:
            return
        trainer.save_checkpoint(named(self.folder, self.before + epoch))
        if trainer.is_global_zero:
            drop_old(self.folder)


def named(folder: Path, epochs: int, steps: int = 0) -> Path:
    """Return the path of the checkpoint after so many epochs of the whole run and steps of the next; names sort."""
    inside = f"-step-{steps:08d}" if steps else ""
    return folder / f"epoch-{epochs:06d}{inside}.ckpt"


def drop_old(folder: Path, pattern: str = "epoch-*.ckpt") -> None:
    """Keep the newest two checkpoints."""
    for old in sorted(folder.glob(pattern))[:-KEPT]:
        old.unlink()


class RandomState(Callback):
    """Keep the states of the global random generators in the checkpoint, for code that draws from them."""

    def state_dict(self) -> dict[str, Any]:
        """Return the states of python, numpy and torch as plain data."""
        version, words, gauss = random.getstate()
        name, keys, *rest = np.random.get_state()  # noqa: NPY002
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {
            "python": [version, list(words), gauss],
            "numpy": [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), [float(r) for r in rest]],
            "torch": torch.get_rng_state(),
            "cuda": cuda,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the states."""
        version, words, gauss = state_dict["python"]
        random.setstate((version, tuple(words), gauss))
        name, keys, (position, has_gauss, cached) = state_dict["numpy"]
        state = (name, keys.numpy().astype(np.uint32), int(position), int(has_gauss), cached)
        np.random.set_state(state)  # noqa: NPY002
        torch.set_rng_state(state_dict["torch"])
        if state_dict["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state_dict["cuda"])
