"""TensorBoard and CSV: files in the run folder that Lightning writes, and what it leaves out."""

import csv
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from xfeedback import files
from xfeedback.tracking.pictures import PICTURES

if TYPE_CHECKING:
    from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger


def start_csv(folder: Path) -> "CSVLogger":
    """Start ``csv/metrics.csv``, or go on in it: Lightning alone would delete the rows of a run that is resumed."""
    from pytorch_lightning.loggers import CSVLogger

    path = folder / "csv" / "metrics.csv"
    before = path.read_bytes() if path.exists() else b""
    before = before[: before.rfind(b"\n") + 1]  # a row that a kill cut off would run into the next one
    logger = CSVLogger(folder, name="", version="csv")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Experiment logs directory")
        writer = logger.experiment  # deletes the file
    if before:
        files.write_bytes(path, before)
        writer.metrics_keys = next(csv.reader([before.decode().splitlines()[0]]))
    return logger


def start_tensorboard(folder: Path, options: Mapping[str, Any]) -> "TensorBoardLogger":
    """Start ``tensorboard/``; a run that is resumed adds a file, which TensorBoard shows in the same curve."""
    from pytorch_lightning.loggers import TensorBoardLogger

    logger = TensorBoardLogger(folder, name="", version="tensorboard")
    text = yaml.safe_dump(dict(options), sort_keys=False, allow_unicode=True)
    logger.experiment.add_text("options", f"```\n{text}```")
    return logger


def send_pictures(logger: "TensorBoardLogger", folder: Path) -> None:
    """Add a finished run's pictures."""
    import numpy as np
    from PIL import Image

    for name, file in PICTURES.items():
        if (folder / file).exists():
            with Image.open(folder / file) as picture:
                pixels = np.array(picture.convert("RGB"))
            logger.experiment.add_image(name, pixels, 0, dataformats="HWC")
    logger.experiment.flush()
