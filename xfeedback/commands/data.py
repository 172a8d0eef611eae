"""``xfeedback data check PATH`` and ``xfeedback data prepare SET...``: data before anything is trained."""

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xfeedback.commands.parser import Parser, program
from xfeedback.errors import UserError

if TYPE_CHECKING:
    from xfeedback.commands.found import Found
    from xfeedback.data.task import Task

ABOUT = """\
  xfeedback data check PATH              what a folder or file of your own holds, what is wrong with it, which methods
                                         it serves, and the command to type
  xfeedback data prepare cifar mnist     find or download data sets, verify and decode them, and train nothing
  xfeedback data prepare cifar paths.data=/scratch/data dataset.source=official      with any options of a run
"""
FAVOURITES = ("xbl", "rrr", "saliency_guided", "plain")
"""The method that the suggested command takes is the first of these that the data serves."""
MOST_CLASSES = 20


def run(arguments: Sequence[str]) -> int:
    """Check or prepare data."""
    parser = Parser("data", description=ABOUT)
    parser.add_argument("action", choices=("check", "prepare"))
    parser.add_argument("what", nargs="+", help="a path to check; or data sets to prepare, and options key=value")
    asked = parser.parse_args(arguments)
    if asked.action == "prepare":
        return prepare(asked.what)
    if len(asked.what) > 1:
        raise UserError(f"one path at a time is checked, not {len(asked.what)}")
    return check(Path(asked.what[0]))


def check(path: Path) -> int:
    """Print what own data holds.

    Raises:
        UserError: nothing is understood, or something is wrong; the list of it has been printed.
    """
    from xfeedback.commands import inspected

    found = inspected.inspect(path)
    sys.stdout.writelines(f"{line}\n" for line in report(path, found))
    sys.stdout.flush()
    if found.problems:
        count = len(found.problems)
        raise UserError(f"{path} has {count} problem{'s' * (count > 1)}, listed above; training would refuse it")
    return 0


def report(path: Path, found: "Found") -> Iterator[str]:
    """Yield the lines that say what was found."""
    total = sum(found.counts.values())
    yield f"{path}: {found.what}, dataset={found.dataset}"
    names = sorted(found.counts)
    listed = ", ".join(f"{name} {found.counts[name]}" for name in names[:MOST_CLASSES])
    more = f" and {len(names) - MOST_CLASSES} more" if len(names) > MOST_CLASSES else ""
    yield _line("samples", f"{total} in {len(names)} classes: {listed}{more}")
    share = f" ({100 * found.annotated / total:.0f} %)" if found.annotated is not None and total else ""
    yield _line("annotated", "none" if found.annotated is None else f"{found.annotated} of {total}{share}")
    yield from (_line(name, value) for name, value in found.facts.items())
    yield from (_line("look at", warning) for warning in found.warnings)
    if found.problems:
        yield from (_line("wrong", problem) for problem in found.problems)
        return
    served, others = methods_for(found)
    yield _line("methods", ", ".join(served))
    if others:
        yield _line("need masks", ", ".join(others))
    chosen = next(name for name in FAVOURITES if name in served)
    options = shlex.join((f"dataset={found.dataset}", *map(typed, found.options)))
    yield _line("type", f"{program()} method={chosen} {options}")
    if chosen != "plain":
        yield _line("compare", f"{program()} -m method=plain,{chosen} seed=0,1,2 {options}")


def typed(option: str) -> str:
    """Return an option as Hydra reads it: a value with other than plain characters in quotes.

    >>> typed("dataset.root=my data"), typed("dataset.root=data (1)")
    ('dataset.root=my data', 'dataset.root="data (1)"')
    """
    name, _, value = option.partition("=")
    if re.fullmatch(r"[\w./:@ -]*", value):
        return option
    escaped = re.sub(r'(\\+)(?="|$)', r"\1\1", value).replace('"', r"\"")
    return f'{name}="{escaped}"'


def methods_for(found: "Found") -> tuple[list[str], list[str]]:
    """Return the methods that data serve as they are, and those that need annotations which are not there."""
    from xfeedback import methods

    fitting = [name for name in methods.names() if found.kind in methods.feedback_class(name).takes]
    needy = {name for name in fitting if _needs_annotation(name)}
    served = [name for name in fitting if name not in needy or found.annotated]
    return served, [name for name in fitting if name not in served]


def _needs_annotation(name: str) -> bool:
    from xfeedback import methods

    feedback = methods.feedback_class(name)
    return feedback.annotation_for(feedback.Config()) != "none"


def prepare(words: Sequence[str]) -> int:
    """Load data sets as training does, one after the other, and print what there is.

    Raises:
        UserError: one is missing or damaged and can't be downloaded.
    """
    names = [word for word in words if "=" not in word]
    options = [word for word in words if "=" in word]
    if not names:
        raise UserError(f"name a data set, e.g. `{program()} data prepare cifar`")
    for name in names:
        task = loaded([f"dataset={name}", *options])
        sys.stdout.write(f"{name}: ready, {described(task)}\n")
        sys.stdout.flush()
    return 0


def loaded(overrides: Sequence[str]) -> "Task":
    """Load the data set that some options choose, by its real reader.

    Raises:
        UserError: an option is wrong, or the data can't be had.
    """
    from xfeedback.command import composed
    from xfeedback.config import from_mapping
    from xfeedback.data import config_class, load
    from xfeedback.data.decoy import DecoyConfig
    from xfeedback.engine.options import PathsConfig

    values = composed(overrides)
    dataset = from_mapping(config_class(values["dataset"]["name"]), values["dataset"], "dataset")
    paths = from_mapping(PathsConfig, values["paths"], "paths")
    return load(
        dataset,
        DecoyConfig(name="none"),
        seed=values["seed"],
        root=Path(paths.data),
        extra_roots=[Path(extra) for extra in paths.shared_data],
        cache=Path(paths.cache),
    )


def described(task: "Task") -> str:
    """Return the size, shape and fingerprint of a task in a line."""
    counts = [len(part) if part is not None else 0 for part in (task.train, task.val, task.test)]
    shape = "x".join(map(str, task.in_shape))
    stamps = f"; {'; '.join(task.stamps)}" if task.stamps else ""
    return (
        f"{counts[0]:,} / {counts[1]:,} / {counts[2]:,} to train, validate and test, of {shape} in {task.n_classes} "
        f"classes; fingerprint {task.fingerprint[:12]}{stamps}"
    )


def _line(name: str, value: str) -> str:
    return f"  {name:10} {value}"
