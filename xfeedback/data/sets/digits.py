"""scikit-learn's handwritten digits: 1,797 real images of 8x8, enlarged to 32x32; needs no download."""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xfeedback.config import require
from xfeedback.data.options import DatasetConfig, Places
from xfeedback.data.source import Part, Source, fingerprint

TRAIN = 1200


@dataclass(frozen=True, kw_only=True)
class Config(DatasetConfig):
    """Options of ``dataset=digits``.

    Attributes:
        gain: brightness of the digits; at 0.5 a class-coded corner is the easier evidence, at 1 often not.
    """

    name: Literal["digits"] = "digits"
    gain: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0.0 < self.gain <= 1.0, "gain", self.gain, "above 0 and at most 1")


def read(config: Config, places: Places) -> Source:  # noqa: ARG001 - every reader takes both
    """Return the digits: x/16 enlarged threefold, times the gain, centred in 32x32; 1,200 to train, 597 to test.

    Inputs are scaled to [-2, 2]: with a background of 0 a CAM loss can switch off whole channels through their biases
    (docs/decisions.md).
    """
    pixels, labels = _packaged()
    small = pixels.reshape(-1, 8, 8) / 16
    images = np.repeat(np.repeat(small, 3, axis=1), 3, axis=2) * config.gain
    x = np.zeros((len(images), 1, 32, 32), dtype=np.float32)
    x[:, 0, 4:28, 4:28] = images
    y = labels.astype(np.int64)
    order = np.random.RandomState(0).permutation(len(y))
    everything = Part(x=x, y=y, index=np.arange(len(y)))
    return Source(
        train=everything.take(order[:TRAIN]),
        val=None,
        test=everything.take(order[TRAIN:]),
        class_names=tuple("0123456789"),
        mean=(0.5,),
        std=(0.25,),
        object_mask="foreground",
        center_box={"gray": 24, "hue": 24},
        fingerprint=fingerprint(x, y),
    )


@cache
def _packaged() -> tuple[NDArray[np.float64], NDArray[np.int_]]:
    """Pixels ``(N, 64)`` of 0 to 16 and labels; parsing takes a third of a second, and each run asks."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return np.asarray(pixels), np.asarray(labels)
