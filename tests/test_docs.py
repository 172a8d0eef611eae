"""The pages about methods: their code runs, the equations and options they list are those of the code."""

import re
import subprocess
import sys
from dataclasses import fields
from importlib import import_module

import pytest

from tests.conftest import ROOT
from xfeedback import methods

ALL_PAGES = sorted((ROOT / "docs" / "methods").glob("*.md"))
PAGES = [page for page in ALL_PAGES if page.stem in methods.names()]
SCRIPTS = ("methods/saliency_guided", "methods/xbl", "quick_start")
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def script(page: str) -> str:
    (found,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text(), re.DOTALL)
    return found


def test_every_method_but_plain_has_a_page_or_stands_on_one():
    text = "".join(page.read_text() for page in ALL_PAGES)
    assert [name for name in methods.names() if name != "plain" and f"method={name}" not in text] == []


@every_page
def test_named_functions_exist(page):
    for dotted in re.findall(r"`(xfeedback(?:\.\w+)+)`", page.read_text()):
        module, _, rest = dotted.partition(".")
        found = import_module(module)
        for part in rest.split("."):
            found = getattr(found, part, None) or import_module(f"{found.__name__}.{part}")


@every_page
def test_all_options_are_listed(page):
    listed = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\|([^|]*)\|", page.read_text(), re.MULTILINE))))
    options = {f.name for f in fields(methods.feedback_class(page.stem).Config)} - {"variant"}
    assert options <= listed


@every_page
def test_equations_named_in_the_code_are_on_the_page(page):
    pairs = re.findall(r"^\((\d+)\)|   \((\d+)\) ", page.read_text(), re.MULTILINE)
    numbers = {int(first or second) for first, second in pairs}
    assert numbers == set(range(1, max(numbers) + 1))
    source = (ROOT / "xfeedback" / "methods" / f"{page.stem}.py").read_text()
    named = {int(n) for text in re.findall(r"equations? ([^.:;\n]*)", source) for n in re.findall(r"\((\d+)\)", text)}
    assert named
    assert named <= numbers


def test_own_scripts_run_without_hydra():
    """All in one process, which has imported nothing before."""
    check = "\nassert not {'hydra', 'omegaconf'} & set(sys.modules)\nprint('trained', model.trainer.global_step)\n"
    code = "import sys\n" + "".join(script(page) + check for page in SCRIPTS)
    command = [sys.executable, "-W", "ignore", "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert re.findall(r"trained (\d+)", result.stdout) == ["4", "4", "2"]
