r"""The comparison as LaTeX: booktabs tables to ``\input`` into a paper."""

from xfeedback.report.doubts import doubts
from xfeedback.report.metrics import describe
from xfeedback.report.rows import Comparison, Group, Row
from xfeedback.report.tables import NOTE, cell, headline_metrics, rule_note
from xfeedback.report.words import is_best

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
}


def escape(text: str) -> str:
    r"""Make ``text`` safe in LaTeX's text mode; anything outside ASCII that is not known becomes ``?``.

    >>> escape("50 % of c_exp")
    '50 \\% of c\\_exp'
    """
    return "".join(_SPECIAL.get(character, character if character.isascii() else "?") for character in text)


def latex(comparison: Comparison) -> str:
    """One ``table`` environment for each group.

    Needs the packages booktabs and graphicx (to fit wide tables to the line).
    """
    head = "% needs \\usepackage{booktabs,graphicx}\n"
    return head + "\n".join(_table(group, comparison.baseline) for group in comparison.groups)


def _table(group: Group, baseline: str) -> str:
    metrics = headline_metrics(group)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_caption(group, baseline)}}}",
        rf"\label{{tab:{_label(group)}}}",
        r"\medskip",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * (len(metrics) + 1)}}}",
        r"\toprule",
        *_heads(metrics),
        r"\midrule",
        *(_row(row, group, metrics) for row in group.rows),
        r"\bottomrule",
        r"\end{tabular}}",
        *_notes(group),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _row(row: Row, group: Group, metrics: list[str]) -> str:
    texts = [escape(cell(row, name, position == 0)) for position, name in enumerate(metrics)]
    bold = [_bold(text) if is_best(row, group, name) else text for name, text in zip(metrics, texts, strict=True)]
    return f"{' & '.join([escape(row.label), *bold, row.count])} \\\\"


def _bold(text: str) -> str:
    mean, _, half = text.partition(" ")
    return rf"\textbf{{{mean}}} {half}".rstrip()


def _heads(metrics: list[str]) -> list[str]:
    """Two header lines: families of metrics (``acc``, ``explanation``, ``cost``) above their members."""
    if not metrics:
        return [r"method & $n$ \\"]
    families: dict[str, list[str]] = {}
    for name in metrics:
        families.setdefault(name.partition("/")[0], []).append(name)
    over, rules, under, start = [], [], ["method"], 2
    for family, names in families.items():
        units = {describe(name).unit for name in names}
        shared = f" ({units.pop()})" if len(units) == 1 and "" not in units else ""
        over.append(rf"\multicolumn{{{len(names)}}}{{c}}{{{escape(family + shared)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + len(names) - 1}}}")
        under += [escape(_member(name, with_unit=not shared)) for name in names]
        start += len(names)
    return [f" & {' & '.join(over)} & \\\\", " ".join(rules), f"{' & '.join([*under, '$n$'])} \\\\"]


def _member(name: str, *, with_unit: bool) -> str:
    unit = describe(name).unit
    member = name.partition("/")[2] or name
    return f"{member} ({unit})" if with_unit and unit else member


def _caption(group: Group, baseline: str) -> str:
    stamped = f" Stamped: {', '.join(group.stamps)}." if group.stamps else ""
    return escape(f"{group.dataset}, {group.model}. {NOTE} {rule_note(baseline)}{stamped}")


def _label(group: Group) -> str:
    return "".join(character if character.isalnum() else "-" for character in f"{group.dataset}-{group.model}")


def _notes(group: Group) -> list[str]:
    lines = [f"{row.label}: {line}" for row in group.rows for line in doubts(row)]
    return [rf"\par\smallskip\footnotesize {escape(line)}" for line in lines]
