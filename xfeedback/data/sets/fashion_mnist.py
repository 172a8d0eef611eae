"""FashionMNIST (Xiao et al. 2017): 60,000 + 10,000 pictures of clothes, 28x28 grey."""

from dataclasses import dataclass
from typing import Literal

from xfeedback.data import idx
from xfeedback.data.options import Places
from xfeedback.data.source import Source

SET = idx.IdxSet(
    folder="FashionMNIST",
    md5=(
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    mean=0.2860,
    std=0.3530,
)


@dataclass(frozen=True, kw_only=True)
class Config(idx.IdxConfig):
    """Options of ``dataset=fashion_mnist``; see :class:`xfeedback.data.idx.IdxConfig`."""

    name: Literal["fashion_mnist"] = "fashion_mnist"
    declared_sizes: tuple[tuple[int, ...], ...] = ((2557, 3000),)


def read(config: Config, places: Places) -> Source:
    """Return FashionMNIST; see :func:`xfeedback.data.idx.read`."""
    return idx.read(config, places, SET)
