"""One self-contained HTML page: no network, light and dark, printable."""

from collections.abc import Mapping
from html import escape
from pathlib import Path

from xfeedback.report import confusion
from xfeedback.report.evidence import Evidence
from xfeedback.report.findings import findings
from xfeedback.report.heatmaps import RAMP_CSS, grid
from xfeedback.report.metrics import describe
from xfeedback.report.options import options
from xfeedback.report.phases import matrices, phase_curves
from xfeedback.report.plots import curve_keys, curves, differences, points
from xfeedback.report.provenance import provenance
from xfeedback.report.reliability import diagrams
from xfeedback.report.rows import Comparison, Group
from xfeedback.report.sections import missing, results
from xfeedback.report.svg import tag
from xfeedback.report.tables import NOTE, headline_metrics, ranks_note, rule_note

_SLOTS = 8
_FOLDER = Path(__file__).parent


def page(comparison: Comparison, evidence: Mapping[tuple[str, str], Evidence]) -> str:
    """The whole page as text.

    Args:
        comparison: what to show.
        evidence: curves and explanations by (data set, model).
    """
    slots = palette(comparison)
    title = _title(comparison)
    groups = [
        _group(group, evidence[group.dataset, group.model], comparison, slots, n)
        for n, group in enumerate(comparison.groups)
    ]
    ranks = tag("p", escape(ranks_note(comparison)), class_="facts") if comparison.ranks else ""
    body = [_header(title, comparison), ranks, *groups, _footer(comparison)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{_asset('page.css')}</style></head>\n<body>\n<main>\n"
        + "\n".join(body)
        + f"\n</main>\n<script>{_asset('page.js')}</script>\n</body></html>\n"
    )


def palette(comparison: Comparison) -> dict[str, int]:
    """Colour slot by row label: 0 for the baseline, then 1 to 7 in the order of the rows, again and again."""
    slots: dict[str, int] = {row.label: 0 for row in comparison.rows if row.is_baseline}
    for row in comparison.rows:
        if row.label not in slots:
            others = sum(slot > 0 for slot in slots.values())
            slots[row.label] = 1 + others % (_SLOTS - 1)
    return slots


def _asset(name: str) -> str:
    return (_FOLDER / name).read_text()


def _title(comparison: Comparison) -> str:
    methods = list(dict.fromkeys(row.method for row in comparison.rows))
    datasets = list(dict.fromkeys(group.dataset for group in comparison.groups))
    return f"{_names(methods, 'methods')} on {_names(datasets, 'data sets')}"


def _names(names: list[str], noun: str) -> str:
    if len(names) > 5:
        return f"{len(names)} {noun}"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _header(title: str, comparison: Comparison) -> str:
    runs = comparison.runs
    seeds = sorted({run.seed for run in runs})
    finished = max((run.finished_at for run in runs if run.finished_at), default="")[:10]
    done = sum(run.status == "done" for run in runs)
    facts = [
        f"{done} finished run{'s' if done != 1 else ''}",
        f"{len(seeds)} seed{'s' if len(seeds) != 1 else ''} ({_seeds(seeds)})",
    ]
    if done < len(runs):
        facts.insert(1, f"{len(runs) - done} missing")
    facts += [f"last finished {finished}"] if finished else []
    links = "".join(tag("a", escape(f"{g.dataset}, {g.model}"), href=f"#g{n}") for n, g in enumerate(comparison.groups))
    toc = tag("nav", links, aria_label="Data sets and models") if len(comparison.groups) > 1 else ""
    top = tag("p", "xfeedback comparison", class_="kicker") + tag("h1", escape(title))
    return tag("header", top + tag("p", escape(" · ".join(facts)), class_="facts") + toc)


def _seeds(seeds: list[int]) -> str:
    if len(seeds) > 6 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def _group(group: Group, evidence: Evidence, comparison: Comparison, slots: Mapping[str, int], number: int) -> str:
    parts = [
        tag("h2", tag("span", escape(group.dataset)) + " " + tag("small", escape(group.model)) + _badges(group)),
        _finding(group, comparison.baseline),
        _section(
            "Results", results(group, comparison.baseline, slots) + _note(f"{NOTE} {rule_note(comparison.baseline)}")
        ),
        missing(group),
        _section("Every seed", _legend(group, slots, "points") + _points(group, slots)),
        _section("Learning curves", _curves(group, evidence, slots)),
        _section("Phases", _incremental(group, slots)),
        _section("Calibration", _reliability(group, slots)),
        _section("Which classes are taken for which", _confusions(group)),
        _section("Where the models look", _maps(evidence, slots, f"g{number}")),
        _section("What differs between the rows", options(group, slots)),
        _section("Where every number comes from", provenance(group)),
    ]
    return tag("article", "\n".join(parts), id=f"g{number}")


def _section(title: str, body: str) -> str:
    return tag("section", tag("h3", title) + body) if body else ""


def _note(words: str) -> str:
    return tag("p", escape(words), class_="note")


def _badges(group: Group) -> str:
    return "".join(
        tag("span", escape(stamp), class_="badge", title="stamped on these results") for stamp in group.stamps
    )


