"""No file is too long to be read at once, unless `docs/decisions.md` says why."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST = 300
REASON = re.compile(r"^\| `(tests/[\w/]+\.py)` \| .+ \|$", re.MULTILINE)


def lengths(*places: str) -> dict[str, int]:
    paths = [path for place in places for path in (ROOT / place).rglob("*.py")]
    return {path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}


def too_long(*places: str) -> set[str]:
    return {name for name, length in lengths(*places).items() if length > MOST}


def test_no_source_file_is_too_long():
    assert too_long("xfeedback", "hydra_plugins", "scripts", "benchmarks") == set()


def test_long_tests_are_those_with_a_reason():
    reasons = REASON.findall((ROOT / "docs" / "decisions.md").read_text(encoding="utf-8"))
    assert too_long("tests") == set(reasons)
