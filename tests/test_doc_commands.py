"""Every command in README and docs: lines that must be refused are typed, all others are checked without training.

A command line of options is composed, and its options are checked as those of a run are; of a sweep each value once.
The walkthroughs are done from top to bottom in `test_walkthroughs.py`, the worked examples in `test_add_pages.py`.
"""

import argparse
import contextlib
import importlib.util
import io
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override

from tests.conftest import ROOT
from xfeedback import command
from xfeedback.engine.spec import RunSpec

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`((?:python run\.py|python scripts/|python -m|xfeedback|make) [^`]+)`", re.DOTALL)
EXAMPLES = {"bars", "small_resnet", "smooth_gradient", "mine"}
"""What the worked examples add; it is not in this repository."""


def commands(page: Path) -> Iterator[str]:
    """The commands of a page: lines of its blocks and what stands in the text, without comments."""
    text = page.read_text()
    for kind, block in BLOCK.findall(text):
        if kind in ("", "sh", "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                if re.match(r"\s*(\w+=\S+ )*(python|make|xfeedback|\.venv/bin/python) ", line):
                    yield line.strip()
    for inline in INLINE.findall(BLOCK.sub("", text)):
        yield " ".join(inline.split())


EVERY = sorted({(line, page.relative_to(ROOT).as_posix()) for page in reversed(PAGES) for line in commands(page)})
FIRST = dict(EVERY)
"""Each command once, with a page that has it."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which what the pages leave open is there: an image folder ``FOLDER``, files of texts and of cells."""
    for name in ("images/a", "images/b", "masks/a"):
        (tmp_path / "FOLDER" / name).mkdir(parents=True)
    (tmp_path / "shapes").symlink_to(tmp_path / "FOLDER")
    (tmp_path / "cells.txt").write_text("method=plain\nmethod=xbl\n")
    for name in ("train.tsv", "test.tsv"):
        (tmp_path / name).write_text("text\tlabel\trationale\na b\tx\t01\nc d\ty\t10\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(line: str) -> None:
    """Fail unless a command is one that can be typed."""
    words = shlex.split(line.replace("NAME", "rrr"), comments=True)
    while re.match(r"[A-Z_]+=", words[0]):
        words.pop(0)
    program, *rest = words
    if program == "make":
        check_make(rest)
    elif program == "xfeedback" or rest[0] == "run.py":
        typed = rest if program == "xfeedback" else rest[1:]
        (check_own if re.fullmatch(r"[a-z_]+", " ".join(typed[:1])) else check_options)(typed)
    elif rest[0] == "-m":
        assert importlib.util.find_spec(rest[1]) is not None
    else:
        written = f"```python\n# {rest[0]}\n" in (ROOT / FIRST[line]).read_text()  # by the page itself
        assert written or (ROOT / rest[0]).is_file(), line


def check_make(words: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [word for word in words if "=" not in word and word not in targets] == []


class ParsedError(Exception):
    """The arguments were understood; nothing further is done."""


def check_own(words: list[str]) -> None:
    """The arguments of a command are those that its parser takes."""
    from xfeedback import commands as own

    assert words[0] in own.NAMES
    if "..." in words or len(words) == 1:  # named, not typed
        return

    def stop(self: argparse.ArgumentParser, *given: object, **options: object) -> None:
        argparse.ArgumentParser.parse_args(self, *given, **options)  # type: ignore[arg-type]
        raise ParsedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xfeedback.commands.parser.Parser.parse_args", stop)
        with pytest.raises(ParsedError):
            own.run([word.strip("[]") for word in words])


def check_options(words: list[str]) -> None:
    """Compose the run, or of a sweep so many that each value of each option is in one; nothing is read or trained."""
    overrides = [word.replace("=...", "=plain") for word in words if not word.startswith("--")]
    sweep = "-m" in overrides
    overrides = [word for word in overrides if word != "-m"]
    if "job" in overrides[-1:]:  # --cfg job
        overrides.pop()
    if "--help" in words:
        return
    for cell in cells(overrides) if sweep else [overrides]:
        RunSpec.from_plain(command.composed(cell))


def cells(overrides: list[str]) -> Iterator[list[str]]:
    values = {}
    for override in OverridesParser.create().parse_overrides(overrides):
        if override.is_sweep_override():
            values[override.get_key_element()] = swept(override)
    for turn in range(max(map(len, values.values()), default=1)):
        taken = [f"{key}={given[turn % len(given)]}" for key, given in values.items()]
        yield [word for word in overrides if word.split("=")[0] not in values] + taken


def swept(override: Override) -> list[str]:
    """The values of a list or range, and the two ends of an interval."""
    given = override.value()
    if isinstance(given, IntervalSweep):
        return [str(given.start), str(given.end)]
    return list(override.sweep_string_iterator())


def test_commands_are_found():
    assert len(FIRST) > 60
    assert "make run" in FIRST
    assert all(program_of(line) in ("python", "make", "xfeedback", ".venv/bin/python") for line in FIRST)


def program_of(line: str) -> str:
    return next(word for word in line.split() if not re.match(r"[A-Z_]+=", word))


@pytest.mark.parametrize("line", sorted(FIRST), ids=lambda line: f"{FIRST[line]}: {line[:60]}")
def test_command_can_be_typed(line, folder):
    if EXAMPLES & set(re.findall(r"\w+", line)):
        pytest.skip("a worked example's: run with it")
    check(line)


REFUSED = re.findall(r"\$ python run\.py (.*)\n(error: .*)", (ROOT / "docs" / "faq.md").read_text())


@pytest.mark.parametrize(("options", "expected"), REFUSED, ids=[options for options, _ in REFUSED])
def test_a_line_of_the_faq_is_what_the_command_says(options, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setattr(sys, "argv", ["run.py", *shlex.split(options)])
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert out.getvalue() == ""
    pattern = re.escape(expected).replace(r"\.\.\.", ".*")
    assert re.fullmatch(pattern, err.getvalue().strip()), err.getvalue()
    assert list(tmp_path.iterdir()) == []
