"""What a folder or file of own data holds and what is wrong with it, by the code that reads it for training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xfeedback.commands.found import Found, note_copies, some
from xfeedback.data import arrays, audio, images, lists, series_files
from xfeedback.data.series import filled
from xfeedback.data.sets import audio_folder, image_arrays, image_folder, series_file, text_file
from xfeedback.errors import UserError
from xfeedback.kinds import Kind

ORIENTATION = 0x0112
"""The number of EXIF's entry; 1: the pixels stand as they are shown."""
DARK = 32
"""An image whose levels all lie below this has an eighth of the 256, or fewer."""
HEAD = ("text", "label")
"""Columns of a table of texts."""


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
    annotated = turned = dark = 0
    for item in items:
        with found.noting():
            picture = images.picture_of(item.picture)
            sizes.append((picture.width, picture.height))
            dark += int(np.asarray(picture).max()) < DARK
            turned += picture.getexif().get(ORIENTATION, 1) != 1
            regions = [
                region(picture.height, picture.width) for region in (item.mask, item.wrong) if region is not None
            ]
            annotated += any(region.any() for region in regions)
    found.annotated = annotated if config.has_masks else None
    if config.has_masks:
        given = [name for name in (*image_folder.RIGHT, "wrong") if (path / name).exists()]
        found.what += f" with {' and '.join(given)}"
    if turned:
        found.warnings.append(
            f"{turned} image(s) are turned by viewers (EXIF orientation); training takes the pixels as they are "
            "stored, and masks and boxes must fit those"
        )
    if dark:
        found.warnings.append(
            f"{dark} image(s) have no level above {DARK - 1} of 255: of levels of 12 bit in a file of 16, or of 0 and "
            "1 in one of 8, little of the picture is left"
        )
    if sizes:
        found.facts["sizes"] = _range([f"{width}x{height}" for width, height in sorted(sizes)])
    note_copies(found, pictures)
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
        seed = audio_folder.Config().split_seed
        _note_splits(found, *lists.splits(path, keys, y, seed, inside="", endings=(".wav",), what="clips"))
    if seconds:
        found.facts["rates"] = f"{', '.join(map(str, sorted(rates)))} samples a second"
        found.facts["lengths"] = f"{min(seconds):.2f} to {max(seconds):.2f} s (dataset.seconds=1.0 cuts and pads)"
    note_copies(found, clips)
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
        found.warnings.append(f"{len(strange)} file(s) are left out, as they end in none of {kinds}: {some(strange)}")
    return taken


def _note_splits(found: Found, rows: Mapping[str, Any], stamps: Sequence[str]) -> None:
    counts = [str(len(rows[name])) if name in rows else "none" for name in ("train", "val", "test")]
    found.facts["splits"] = f"train {counts[0]}, validation {counts[1]}, test {counts[2]}"
    found.warnings += stamps


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
        elif image_arrays.colours_last(x.shape):
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
