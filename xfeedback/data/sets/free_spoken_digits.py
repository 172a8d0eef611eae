"""The Free Spoken Digit Dataset (Jackson et al. 2018): the digits by six speakers, 8 kHz, 50 recordings of each."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xfeedback.config import require
from xfeedback.data import audio, features, folders, images
from xfeedback.data.options import Places
from xfeedback.data.source import Source
from xfeedback.dtypes import Ints
from xfeedback.errors import UserError, unknown

NAME = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")
FOLDERS = ("FSDD", "free-spoken-digit-dataset", "free-spoken-digit-dataset-master")
OFFICIAL = 3_000
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True, kw_only=True)
class Config(audio.AudioConfig):
    """Options of ``dataset=free_spoken_digits``.

    Attributes:
        split: ``recording``: the official test set, recordings 0 to 4 of each digit and speaker; recordings from 5 on
            validate, ``validation`` of them, the others train. ``speaker``: all of ``test_speaker`` test, all of
            ``val_speaker`` validate.
        validation: recordings of each digit and speaker that validate with ``split=recording``.
        test_speaker: with ``split=speaker``.
        val_speaker: with ``split=speaker``.
    """

    name: Literal["free_spoken_digits"] = "free_spoken_digits"
    sample_rate: int = 8_000
    features: audio.FeatureConfig = field(default_factory=lambda: audio.FeatureConfig(kind="log_mel"))
    split: Literal["recording", "speaker"] = "recording"
    validation: int = 5
    test_speaker: str = "theo"
    val_speaker: str = "nicolas"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.validation > 0, "validation", self.validation, "a positive integer")
        require(self.val_speaker != self.test_speaker, "val_speaker", self.val_speaker, "another than test_speaker")


def read(config: Config, places: Places) -> Source:
    """Return the recordings as spectrogram images; fewer than the official 3,000 are stamped ``subset``.

    A recording's index is its position in the order of recording number, digit, speaker, which all splits follow: any
    stretch of them has the digits in turn.

    Raises:
        UserError: there are none; a name that does not say digit, speaker and number; a damaged file; a split without
            a digit, or an unknown speaker.
    """
    folder = images.first_found(
        [place / "recordings" for place in folders.candidates(places, *FOLDERS)],
        lambda place: place.is_dir() and any(place.iterdir()),
        "recordings of the Free Spoken Digit Dataset",
        "Put github.com/Jakobovski/free-spoken-digit-dataset there (recordings/0_jackson_0.wav ...)",
    )
    clips = sorted((*_named(path), path) for path in audio.wav_files(folder))
    number, digit, speaker = (np.array([clip[part] for clip in clips]) for part in range(3))
    rows = _rows(config, number, speaker)
    for split, own in rows.items():
        absent = sorted(set(range(10)) - set(digit[own].tolist()))
        if absent:
            raise UserError(f"no recording of {WORDS[absent[0]]} in the split {split} of {folder}")
    waves, digest = audio.decoded(config, [clip[3] for clip in clips], "free_spoken_digits", places.cache, "digits")
    group = np.unique(speaker, return_inverse=True)[1]
    splits = {
        split: features.Clips(waves=waves[own], y=digit[own], index=own, group=group[own])
        for split, own in rows.items()
    }
    stamps = () if len(clips) == OFFICIAL else ("subset",)
    return features.source(config, splits, class_names=WORDS, digest=digest, stamps=stamps)


def _named(path: Path) -> tuple[int, int, str]:
    """Recording number, digit, speaker."""
    match = NAME.fullmatch(path.name)
    if match is None:
        raise UserError(f"{path} is not named <digit>_<speaker>_<number>.wav; rename it, or take it out of the folder")
    return int(match[3]), int(match[1]), match[2]


def _rows(config: Config, number: Ints, speaker: NDArray[np.str_]) -> dict[str, Ints]:
    if config.split == "recording":
        test, val = number < 5, (number >= 5) & (number < 5 + config.validation)
    else:
        for option in ("test_speaker", "val_speaker"):
            if getattr(config, option) not in speaker:
                raise unknown(f"dataset.{option}", getattr(config, option), set(speaker.tolist()))
        test, val = speaker == config.test_speaker, speaker == config.val_speaker
    return {name: np.flatnonzero(chosen) for name, chosen in (("train", ~(test | val)), ("val", val), ("test", test))}
