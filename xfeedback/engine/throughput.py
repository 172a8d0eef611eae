"""How fast images that are decoded during training arrive, and which of them were broken."""

import time
from typing import Any

import torch.distributed as dist
from pytorch_lightning import Callback, LightningModule, Trainer
from tqdm import tqdm

from xfeedback.data.loader import Loader


class Throughput(Callback):
    """Log ``data/images_per_second`` and ``data/waiting``, and say them in a line, after each epoch of decoded images.

    ``data/waiting`` is the share of the training steps' time in percent that the loop waited for its next batch; on an
    accelerator, which works on while the loop waits, it is at least what was lost. Sets in memory log nothing.

    Files that were found broken go into the checkpoint, so that a resumed run counts them.
    """

    def __init__(self) -> None:
        self._ended = 0.0
        self._replaced: set[str] = set()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take up what was found broken before."""
        del pl_module
        loader = trainer.train_dataloader
        if isinstance(loader, Loader) and loader.pace is not None:
            loader.replaced.update(self._replaced)
            self._replaced = loader.replaced

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Note the time."""
        del trainer, pl_module
        self._ended = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch's figures; processes that train together tell each other what they found broken."""
        loader = trainer.train_dataloader
        if not isinstance(loader, Loader) or loader.pace is None:
            return
        if trainer.world_size > 1:
            found: list[Any] = [None] * trainer.world_size
            dist.all_gather_object(found, sorted(loader.replaced))
            loader.replaced.update(*found)
        seconds = max(self._ended - loader.pace.began, 1e-9)
        speed, waiting = loader.pace.served / seconds, 100 * loader.pace.waited / seconds
        pl_module.log_dict({"data/images_per_second": speed, "data/waiting": waiting}, rank_zero_only=True)
        if trainer.is_global_zero:
            tqdm.write(f"epoch {trainer.current_epoch + 1}: {speed:.0f} images/s, waited {waiting:.0f} % for data")

    def state_dict(self) -> dict[str, Any]:
        """Return what was found broken."""
        return {"replaced": sorted(self._replaced)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what was found broken."""
        self._replaced = set(state_dict["replaced"])
