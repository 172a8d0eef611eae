"""The written report: one page without a network, the command line, and its speed."""

import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.report.runfolders import Cell, pictures, standard, write_run, write_runs
from xfeedback.report import compare
from xfeedback.report.__main__ import main
from xfeedback.report.evidence import read_explanations, read_history
from xfeedback.report.heatmaps import _boundary, pick
from xfeedback.report.plots import _mean, differences
from xfeedback.report.svg import Scale, ticks

VOID = {"meta", "img", "br", "link", "input", "hr", "wbr"}


class Checker(HTMLParser):
    """Follows tags; collects ids, references and text."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.uses, self.links, self.words, self.counts = [], [], [], [], [], {}

    def handle_starttag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        attributes = dict(attrs)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [value for key, value in attrs if key in ("src", "href", "data", "action", "poster")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def _check(text):
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    return checker


@pytest.fixture
def written(tmp_path):
    write_runs(tmp_path / "runs", standard())
    write_run(tmp_path / "runs", Cell("rrr", {"weight": 10.0}), 7, "failed", error="<script>alert('x')</script> & co")
    write_run(tmp_path / "runs", Cell("xbl+rrr", {"a": 1}, stamps=("subset",)), 0, "unfinished")
    return compare([tmp_path / "runs"], tmp_path / "out")


def test_page_is_well_formed_and_fetches_nothing(written):
    text = next(file for file in written.files if file.suffix == ".html").read_text()
    checker = _check(text)
    assert not re.search(r"https?://|//[a-z]+\.|@import|<link|<iframe", text)
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in checker.links)
    assert {link[1:] for link in checker.links if link.startswith("#")} <= set(checker.ids)
    assert len(checker.ids) == len(set(checker.ids))
    assert re.findall(r"url\((?!data:)", text) == []
    assert "prefers-color-scheme:dark" in text
    assert "@media print" in text


def test_page_shows_what_was_measured_and_what_is_missing(written):
    text = next(file for file in written.files if file.suffix == ".html").read_text()
    checker = _check(text)
    words = " ".join(checker.words)
    for run in written.runs:
        assert run.name in words
    assert "plain reads the decoy" in words
    assert "alert('x')" in words  # as text
    assert checker.counts["script"] == 1
    for expected in ("subset", "killed, or still running", "3961109a", "node1", "xbl.c_exp=10"):
        assert expected in words
    assert checker.counts["figure"] > 30
    assert text.count('alt="gradient of test image') == 40  # ten images, four methods


def test_explainers_and_classes_are_chosen_without_a_script(written):
    """Every choice is a radio button whose rule hides exactly what was not chosen; all classes are shown at first."""
    text = next(file for file in written.files if file.suffix == ".html").read_text()
    checked = re.findall(r'<input type="radio" name="(\S+)" id="(\S+)" checked="">', text)
    assert checked == [("g0-e", "g0-e0"), ("g0-c", "g0-all")]
    assert re.findall(r'<label for="g0-[ec]\w+">(\w+)</label>', text)[:5] == ["grad_cam", "gradient", "0", "1", "2"]
    for n in range(10):
        assert f'#g0-maps:has(#g0-c{n}:checked) tbody tr:not([data-class="{n}"]){{display:none}}' in text
        assert len(re.findall(rf'<tr data-class="{n}">', text)) == 1
    assert '#g0-maps:has(#g0-e1:checked) .heat:not([data-explainer="gradient"]){display:none}' in text


def test_differences_are_drawn_seed_by_seed(written):
    group = written.groups[0]
    drawn = differences(group, "acc/random", dict.fromkeys((row.label for row in group.rows), 0))
    compared = [row for row in group.rows if not row.is_baseline and row.done]
    assert drawn.count("<circle") == 3 * len(compared)
    assert drawn.count('class="zero"') == 1
    for row in compared:
        for seed, value in row.values["acc/random"].items():
            expected = value - group.rows[0].values["acc/random"][seed]
            assert row.pairs["acc/random"][seed] == expected
            assert f"seed {seed}: {expected:.2f}" in drawn.replace("-0.00", "0.00")


def test_without_maps_or_numbers_the_page_still_stands(tmp_path):
    write_run(tmp_path / "runs", Cell("xbl"), 0, "unfinished")
    write_run(tmp_path / "runs", Cell("plain"), 0, maps=False, metrics={})
    comparison = compare([tmp_path / "runs"], tmp_path / "out")
    words = " ".join(_check((tmp_path / "out" / "comparison.html").read_text()).words)
    assert "Not finished: xbl (1 seed)." in words
    assert "Where the models look" not in words
    assert [file.name for file in comparison.files] == [f"comparison.{s}" for s in ("csv", "md", "tex", "html")]


def test_the_same_runs_give_the_same_bytes(written, tmp_path):
    compare([tmp_path / "runs"], tmp_path / "again")
    for file in written.files:
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


@pytest.mark.parametrize("damage", ["cut", "shape", "missing", "pickle", "name"])
def test_damaged_explanations_cost_one_warning(tmp_path, damage):
    folder = write_run(tmp_path / "runs", Cell("plain"), 0)
    write_run(tmp_path / "runs", Cell("xbl"), 0)
    path = folder / "explanations.npz"
    arrays = dict(np.load(path))
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:500])
    elif damage == "shape":
        np.savez(path, **{**arrays, "mask": arrays["mask"][:, :4]})
    elif damage == "missing":
        np.savez(path, **{key: value for key, value in arrays.items() if key != "label"})
    elif damage == "name":
        np.savez(path, **{**arrays, "map/</style>": arrays["mask"]})
    else:
        np.savez(path, **{**arrays, "label": np.array([{}] * 10, dtype=object)})
    comparison = compare([tmp_path / "runs"], tmp_path / "out")
    assert len(comparison.warnings) == 1
    assert str(path) in comparison.warnings[0]
    _check((tmp_path / "out" / "comparison.html").read_text())


def test_history_survives_kills_and_resumes(tmp_path):
    lines = [
        '{"epoch": 0, "a": 1}',
        '{"epoch": 1, "a": 2}',
        '{"epoch": 1, "a": 3}',
        '{"epoch": 0, "phase": "1"}',
        '{"ep',
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    warnings: list[str] = []
    records = read_history(tmp_path, warnings)
    assert [record.get("a") for record in records] == [1, 3, None]
    assert warnings == []
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, lines[0]]))
    read_history(tmp_path, warnings)
    assert "line 5 is damaged" in warnings[0]


def test_maps_are_read_as_written(tmp_path):
    folder = write_run(tmp_path, Cell("xbl"), 0)
    found = read_explanations(folder, [])
    assert found is not None
    assert sorted(found.maps) == ["grad_cam", "gradient"]
    np.testing.assert_array_equal(found.inputs, pictures()["images"])
    assert pick(np.array([1, 1, 0, 1, 0, 2]), 3) == [0, 2, 5]


def test_outline_follows_the_pixels():
    mask = np.zeros((3, 4), bool)
    mask[1, 1:3] = True
    assert sorted(re.findall(r"M[^M]+", _boundary(mask))) == ["M1 1H3", "M1 1V2", "M1 2H3", "M3 1V2"]


def test_a_seed_that_died_early_does_not_cut_the_mean_line():
    assert _mean([[(1, 1.0), (2, 2.0)], [(1, 3.0), (2, 4.0)], [(1, 99.0)]]) == [(1, 2.0), (2, 3.0)]


def test_scale_and_ticks():
    scale = Scale(0, 10, 100, 200)
    assert [scale(value) for value in (-5, 0, 5, 10, 99)] == [100, 100, 150, 200, 200]
    assert ticks(0.013, 0.087) == [0.0, 0.02, 0.04, 0.06, 0.08, 0.1]
    assert ticks(3, 3) == [2.4, 2.6, 2.8, 3.0, 3.2, 3.4, 3.6]


def _run(*arguments, cwd):
    command = [sys.executable, "-m", "xfeedback.report", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_command_line(tmp_path):
    write_runs(tmp_path / "runs", standard()[:2], maps=False)
    done = _run("runs", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "rrr" in done.stdout
    assert "outputs/report/comparison.html" in done.stdout
    assert (tmp_path / "outputs" / "report" / "comparison.csv").is_file()
    (tmp_path / "file").write_text("")
    for arguments in (["nowhere"], ["runs", "--baseline", "plian"], ["runs", "--out", "file/below"]):
        failed = _run(*arguments, cwd=tmp_path)
        assert failed.returncode == 2
        assert failed.stderr.startswith("error: ")
        assert failed.stderr.count("\n") == 1


def test_the_report_never_imports_torch():
    code = "import sys, xfeedback.report.__main__; print({'torch', 'hydra', 'omegaconf', 'pandas'} & set(sys.modules))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "set()"


def test_a_thousand_folders_in_seconds(tmp_path, capsys):
    cells = [Cell("plain"), *(Cell("xbl", {"c_exp": float(n)}) for n in range(199))]
    write_runs(tmp_path / "runs", cells, seeds=range(5), maps=False)
    start = time.perf_counter()
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    assert time.perf_counter() - start < 10
    assert "xbl (c_exp=198)" in capsys.readouterr().out


def test_names_from_configurations_are_text_everywhere(tmp_path):
    """Options stand in labels, and labels in tables, legends, hovers and drawings."""
    for note in ("<img src=x>", "&amp;"):
        write_run(tmp_path / "runs", Cell("xbl", {"note": note}), 0)
    write_run(tmp_path / "runs", Cell("plain"), 0)
    compare([tmp_path / "runs"], tmp_path / "out")
    text = (tmp_path / "out" / "comparison.html").read_text()
    _check(text)
    assert "<img src=x>" not in text
    assert text.count("&lt;img src=x&gt;") > 10


CLICK = """<script>
const head = [...document.querySelectorAll(".results th button")].find((b) => b.textContent.startsWith("Random"));
const order = () => [...document.querySelectorAll(".results tbody th")].map((h) => h.dataset.v).join(",");
const found = [order()];
for (let n = 0; n < 2; n++) { head.click(); found.push(order()); }
document.getElementById("g0-c3").click();
const shown = [...document.querySelectorAll(".maps tbody tr")].filter((r) => getComputedStyle(r).display !== "none");
document.title = [...found, shown.map((r) => r.dataset.class).join(",")].join(" | ");
</script></body>"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs a chromium to look with")
def test_a_browser_sorts_and_filters(tmp_path):
    write_runs(tmp_path / "runs", standard()[:3])
    write_run(tmp_path / "runs", Cell("saliency_guided"), 0, "failed")
    (page,) = (f for f in compare([tmp_path / "runs"], tmp_path / "out").files if f.suffix == ".html")
    page.write_text(page.read_text().replace("</body>", CLICK))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run([*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, check=True)
    (title,) = re.findall("<title>(.*?)</title>", done.stdout)[:1]
    orders = [["plain", "rrr", "guided", "xbl"], ["xbl", "rrr", "plain", "guided"], ["plain", "rrr", "xbl", "guided"]]
    assert title.replace("saliency_guided", "guided").split(" | ") == [*map(",".join, orders), "3"]


def test_a_row_that_saw_other_images_is_drawn_over_its_own(tmp_path):
    """Two sizes of patches stand in one table; outlines are stretched as the images are, which need not be square."""
    for size in (4, 8):
        folder = write_run(tmp_path / "runs", Cell("plain", extra={"decoy": {"size": size}}), 0)
        with np.load(folder / "explanations.npz") as file:
            arrays = dict(file)
        arrays["images"][0, :size, :size] = 200
        np.savez(folder / "explanations.npz", **arrays)
    compare([tmp_path / "runs"], tmp_path / "out")
    text = (tmp_path / "out" / "comparison.html").read_text()
    assert len(re.findall(r'<div class="base dim g0-\d+" style="background-image:url', text)) == 1
    boxes = re.findall(r"<symbol[^>]*>", text)
    assert boxes
    assert all('preserveAspectRatio="none"' in box for box in boxes)
