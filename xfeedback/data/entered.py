"""A person's own files and texts as a trained network takes them: prepared as the data set prepared them for training.

Images and WAV clips are a sample each; a file of series (:mod:`xfeedback.data.series_files`) or texts may hold several.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from xfeedback.data import folders, images
from xfeedback.data.audio import AudioConfig, fit, read_wav
from xfeedback.data.inputs import Inputs
from xfeedback.data.options import DatasetConfig
from xfeedback.data.series import Series, SeriesConfig, filled, stretched
from xfeedback.data.text import TextConfig, encode
from xfeedback.errors import UserError
from xfeedback.kinds import WORDS

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One input.

    Attributes:
        name: the file, with the series' number where it holds several, or the text.
        x: as the network takes it, normalised: ``(C, H, W)``, ``(T, F)`` or ``(L,)``.
        picture: PIL picture of what the network is shown; None for clips, series and texts.
        valid: which steps are real ``(T,)`` or ``(L,)`` bool; None: all.
    """

    name: str
    x: Tensor
    picture: "Image.Image | None" = None
    valid: Tensor | None = None


def read(given: Sequence[str], dataset: DatasetConfig, inputs: Inputs) -> Iterator[Sample]:
    """Yield the samples of files or texts, in order.

    Args:
        given: image files; ``.wav`` files for audio sets; ``.csv``, ``.tsv``, ``.ts`` and ``.npy`` files for series;
            for texts the texts themselves, or ``.txt`` files with one a line.
        dataset: options of the set that the network was trained on.
        inputs: what the network must be given.

    Raises:
        UserError: a file is missing, damaged or of another kind, or does not fit the network.
    """
    reader = _reader(dataset, inputs)
    for name in given:
        yield from reader(name)


def batches(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    """Yield lists of ``size`` samples, the last one perhaps shorter."""
    rest = iter(samples)
    while batch := list(islice(rest, size)):
        yield batch


def _reader(dataset: DatasetConfig, inputs: Inputs) -> Callable[[str], Iterator[Sample]]:
    if isinstance(dataset, TextConfig):
        return lambda name: _texts(name, dataset, inputs)
    if isinstance(dataset, AudioConfig):
        return lambda name: _clip(_file(name, (".wav",), "audio clips"), dataset, inputs)
    if inputs.kind == "series":
        if not isinstance(dataset, SeriesConfig):
            raise UserError(f"dataset={dataset.name} makes its own series: there are no files of them to read")
        return lambda name: _series(_file(name, SERIES, WORDS["series"]), dataset, inputs)
    return lambda name: _image(_file(name, (), WORDS["image"]), dataset, inputs)


SERIES = (".csv", ".tsv", ".ts", ".npy")


def _file(name: str, endings: tuple[str, ...], what: str) -> Path:
    path = Path(name)
    if endings and path.suffix.lower() not in endings:
        raise UserError(f"{name}: this network takes {what}, files that end in {', '.join(endings)}")
    if not path.is_file():
        raise UserError(f"{name}: there is no such file; this network takes {what}")
    return path


def _image(path: Path, dataset: DatasetConfig, inputs: Inputs) -> Iterator[Sample]:
    channels, height, width = inputs.in_shape
    if channels not in (1, 3):
        raise UserError(f"{path}: this network takes images of {channels} channels, and a picture has 1 or 3")
    short_side = getattr(dataset, "short_side", None)
    if short_side is not None:
        pixels, picture = _centre(path, height, short_side)
    else:
        picture = images.picture_of(path).convert("L" if channels == 1 else "RGB")
        pixels = torch.from_numpy(np.array(images.resized(picture, width, height)))
    x = pixels.float() / 255
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (inputs.mean, inputs.std))
    yield Sample(name=str(path), x=(x - mean) / std, picture=picture)


