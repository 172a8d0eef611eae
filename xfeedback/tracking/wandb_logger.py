"""Lightning's logger of wandb, with a row for each epoch that a resumed run continues."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytorch_lightning.loggers import WandbLogger

from xfeedback.tracking.wandb_run import STEP, define

if TYPE_CHECKING:
    from wandb import Run


class RowLogger(WandbLogger):
    """Number wandb's rows by the steps of the optimiser: Lightning's own count starts anew when a run is resumed.

    Lightning gives the figures of validation first; they wait for those of training and make one row with them.
    """

    def __init__(self, run: "Run") -> None:
        super().__init__(experiment=run)
        self._run, self._row = run, run.step
        self._known: set[str] = set()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log scalars, and write them at once where an epoch is complete."""
        for name in metrics.keys() - self._known:
            define(self._run, name)
            self._known.add(name)
        self._row = max(self._row, step or 0)
        waits = all(name == "epoch" or name.startswith("val/") for name in metrics)
        self._run.log({**metrics, STEP: step}, step=self._row, commit=not waits)
        self._row += not waits
