"""Speech Commands (Warden 2018): one-second clips of single words, from an archive, a copy or a declared subset."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xfeedback.config import require
from xfeedback.data import audio, features, folders, speech_lists
from xfeedback.data.options import Places
from xfeedback.data.source import SPLIT_SEED, Source
from xfeedback.dtypes import Ints
from xfeedback.errors import UserError

OFFICIAL = {"v0.01": (51_088, 6_798, 6_835), "v0.02": (84_843, 9_981, 11_005)}
"""Clips that train, validate and test, with all words."""
COMPANION = 4_890
"""Clips of the test set that was published beside v0.02 for 12 classes."""
BEYOND = 2**40
"""First number of those clips: ``_silence_`` has numbers up to the square of the archive's size."""
SUBSET8 = (732, 213, 335)
SUBSET8_LISTS = "e7288c063e9777ecc2d11435292e2e48d7c878bdfb2b24c531d402978afbbdf5"
"""SHA-256 of the two lists of the shortened set of 8 words, which the project made."""
COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
SILENCE, UNKNOWN = "_silence_", "_unknown_"
NOISE = "_background_noise_"
STAMP = "subset, not comparable with published numbers"


@dataclass(frozen=True, kw_only=True)
class Config(audio.AudioConfig):
    """Options of ``dataset=speech_commands``.

    Attributes:
        version: of the archive.
        words: ``all``: 35 words (v0.01: 30; a subset: those it has); 10: the commands yes, no, up, down, left, right,
            on, off, stop, go; 12: these, and ``_silence_`` and ``_unknown_`` (other words), as many of each as
            ``extra_share`` says, drawn once and for all from a split's own clips.
        test_set: ``companion``: with 12 words, test on the archive published for them, which must lie beside the other:
            ``speech_commands_test_set_v0.02``, a folder a class. Most published figures for 12 classes are on it.
        extra_share: clips of ``_silence_`` and of ``_unknown_`` each, as a share of a split's clips of commands.
        noise_volume: ``_silence_`` is a second of the archive's background noise times a volume from 0 to this.
        drop_last_line: leave the last training clip out, as the program released with Mazumder et al. 2023 does.
        declared_sizes: sizes (train, validate, test) of incomplete copies that are accepted and stamped; the shared
            subset of 8 words (732, 213, 335) is known by its lists.
    """

    name: Literal["speech_commands"] = "speech_commands"
    version: Literal["v0.02", "v0.01"] = "v0.02"
    words: Literal["all", 10, 12] = "all"
    test_set: Literal["official", "companion"] = "official"
    extra_share: float = 0.1
    noise_volume: float = 1.0
    drop_last_line: bool = False
    declared_sizes: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        twelve = self.test_set == "official" or (self.words == 12 and self.version == "v0.02")
        require(twelve, "test_set", self.test_set, "official but for words=12 of v0.02")
        require(0 < self.extra_share <= 1, "extra_share", self.extra_share, "above 0 and at most 1")
        require(0 <= self.noise_volume <= 1, "noise_volume", self.noise_volume, "from 0 to 1")
        triples = all(len(sizes) == 3 for sizes in self.declared_sizes)
        require(triples, "declared_sizes", self.declared_sizes, "a list of triples [train, validate, test]")