def _centre(path: Path, size: int, short_side: int) -> tuple[Tensor, "Image.Image"]:
    """Evaluate as sets do that are decoded during training: the short side brought to a length, the centre cut out."""
    from PIL import Image
    from torchvision.transforms import v2

    from xfeedback.data.decode import BrokenError, read_image

    try:
        image = read_image(path)
    except BrokenError as error:
        raise UserError(f"cannot read the image {path}: {error}.") from error
    change = v2.Compose([v2.Resize(short_side, antialias=True), v2.CenterCrop(size)])
    pixels = change(image).as_subclass(Tensor)
    return pixels, Image.fromarray(pixels.permute(1, 2, 0).numpy())


def _clip(path: Path, dataset: AudioConfig, inputs: Inputs) -> Iterator[Sample]:
    from xfeedback.data import features

    if dataset.features.scaling != "clip":
        raise UserError(
            "this network was trained with dataset.features.scaling=training: its inputs are scaled by extremes of the "
            "training set, which no run keeps. Train with scaling=clip to use it on files."
        )
    waves = fit(read_wav(path, dataset.sample_rate, dataset.stereo), dataset.samples)[None]
    x = features.features(waves, dataset.features, dataset.sample_rate)
    features.scale_by_clip(x)
    yield Sample(name=str(path), x=(torch.from_numpy(x[0]) - inputs.mean[0]) / inputs.std[0])


def _series(path: Path, dataset: SeriesConfig, inputs: Inputs) -> Iterator[Sample]:
    from xfeedback.data import series_files

    found = _arrays(path) if path.suffix.lower() == ".npy" else series_files.read(path, labelled=False)
    for number, one in enumerate(found, start=1):
        name = str(path) if len(found) == 1 else f"{path}:{number}"
        x, valid = _steps(one, dataset, inputs)
        yield Sample(name=name, x=x, valid=valid)


def _arrays(path: Path) -> list[Series]:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise folders.damaged(path, error) from error
    if values.dtype.kind not in "fiu" or values.ndim not in (1, 2, 3):
        raise UserError(f"{path} holds {values.dtype} {values.shape}; a series is numbers (T,) or (T, F)")
    whole = values.reshape(len(values), -1)[None] if values.ndim < 3 else values
    return [Series(values=one.astype(np.float64), label="", where=str(path)) for one in whole]


def _steps(one: Series, dataset: SeriesConfig, inputs: Inputs) -> tuple[Tensor, Tensor | None]:
    """Return a series as long as the network's ``(T, F)``, and which steps are real."""
    length, width = inputs.in_shape
    values = filled(one, dataset)[0]
    if values.shape[1] != width:
        raise UserError(f"{one.where}: {values.shape[1]} feature(s), and this network takes {width}")
    if dataset.unequal == "stretch":
        values = stretched(values, length)
    if len(values) > length or (dataset.unequal == "refuse" and len(values) < length):
        raise UserError(f"{one.where}: {len(values)} steps, and this network takes {length}")
    x = torch.zeros(length, width)
    real = torch.arange(length) < len(values)
    x[: len(values)] = torch.from_numpy(values.astype(np.float32))
    x = (x - torch.tensor(inputs.mean)) / torch.tensor(inputs.std)
    return (x, None) if bool(real.all()) else (x.masked_fill(~real[:, None], 0.0), real)


def _texts(name: str, dataset: TextConfig, inputs: Inputs) -> Iterator[Sample]:
    if Path(name).suffix.lower() == ".txt":
        from xfeedback.data import text_sets

        found = [line for _, line in text_sets.lines(_file(name, (".txt",), WORDS["text"]))]
        if not found:
            raise UserError(f"{name} holds no text: one a line")
    else:
        found = [name]
    for text in found:
        cut = dataset.cut(text)[: inputs.in_shape[0]]
        ids = encode([cut], [()], inputs.vocabulary, inputs.in_shape[0])["x"]
        x = torch.from_numpy(ids[0])
        yield Sample(name=text, x=x, valid=x != 0)
