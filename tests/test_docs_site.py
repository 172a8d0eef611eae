"""The documentation as a site: it builds without a warning, and what is generated says what the files say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cli.command import environment
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import docs_site

sys.path.pop(0)


def test_the_catalogue_has_every_experiment_with_command_hardware_and_time():
    page = docs_site.catalogue()
    files = sorted((ROOT / "conf" / "experiment").rglob("*.yaml"))
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == [
        path.relative_to(ROOT / "conf" / "experiment").with_suffix("").as_posix() for path in files
    ]
    for word in ("**hardware**", "**time**"):
        assert page.count(word) == len(files)
    assert page.count("```") % 2 == 0
    assert "```\npython run.py -m experiment=xbl/decoy_cifar\n```" in page


def test_a_header_without_its_time_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("# @package _global_\n# Mine.\n# command:  python run.py\n# hardware: a laptop\n# figures:  none\n")
    with pytest.raises(ValueError, match="does not say: time"):
        docs_site.header(path)
    path.write_text(path.read_text() + "# time:     1 run,\n#   a minute\ndefaults: []\n")
    text, fields = docs_site.header(path)
    assert (text, fields["time"]) == ("Mine.", "1 run, a minute")


def test_docstrings_become_markdown():
    given = "Of :class:`~a.b.C` and R[i][j].\n\n>>> 1 + 1\n2\n\nEnd."
    assert docs_site.as_markdown(given) == "Of `C` and R[i]\\[j].\n\n```python\n>>> 1 + 1\n2\n```\n\nEnd."


def test_every_part_of_the_api_is_there():
    for name in docs_site.API:
        assert f"::: xfeedback.{name}" in docs_site.api_page(name, "")
        assert (ROOT / "xfeedback" / name).is_dir() or (ROOT / "xfeedback" / f"{name}.py").is_file()


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    command = [str(Path(sys.executable).parent / "mkdocs"), "build", "--strict", "--site-dir", str(tmp_path / "site")]
    no_network = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    env = environment(NO_MKDOCS_2_WARNING="1", **no_network)
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        loaded = re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"?(https?://[^\" >]+)", page.read_text())
        assert loaded == [], page
    shown = (tmp_path / "site" / "api" / "losses.html").read_text()
    assert "distance_to_region" in shown
    assert "tensor([[[0., 1., 2.]]])" in re.sub(r"<[^>]+>", "", shown)


def test_the_citation_names_the_five_papers_as_the_ledger_does():
    listed = {entry["title"] for entry in yaml.safe_load((ROOT / "CITATION.cff").read_text())["references"]}
    papers = [yaml.safe_load(path.read_text()) for path in (ROOT / "xfeedback" / "papers").glob("*.yaml")]
    titles = {paper["title"] for paper in papers if "title" in paper}
    assert len(titles) == 5
    assert titles <= listed


def test_the_form_for_results_that_do_not_reproduce_asks_for_what_a_run_leaves():
    form = (ROOT / ".github" / "ISSUE_TEMPLATE" / "result_does_not_reproduce.yml").read_text()
    ids = {field["id"] for field in yaml.safe_load(form)["body"]}
    assert ids == {"expected", "found", "command", "provenance", "config", "result", "checked"}
    for name in ("config.yaml", "provenance.json", "result.json"):
        assert name in form


def test_hooks_before_a_commit_call_the_locked_ruff():
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repo["repo"] == "local"
    assert [hook["entry"].split()[:2] for hook in repo["hooks"]] == [
        [".venv/bin/ruff", "check"],
        [".venv/bin/ruff", "format"],
    ]