def read(config: Config, places: Places) -> Source:
    """Return the clips as spectrogram images, split by the archive's lists.

    A clip's index is its position among all clips of the archive sorted by ``<word>/<file>``, its group is its speaker.
    Training follows that order; validation and test clips follow their lists.

    Raises:
        UserError: nothing there and not to be downloaded; a word without clips; lists that don't fit the clips; a copy
            that is neither complete nor declared; a damaged file.
    """
    folder = locate(config, places)
    files = _files(folder)
    names = [path.relative_to(folder).as_posix() for path in files]
    rows = speech_lists.split_rows(folder, names, config.drop_last_line)
    stamps = _stamps(config, folder, names, rows)
    words = np.array([name.split("/")[0] for name in names])
    classes = _classes(config, words, folder)
    noises = _noises(config, folder) if config.words == 12 else []
    waves, digest = audio.decoded(config, files, f"speech_commands-{config.version}", places.cache, "Speech Commands")
    group = np.unique([speech_lists.speaker(name) for name in names], return_inverse=True)[1]
    everything = features.Clips(waves=waves, y=_labels(words, classes), index=np.arange(len(names)), group=group)
    splits = {split: _chosen(everything, np.array(own), classes) for split, own in rows.items()}
    if config.words == 12:
        splits = {
            split: _with_extras(config, clips, rows[split], everything, noises) for split, clips in splits.items()
        }
    if config.test_set == "companion":
        splits["test"], other, more = _companion(config, places, classes)
        digest, stamps = f"{digest}-{other}", (*stamps, *more)
    return features.source(config, splits, class_names=classes, digest=digest, stamps=stamps)


def _companion(config: Config, places: Places, classes: Sequence[str]) -> tuple[features.Clips, str, tuple[str, ...]]:
    """The test set for 12 classes, its fingerprint and stamps; its clips' numbers lie beyond all others."""
    name = "speech_commands_test_set_v0.02"
    searched = folders.candidates(places, f"SpeechCommands/{name}", name)
    folder = next((place for place in searched if place.is_dir()), None)
    if folder is None:
        raise UserError(
            f"dataset.test_set=companion: no folder {searched[0]}; unpack "
            f"https://storage.googleapis.com/download.tensorflow.org/data/{name}.tar.gz there"
        )
    missing = [word for word in classes if not (folder / word).is_dir()]
    if missing:
        raise UserError(f"{folder} has no folder for {', '.join(missing)}. Unpack the archive anew.")
    found = [(path, label) for label, word in enumerate(classes) for path in audio.wav_files(folder / word)]
    files, y = [path for path, _ in found], np.array([label for _, label in found])
    waves, digest = audio.decoded(config, files, name, places.cache, "the test set for 12 words")
    numbers = BEYOND + np.arange(len(files))
    clips = features.Clips(waves=waves, y=y, index=numbers, group=numbers)
    return clips, digest, () if len(files) == COMPANION else (f"{len(files)} of {COMPANION:,} companion test clips",)


def locate(config: Config, places: Places) -> Path:
    """Return the first folder with the archive's lists or words; without one, download into the root.

    Raises:
        UserError: the download failed.
    """
    name = f"speech_commands_{config.version}"
    searched = folders.candidates(places, f"SpeechCommands/{name}", name)
    for folder in searched:
        if folder.is_dir() and any(folder.iterdir()):
            return folder
    return folders.download("Speech Commands", searched[0], searched, lambda into: _fetch(into, name))


def _fetch(into: Path, name: str) -> Path:
    from torchaudio.datasets import SPEECHCOMMANDS

    SPEECHCOMMANDS(into, url=name, download=True)
    return into / "SpeechCommands" / name


def _files(folder: Path) -> list[Path]:
    """All clips, sorted by ``<word>/<file>``."""
    words = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] not in "._")
    if not words:
        raise UserError(f"{folder} has no folder of a word. Remove it to download Speech Commands anew.")
    return [path for word in words for path in audio.wav_files(word)]


def _stamps(config: Config, folder: Path, names: Sequence[str], rows: dict[str, list[int]]) -> tuple[str, ...]:
    """What must stand beside results; refuses copies that are neither complete nor declared."""
    sizes = tuple(len(rows[split]) for split in ("train", "val", "test"))
    whole = (sizes[0] + config.drop_last_line, *sizes[1:])
    if whole == OFFICIAL[config.version]:
        moved = sum(speech_lists.split_of(names[row]) != split for split, own in rows.items() for row in own)
        return (f"{moved} clips in another split than their names' hash says",) if moved else ()
    ours = whole == SUBSET8 and speech_lists.digest(folder) == SUBSET8_LISTS
    if ours or whole in {tuple(declared) for declared in config.declared_sizes}:
        return (STAMP,)
    found = ",".join(map(str, whole))
    expected = ",".join(map(str, OFFICIAL[config.version]))
    raise UserError(
        f"{folder} holds {found} clips to train, validate and test, expected {expected}. Restore the files, or declare "
        f"a shortened set: 'dataset.declared_sizes=[[{found}]]'."
    )


