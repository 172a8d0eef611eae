"""The pages of docs/walkthroughs, done from top to bottom in a fresh copy of the repository.

A block that begins with ``# path`` is written to that file, an ``sh`` block is run; other blocks are checked by
`test_docs.py` without being run.
"""

import difflib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import environment
from tests.conftest import ROOT

PAGES = sorted((ROOT / "docs" / "walkthroughs").glob("*.md"))
BLOCK = re.compile(r"```(python|sh)\n(.*?)```", re.DOTALL)


def copy_of_the_repository(root: Path) -> None:
    for folder in ("xfeedback", "conf", "tests", "scripts", "hydra_plugins"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "run.py"):
        shutil.copy(ROOT / file, root)


def do(page: Path, root: Path) -> str:
    """Write the page's files and run its commands, in their order; return what they printed."""
    path = f"{Path(sys.executable).parent}:{environment()['PATH']}"
    env = environment(PYTHONPATH=str(root), PATH=path, PYTHONWARNINGS="ignore", XFEEDBACK_DATA=str(root / "data"))
    shown = []
    for kind, text in BLOCK.findall(page.read_text()):
        if kind == "python":
            name, content = re.fullmatch(r"# (\S+)\n(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
            (root / name).write_text(content)
            continue
        done = subprocess.run(["sh", "-e"], input=text, cwd=root, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        shown.append(done.stdout)
    return "\n".join(shown)


SAYS = {
    "laptop_to_slurm": ("4 cells (2 rows), 4 to run", "2 finished before, 2 to run", "outputs/report/comparison.html"),
    "lightning_script": ("train/saliency_guided/kl", "['xbl', 'saliency_guided']"),
    "new_method": ("conf/method/smooth_gradient.yaml", "[100%]", "done smooth_gradient"),
    "own_images": ("300 of 300 (100 %)", "right where the mark says nothing", "image_folder, gapnet"),
}
"""What must be among what each page's commands print."""


def test_every_page_is_done():
    assert [page.stem for page in PAGES] == list(SAYS)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_from_top_to_bottom(page, tmp_path):
    copy_of_the_repository(tmp_path)
    shown = do(page, tmp_path)
    assert [words for words in SAYS[page.stem] if words not in shown] == []
    if page.stem == "own_images":
        plain, xbl = (int(value) for value in re.findall(r"(\d+) % right where", shown))
        assert plain < 70 < 90 < xbl


def test_the_lightning_script_changes_in_fewer_than_ten_lines():
    files = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", (PAGES[1]).read_text(), re.DOTALL))
    before, after = ([line for line in files[name].splitlines() if line] for name in ("before.py", "after.py"))
    changes = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    changed = sum(max(i2 - i1, j2 - j1) for kind, i1, i2, j1, j2 in changes if kind != "equal")
    assert changed == 8
    assert "eight lines\nchanged" in PAGES[1].read_text()


def test_the_new_method_has_thirty_lines_of_code():
    """Without imports, docstrings and empty lines."""
    (code,) = re.findall(r"```python\n# xfeedback/\S+\n(.*?)```", PAGES[2].read_text(), re.DOTALL)
    bare = re.sub(r'""".*?"""', "", code, flags=re.DOTALL)
    lines = [line for line in bare.splitlines() if line.strip() and not line.startswith(("from ", "import "))]
    assert len(lines) <= 30
