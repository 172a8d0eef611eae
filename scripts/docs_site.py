"""What mkdocs adds to docs/: the catalogue of experiments, the pages of the API, folders in the navigation.

`mkdocs.yml` names this file twice: as a hook of mkdocs and, with :class:`Docstrings`, as an extension of griffe.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENTS = ROOT / "conf" / "experiment"
FIELDS = ("command", "hardware", "time", "expected", "figures")
API = {
    "methods": "The methods: one feedback and one LightningModule each.",
    "feedback": "What a step knows, what a feedback may do, and the module that hosts feedbacks.",
    "explain": "Explanations as pure functions on tensors.",
    "losses": "Loss terms as pure functions on tensors.",
    "metrics": "Accuracy, localisation, faithfulness, forgetting: pure functions.",
    "models": "Networks by name, and which layer of a network is explained.",
    "data": "Data sets by name, decoys and annotations.",
    "continual": "Phases of training and elastic weight consolidation.",
    "types": "Batch and Phase.",
    "batches": "What any loader yields, as a Batch.",
    "errors": "What a user's mistake and a failed training raise.",
    "seeding": "Generators keyed by seed and purpose.",
}
"""The parts of the package that other people's code may use, in the order of the navigation."""
ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):`~?([\w.]+)`")
EXAMPLE = re.compile(r"(?m)^>>> .*\n?(?:^\S.*\n?)*(?:\n(?=>>> )^>>> .*\n?(?:^\S.*\n?)*)*")


class Docstrings(griffe.Extension):
    """Docstrings as Markdown: roles become code, doctests become blocks of code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """Return a docstring with its roles as code and its doctests in fences.

    >>> as_markdown("See :class:`~xfeedback.types.Batch`.")
    'See `Batch`.'
    """
    plain = ROLE.sub(lambda role: f"`{role[1].rpartition('.')[2]}`", dedent(text)).replace("][", "]\\[")
    return EXAMPLE.sub(lambda example: f"```python\n{example[0].rstrip()}\n```\n", plain)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the pages of folders in the navigation, and in place of ``*`` those that it does not name."""
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    rest = sorted(pages - set(re.findall(r"[\w.]+\.md", str(config.nav))))
    config.nav = [_expanded(entry, rest) for entry in config.nav or []]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are generated."""
    files.append(File.generated(config, "experiments.md", content=catalogue()))
    for name, line in API.items():
        files.append(File.generated(config, f"api/{name}.md", content=api_page(name, line)))
    return files


def api_page(name: str, line: str) -> str:
    """Return the page of one part of the package: each of its public modules."""
    place = ROOT / "xfeedback" / name
    blocks = [f"::: xfeedback.{name}\n"]
    if place.is_dir():  # what the package only passes on stands with the module that defines it
        blocks = [f"::: xfeedback.{name}\n    options:\n      members: {_defined(place / '__init__.py')}\n"]
        blocks += [f"::: xfeedback.{name}.{file.stem}\n" for file in sorted(place.glob("*.py")) if file.stem[0] != "_"]
    return f"# xfeedback.{name}\n\n{line}\n\n" + "\n".join(blocks)


def _defined(module: Path) -> list[str]:
    """The public functions and classes that a module defines itself."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node.name for node in ast.parse(module.read_text()).body if isinstance(node, kinds) and node.name[0] != "_"]


def catalogue() -> str:
    """Return the page of all experiments, made of what their files say at their head."""
    parts = [
        "# Experiments\n",
        "Each is a table of a paper or of this project, as it was made. What a command line adds wins over the file: "
        "`seed=0` for one seed, `sweep.dry=true` to see the plan.\n",
    ]
    for path in sorted(EXPERIMENTS.rglob("*.yaml")):
        name = path.relative_to(EXPERIMENTS).with_suffix("").as_posix()
        text, fields = header(path)
        command = f"python run.py -m experiment={name}"
        rows = [f"- **{field}**: {fields[field]}" for field in FIELDS[1:] if field in fields]
        parts.append(f"## {name}\n\n{text}\n\n```\n{command}\n```\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def header(path: Path) -> tuple[str, dict[str, str]]:
    """Return what the comment at the head of an experiment says: its text, as Markdown, and its fields.

    Raises:
        ValueError: a field that every experiment has is missing.
    """
    text: list[str] = []
    fields: dict[str, str] = {}
    field = ""
    for line in _comment(path):
        found = re.match(rf"({'|'.join(FIELDS)}): +(.*)", line)
        if found:
            field = found[1]
            fields[field] = found[2]
        elif field:
            fields[field] += f" {line.strip()}"
        else:
            text.append(line)
    either = {"expected" if "expected" in fields else "figures"}
    missing = {"command", "hardware", "time"} | either
    missing -= fields.keys()
    if missing:
        raise ValueError(f"{path} does not say: {', '.join(sorted(missing))}")
    return _fenced(text), fields


def _comment(path: Path) -> Iterator[str]:
    for line in path.read_text().splitlines()[1:]:
        if not line.startswith("#"):
            return
        yield line.removeprefix("#").removeprefix(" ")


def _fenced(lines: list[str]) -> str:
    """Indented lines are commands: they get fences."""
    shown: list[str] = []
    inside = False
    for line in lines:
        command = line.startswith("  ")
        if command != inside:
            shown += ["", "```"] if command else ["```", ""]
        inside = command
        shown.append(line.strip())
    return "\n".join([*shown, "```"] if inside else shown)


def _expanded(entry: Any, rest: list[str]) -> Any:
    if not isinstance(entry, dict):
        return entry
    ((title, value),) = entry.items()
    if isinstance(value, list):
        parts = [[*rest] if part == "*" else [_expanded(part, rest)] for part in value]
        return {title: [part for some in parts for part in some]}
    return {title: _pages(value.rstrip("/"))} if value.endswith("/") else entry


def _pages(folder: str) -> list[str]:
    if folder == "api":
        return [f"api/{name}.md" for name in API]
    names = sorted(path.name for path in (ROOT / "docs" / folder).glob("*.md"))
    return [f"{folder}/{name}" for name in sorted(names, key=lambda name: name != "README.md")]