def _classes(config: Config, words: NDArray[np.str_], folder: Path) -> tuple[str, ...]:
    there = np.unique(words).tolist()
    if config.words == "all":
        if len(there) < 2:
            raise UserError(f"{folder} has clips of one word, and a classifier needs two or more")
        return tuple(there)
    missing = [word for word in COMMANDS if word not in there]
    if missing:
        raise UserError(
            f"dataset.words={config.words} needs the words {', '.join(COMMANDS)}, and {folder} has no folder for "
            f"{', '.join(missing)}. Take dataset.words=all."
        )
    return COMMANDS if config.words == 10 else (*COMMANDS, SILENCE, UNKNOWN)


def _labels(words: NDArray[np.str_], classes: Sequence[str]) -> Ints:
    """Labels ``(N,)``; -1 for words that are no class."""
    number = {word: label for label, word in enumerate(classes)}
    return np.array([number.get(word, -1) for word in words.tolist()])


def _chosen(everything: features.Clips, rows: Ints, classes: Sequence[str]) -> features.Clips:
    rows = rows[everything.y[rows] >= 0] if len(rows) else rows
    absent = set(everything.y[everything.y >= 0].tolist()) - set(everything.y[rows].tolist())
    if absent:
        raise UserError(f"no clip of '{classes[min(absent)]}' in one of the splits: each needs some of every word")
    return _take(everything, rows)


def _take(clips: features.Clips, rows: Ints) -> features.Clips:
    group = None if clips.group is None else clips.group[rows]
    return features.Clips(waves=clips.waves[rows], y=clips.y[rows], index=clips.index[rows], group=group)


def _noises(config: Config, folder: Path) -> list[Ints]:
    place = folder / NOISE
    if not place.is_dir():
        raise UserError(
            f"dataset.words=12 makes {SILENCE} from {place}, which is missing. Restore it, or take words=10."
        )
    return [audio.read_wav(path, config.sample_rate, config.stereo) for path in audio.wav_files(place)]


def _with_extras(
    config: Config,
    commands: features.Clips,
    rows: Sequence[int],
    everything: features.Clips,
    noises: Sequence[Ints],
) -> features.Clips:
    """Add ``_silence_`` and ``_unknown_``, drawn from the split's own clips; silence has numbers beyond all clips'."""
    count, size = round(config.extra_share * len(commands.y)), len(everything.y)
    rng = np.random.default_rng([SPLIT_SEED, len(rows), rows[0]])
    others = np.array(rows)[everything.y[rows] < 0]
    unknown = _take(everything, np.sort(rng.permutation(others)[:count]))
    silence = np.stack([_silence(config, noises, rng) for _ in range(count)])
    numbers = size + rows[0] * size + np.arange(count)
    return features.Clips(
        waves=np.concatenate([commands.waves, silence, unknown.waves]),
        y=np.concatenate([commands.y, np.full(count, len(COMMANDS)), np.full(len(unknown.y), len(COMMANDS) + 1)]),
        index=np.concatenate([commands.index, numbers, unknown.index]),
        group=np.concatenate([_voices(commands), numbers, _voices(unknown)]),
    )


def _voices(clips: features.Clips) -> Ints:
    return np.full(len(clips.y), -1) if clips.group is None else clips.group


def _silence(config: Config, noises: Sequence[Ints], rng: np.random.Generator) -> Ints:
    noise = noises[int(rng.integers(len(noises)))]
    start = int(rng.integers(max(1, len(noise) - config.samples + 1)))
    quiet = audio.fit(noise[start:], config.samples) * rng.uniform(0, config.noise_volume)
    return np.rint(quiet).astype(np.int16)
