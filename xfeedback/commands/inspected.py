"""What a folder or file of own data holds and what is wrong with it, by the code that reads it for training."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from xfeedback import data
from xfeedback.data import arrays, audio, images, lists, series_files
from xfeedback.data.options import Places
from xfeedback.data.series import filled
from xfeedback.data.sets import audio_folder, image_folder, series_file, text_file
from xfeedback.data.source import Source
from xfeedback.errors import UserError
from xfeedback.kinds import Kind

HEAD = ("text", "label")
"""Columns of a table of texts."""


@dataclass(kw_only=True)
class Found:
    """What was found.

    Attributes:
        dataset: which data set reads it.
        options: the options that name it, as they are typed.
        what: in words.
        kind: of the inputs.
        counts: samples by class.
        annotated: samples with right or wrong evidence; None where there is none at all.
        facts: further lines by name.
        problems: what training would refuse, a line each.
        warnings: what training would take, and a person should look at.
    """

    dataset: str
    options: tuple[str, ...]
    what: str
    kind: Kind
    counts: dict[str, int] = field(default_factory=dict)
    annotated: int | None = None
    facts: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note what is refused in the block as a problem, and go on after it."""
        try:
            yield
        except UserError as error:
            self.problems.append(str(error))

    def read(self, **options: Any) -> None:
        """Read everything as training does, and note how many samples train, validate and test.

        Args:
            options: of the data set.
        """
        with self.noting(), TemporaryDirectory() as cache:
            config = data.config_class(self.dataset)(name=self.dataset, **options)
            source = data.read(config, Places(root=Path(cache), cache=Path(cache)))
            self._note(source)

    def _note(self, source: Source) -> None:
        parts = [part for part in (source.train, source.val, source.test) if part is not None]
        total = np.bincount(np.concatenate([part.y for part in parts]), minlength=len(source.class_names))
        self.counts = dict(zip(source.class_names, total.tolist(), strict=True))
        marked = [part.annotated for part in parts if part.annotated is not None]
        self.annotated = int(sum(flags.sum() for flags in marked)) if marked else None
        self.facts["shape"] = "x".join(str(size) for size in source.train.x.shape[1:])
        counts = [str(len(part.y)) if part is not None else "none" for part in (source.train, source.val, source.test)]
        self.facts["splits"] = f"train {counts[0]}, validation {counts[1]}, test {counts[2]}"
        if source.stamps:
            self.facts["stamps"] = "; ".join(source.stamps)


def inspect(path: Path) -> Found:
    """Look at a folder or a file.

    Raises:
        UserError: there is none, or nothing in it is understood.
    """
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder")
    try:
        return (_folder if path.is_dir() else _file)(path)
    except OSError as error:
        raise UserError(f"cannot read {error.filename or path}: {error.strerror}") from error


def _folder(path: Path) -> Found:
    inside = [entry for entry in sorted(path.iterdir()) if entry.name[0] != "."]
    if (path / "images").is_dir():
        return _image_folder(path)
    if (path / "train.jsonl").is_file():
        return _by_reader("eraser_folder", "texts with evidences in ERASER's form", "text", root=str(path))
    for ending, dataset in ((".tsv", "ucr"), (".ts", "uea")):
        if (path / f"{path.name}_TRAIN{ending}").is_file():
            return _archive(path, dataset, ending)
    below = [{file.suffix.lower() for file in entry.iterdir()} for entry in inside if entry.is_dir()]
    if any(".wav" in endings for endings in below):
        return _audio_folder(path)
    if sum(not endings.isdisjoint(image_folder.PICTURES) for endings in below) > 1:
        raise UserError(
            f"{path} holds class folders of images. They must stand in a folder images/: "
            f"mkdir {path}/images, and move the class folders into it."
        )
    raise UserError(
        f"{path}: nothing in it is understood. Expected images/<class>/*.jpg, <word>/*.wav, a set of UCR or UEA, "
        "or ERASER's train.jsonl; or give a file: .tsv, .csv, .jsonl, .ts, .npz, .pt."
    )


