"""MNIST (LeCun et al. 1998): 60,000 + 10,000 handwritten digits of 28x28."""

from dataclasses import dataclass
from typing import Literal

from xfeedback.data import idx
from xfeedback.data.options import Places
from xfeedback.data.source import Source

SET = idx.IdxSet(
    folder="MNIST",
    md5=(
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    class_names=tuple("0123456789"),
    mean=0.1307,
    std=0.3081,
)


@dataclass(frozen=True, kw_only=True)
class Config(idx.IdxConfig):
    """Options of ``dataset=mnist``; see :class:`xfeedback.data.idx.IdxConfig`."""

    name: Literal["mnist"] = "mnist"


def read(config: Config, places: Places) -> Source:
    """Return MNIST; see :func:`xfeedback.data.idx.read`."""
    return idx.read(config, places, SET)