def _finding(group: Group, baseline: str) -> str:
    sentences = [escape(sentence) for sentence in findings(group, baseline)]
    if not sentences:
        return tag("p", "Nothing has been measured yet.", class_="lead")
    rest = (
        tag("ul", "".join(tag("li", sentence) for sentence in sentences[1:]), class_="findings")
        if sentences[1:]
        else ""
    )
    return tag("p", sentences[0], class_="lead") + rest


def _legend(group: Group, slots: Mapping[str, int], kind: str) -> str:
    rows = [
        tag("span", tag("i", class_=f"swatch s{slots[row.label]}") + escape(row.label), data_row=row.label)
        for row in group.rows
    ]
    if kind == "points":
        keys = [("key-dot", "one seed"), ("key-mean", "mean"), ("key-band", "95 % interval")]
    else:
        keys = [("key-line", "mean of the seeds"), ("key-thin", "one seed")]
    signs = [tag("span", tag("i", class_=f"key {name}") + words, class_="sign") for name, words in keys]
    return tag("p", "".join(rows if kind != "points" else []) + "".join(signs), class_="legend")


def _points(group: Group, slots: Mapping[str, int]) -> str:
    panels = "".join(_panel(name, points(group, name, slots)) for name in headline_metrics(group))
    return tag("div", _differences(group, slots) + panels, class_="panels")


def _differences(group: Group, slots: Mapping[str, int]) -> str:
    base, name = group.baseline, group.headline
    drawn = differences(group, name, slots) if base is not None and name is not None else ""
    if not drawn or base is None or name is None:
        return ""
    title = tag("b", escape(f"{describe(name).title}, difference from {base.method}"))
    return tag("figure", tag("figcaption", title + tag("code", "points")) + drawn, class_="panel")


def _curves(group: Group, evidence: Evidence, slots: Mapping[str, int]) -> str:
    panels = "".join(_panel(key, curves(evidence.histories, key, slots)) for key in curve_keys(evidence.histories))
    return _legend(group, slots, "curves") + tag("div", panels, class_="panels") if panels else ""


def _incremental(group: Group, slots: Mapping[str, int]) -> str:
    drawn = phase_curves(group, slots)
    if not drawn:
        return ""
    words = (
        "Below, accuracy in percent on each phase's test after each phase, mean over the seeds. Pale: before the phase "
        "that taught it. Forgotten: the best since then less the last (of the mean)."
    )
    panel = tag("div", _panel("test accuracy after each phase", drawn), class_="panels")
    return _legend(group, slots, "curves") + panel + _note(words) + matrices(group, slots)


def _reliability(group: Group, slots: Mapping[str, int]) -> str:
    drawn = diagrams(group, slots)
    words = (
        "Predictions of the headline test view by their confidence, all seeds together: the share that is right, with "
        "a 95 % interval, beside the mean confidence (a line across the bar); below, how many there are. On the "
        "dashed line probabilities can be believed."
    )
    return drawn + _note(words) if drawn else ""


def _confusions(group: Group) -> str:
    drawn = confusion.matrices(group)
    words = (
        "Predictions of the headline test view, all seeds together: a line for each true class, a column for each "
        "predicted one, in percent of the line."
    )
    return drawn + _note(words) if drawn else ""


def _panel(name: str, drawing: str) -> str:
    return tag("figure", tag("figcaption", _heading(name)) + drawing, class_="panel")


def _heading(name: str) -> str:
    metric = describe(name)
    unit = f", {metric.unit}" if metric.unit else ""
    return tag("b", escape(metric.title)) + (tag("code", escape(f"{name}{unit}")) if metric.title != name else "")


def _maps(evidence: Evidence, slots: Mapping[str, int], key: str) -> str:
    drawn = grid(evidence, slots, key)
    if not drawn:
        return ""
    found = next(iter(evidence.explanations.values()))
    signs = [
        tag(
            "span", tag("i", class_="key ramp", style=f"background:{RAMP_CSS}") + "little to much weight", class_="sign"
        )
    ]
    if found.mask is not None:
        signs.append(tag("span", tag("i", class_="key key-mask") + "annotation", class_="sign"))
    if found.wrong is not None:
        signs.append(tag("span", tag("i", class_="key key-decoy") + "decoy", class_="sign"))
    words = (
        f"Seed {evidence.seed}. The test samples that the runs stored, the first of each class before others; nobody "
        "chose them by hand. "
        "✓ and ✗: the prediction is right or wrong."
    )
    return _note(words) + tag("p", "".join(signs), class_="legend") + drawn


def _footer(comparison: Comparison) -> str:
    lines = "".join(tag("li", escape(line)) for line in comparison.warnings)
    warnings = tag("section", tag("h3", "Files that could not be used") + tag("ul", lines)) if lines else ""
    explained = (
        "The interval of a mean is Student's, over seeds. Differences are paired: each seed of a row is compared with "
        f"the same seed of {comparison.baseline}. 'Not published' means that no paper in reach gives a number for this "
        "combination of data set, method and metric. Relative step time is that of a training step beside a plain one "
        "of the same network, both timed in turns after training."
    )
    return tag("footer", warnings + tag("section", tag("h3", "How to read this page") + _note(explained)))