def _file(path: Path) -> Found:
    kind = path.suffix.lower()
    if kind in arrays.ENDINGS:
        return _arrays(path)
    if kind == ".ts":
        return _series(path)
    if kind in (".jsonl", ".tsv", ".csv"):
        head = _header(path)
        if kind == ".jsonl" or set(HEAD) <= head:
            return _texts(path)
        return _series(path)
    raise UserError(f"{path} is of no kind that is understood: .tsv, .csv, .jsonl, .ts, .npz or .pt")


def _header(path: Path) -> set[str]:
    from xfeedback.data import text_sets

    _, line = next(text_sets.lines(path), ("", ""))
    return {name.strip().strip('"') for name in line.split("," if path.suffix.lower() == ".csv" else "\t")}


def _image_folder(path: Path) -> Found:
    found = Found(
        dataset="image_folder", options=(f"dataset.root={path}",), what="images in class folders", kind="image"
    )
    config = image_folder.Config(root=str(path))
    pictures = _class_files(path / "images", image_folder.PICTURES, found)
    items, sizes = [images.Item(picture=file, label=0) for file in pictures], []
    with found.noting():
        _, names, items = image_folder.listed(config)
        with found.noting():
            _note_splits(found, *image_folder.splits(config, names, items))
    annotated = 0
    for item in items:
        with found.noting():
            picture = images.picture_of(item.picture)
            sizes.append((picture.width, picture.height))
            regions = [
                region(picture.height, picture.width) for region in (item.mask, item.wrong) if region is not None
            ]
            annotated += any(region.any() for region in regions)
    found.annotated = annotated if config.has_masks else None
    if config.has_masks:
        given = [name for name in (*image_folder.RIGHT, "wrong") if (path / name).exists()]
        found.what += f" with {' and '.join(given)}"
    if sizes:
        found.facts["sizes"] = _range([f"{width}x{height}" for width, height in sorted(sizes)])
    _note_copies(found, pictures)
    return found


def _audio_folder(path: Path) -> Found:
    import soundfile

    found = Found(dataset="audio_folder", options=(f"dataset.root={path}",), what="clips in word folders", kind="image")
    words = audio_folder.word_folders(path)
    clips = _class_files(path, (".wav",), found, words)
    if len(words) < 2:
        found.problems.append(f"{path} has {len(words)} word folder(s), and a classifier needs two or more")
    found.problems += [f"{path / word} has no .wav file" for word in words if not found.counts.get(word)]
    rates, seconds = set(), []
    for clip in clips:
        with found.noting():
            try:
                rate = soundfile.info(clip).samplerate
            except (soundfile.LibsndfileError, RuntimeError):
                rate = 16_000  # read_wav says what is wrong
            seconds.append(len(audio.read_wav(clip, rate)) / rate)
            rates.add(rate)
    keys = [f"{clip.parent.name}/{clip.stem}" for clip in clips]
    y = np.array([words.index(clip.parent.name) for clip in clips])
    with found.noting():
        how = {"inside": "", "endings": (".wav",), "what": "clips"}
        _note_splits(found, *lists.splits(path, keys, y, audio_folder.Config().split_seed, **how))
    if seconds:
        found.facts["rates"] = f"{', '.join(map(str, sorted(rates)))} samples a second"
        found.facts["lengths"] = f"{min(seconds):.2f} to {max(seconds):.2f} s (dataset.seconds=1.0 cuts and pads)"
    _note_copies(found, clips)
    return found


def _class_files(folder: Path, endings: Sequence[str], found: Found, names: Sequence[str] | None = None) -> list[Path]:
    """The files of each class folder that will be read; others are counted in a warning."""
    classes = names or sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")
    taken, strange = [], []
    for name in classes:
        files = [file for file in sorted((folder / name).iterdir()) if file.name[0] != "."]
        own = [file for file in files if file.suffix.lower() in endings]
        found.counts[name] = len(own)
        taken += own
        strange += [file for file in files if file not in own]
    if strange:
        kinds = ", ".join(endings)
        found.warnings.append(f"{len(strange)} file(s) are left out, as they end in none of {kinds}: {_some(strange)}")
    return taken


def _note_splits(found: Found, rows: Mapping[str, Any], stamps: Sequence[str]) -> None:
    counts = [str(len(rows[name])) if name in rows else "none" for name in ("train", "val", "test")]
    found.facts["splits"] = f"train {counts[0]}, validation {counts[1]}, test {counts[2]}"
    found.warnings += stamps


