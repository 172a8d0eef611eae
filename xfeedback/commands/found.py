"""What a check of own data collects, and how it is collected."""

import hashlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from xfeedback import data
from xfeedback.data.options import Places
from xfeedback.data.source import Source
from xfeedback.errors import UserError
from xfeedback.kinds import Kind


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
    def noting(self) -> Generator[None]:
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


def note_copies(found: Found, files: Sequence[Path]) -> None:
    """Note files with the same content: they may stand in training and in the test set, or in two classes."""
    seen: dict[bytes, list[Path]] = {}
    for file in files:
        seen.setdefault(hashlib.sha256(file.read_bytes()).digest(), []).append(file)
    same = [group for group in seen.values() if len(group) > 1]
    torn = [group for group in same if len({file.parent for file in group}) > 1]
    for groups, what in ((torn, "in several classes"), (same, "each")):
        if groups:
            count = f"{len(groups)} group{'s' * (len(groups) > 1)} of files with the same content {what}"
            found.warnings.append(f"{count}, e.g. {some(groups[0])}")


def some(files: Sequence[Path], most: int = 3) -> str:
    """Return the first of some files in words, and how many more there are."""
    more = f" and {len(files) - most} more" if len(files) > most else ""
    return ", ".join(map(str, files[:most])) + more
