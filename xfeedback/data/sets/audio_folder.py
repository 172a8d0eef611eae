"""Anyone's clips: ``<word>/<clip>.wav`` in a folder; see :class:`Config`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from xfeedback.config import require
from xfeedback.data import audio, features, lists
from xfeedback.data.options import Places
from xfeedback.data.source import Source
from xfeedback.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Config(audio.AudioConfig):
    """Options of ``dataset=audio_folder``.

    In the folder: ``<word>/<clip>.wav``, of any rate, length and number of channels. Optional: ``splits/train.txt``,
    ``val.txt``, ``test.txt`` with a ``<word>/<clip>`` a line; else 60/20/20 by word. Clips of one speaker in several
    splits make a network look better than it is: lists are the way to keep them together.

    Attributes:
        root: the folder.
        split_seed: of splits that are drawn; the run's seed does not change them.
    """

    plants_decoys: ClassVar[bool] = False
    name: Literal["audio_folder"] = "audio_folder"
    features: audio.FeatureConfig = field(default_factory=lambda: audio.FeatureConfig(kind="log_mel"))
    root: str | None = None
    split_seed: int = 17

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.split_seed >= 0, "split_seed", self.split_seed, "0 or more")

    @property
    def folder(self) -> Path:
        """The folder.

        Raises:
            UserError: none is given, or there is none.
        """
        if self.root is None:
            raise UserError("dataset=audio_folder needs dataset.root=FOLDER with <word>/<clip>.wav")
        if not Path(self.root).is_dir():
            raise UserError(f"dataset.root={self.root} is no folder; expected one with <word>/<clip>.wav")
        return Path(self.root)


def read(config: Config, places: Places) -> Source:
    """Return the clips as spectrogram images; a clip's index is its position in the order of ``<word>/<clip>``.

    Raises:
        UserError: there are fewer than two words, a word has no clip, a clip can't be read, or a list is wrong.
    """
    folder = config.folder
    words = word_folders(folder)
    if len(words) < 2:
        raise UserError(f"{folder} has {len(words)} word folder(s), and a classifier needs two or more")
    clips = [(label, path) for label, word in enumerate(words) for path in audio.wav_files(folder / word)]
    y = np.array([label for label, _ in clips])
    keys = [f"{path.parent.name}/{path.stem}" for _, path in clips]
    rows, left_out = lists.splits(folder, keys, y, config.split_seed, inside="", endings=(".wav",), what="clips")
    lists.refuse_absent(y[rows["train"]].tolist(), words, "clip")
    waves, digest = audio.decoded(config, [path for _, path in clips], "audio_folder", places.cache, str(folder))
    splits = {name: features.Clips(waves=waves[own], y=y[own], index=own) for name, own in rows.items()}
    return features.source(config, splits, class_names=words, digest=digest, stamps=left_out)


def word_folders(folder: Path) -> list[str]:
    """Return the names of the folders of words, sorted; hidden ones and that of the lists are none."""
    found = (path.name for path in folder.iterdir() if path.is_dir() and path.name[0] not in "._")
    return sorted(name for name in found if name != lists.FOLDER)