def _note_copies(found: Found, files: Sequence[Path]) -> None:
    """Files with the same content may stand in training and in the test set, or in two classes."""
    seen: dict[bytes, list[Path]] = {}
    for file in files:
        seen.setdefault(hashlib.sha256(file.read_bytes()).digest(), []).append(file)
    same = [group for group in seen.values() if len(group) > 1]
    torn = [group for group in same if len({file.parent for file in group}) > 1]
    for groups, what in ((torn, "in several classes"), (same, "each")):
        if groups:
            count = f"{len(groups)} group{'s' * (len(groups) > 1)} of files with the same content {what}"
            found.warnings.append(f"{count}, e.g. {_some(groups[0])}")


def _texts(path: Path) -> Found:
    found = Found(dataset="text_file", options=(f"dataset.train={path}",), what="texts", kind="text")
    config = text_file.Config(train=str(path))
    total = annotated = 0
    with found.noting():
        for where, row in text_file.rows(path):
            with found.noting():
                text = text_file.text_of(config, where, row)
                found.counts[text.label] = found.counts.get(text.label, 0) + 1
                total, annotated = total + 1, annotated + bool(text.rationale)
    found.annotated = annotated or None
    if found.annotated:
        found.what = "texts with rationales"
    _unless_wrong(found, train=str(path))
    return found


def _series(path: Path) -> Found:
    found = Found(dataset="series_file", options=(f"dataset.train={path}",), what="series", kind="series")
    with found.noting():
        for one in series_files.read(path):
            found.counts[one.label] = found.counts.get(one.label, 0) + 1
            with found.noting():
                filled(one, series_file.Config())
    _unless_wrong(found, train=str(path))
    return found


def _archive(path: Path, dataset: str, ending: str) -> Found:
    options = (f"dataset.problem={path.name}", f"paths.data={path.parent}")
    found = Found(dataset=dataset, options=options, what=f"a set of the {dataset.upper()} archive", kind="series")
    for part in ("TRAIN", "TEST"):
        with found.noting():
            for one in series_files.read(path / f"{path.name}_{part}{ending}"):
                with found.noting():
                    filled(one, series_file.Config())
    if not found.problems:
        train, test = (str(path / f"{path.name}_{part}{ending}") for part in ("TRAIN", "TEST"))
        reader = Found(dataset="series_file", options=options, what=found.what, kind="series")
        reader.read(train=train, test=test)
        reader.dataset = dataset
        return reader
    return found


def _arrays(path: Path) -> Found:
    found = Found(dataset="image_arrays", options=(f"dataset.file={path}",), what="arrays", kind="image")
    with found.noting():
        x = next(iter(arrays.read(path).parts.values()))["x"]
        options: dict[str, Any] = {"file": str(path)}
        if x.ndim == 2 or (x.ndim == 3 and x.dtype != np.uint8):
            found.dataset, found.kind = "series_arrays", "series"
            if x.ndim == 3:
                found.warnings.append("taken for series (N, T, F); grey images (N, H, W) are dataset=image_arrays")
        elif x.ndim == 4 and x.shape[3] in (1, 3) and x.shape[1] not in (1, 3):
            found.options = (*found.options, "dataset.channels=last")
            options["channels"] = "last"
        found.what = f"{'images' if found.kind == 'image' else 'series'} as arrays"
        found.read(**options)
    return found


def _by_reader(dataset: str, what: str, kind: Kind, **options: Any) -> Found:
    typed = tuple(f"dataset.{name}={value}" for name, value in options.items())
    found = Found(dataset=dataset, options=typed, what=what, kind=kind)
    found.read(**options)
    return found


def _unless_wrong(found: Found, **options: Any) -> None:
    """Read everything together where each part for itself is right."""
    if not found.problems:
        found.read(**options)


def _range(names: Sequence[str]) -> str:
    return names[0] if names[0] == names[-1] else f"{names[0]} to {names[-1]}"


def _some(files: Sequence[Path], most: int = 3) -> str:
    more = f" and {len(files) - most} more" if len(files) > most else ""
    return ", ".join(map(str, files[:most])) + more
