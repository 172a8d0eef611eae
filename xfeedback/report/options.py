"""What differs between the rows: a table of the options that are not the same, and each method's own."""

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Literal

from xfeedback.report.cells import differing
from xfeedback.report.rows import Group, Row
from xfeedback.report.svg import tag
from xfeedback.report.unsaid import defaults

_METHOD = "method."
_ABSENT = "–"


def options(group: Group, slots: Mapping[str, int]) -> str:
    """HTML: the options that differ, a column for each row of the comparison, and each method's own options.

    Muted is what does not apply, and what the baseline has as well (of a method's options: what most of its rows
    have). With more rows than options the table lies on its side.

    Args:
        group: rows to tell apart.
        slots: colour slot by row label.
    """
    names = differing_options(group)
    if not names:
        return tag("p", "Every option outside the method is the same in all rows.", class_="note") + _own(group)
    cells = [_cells(group, name) for name in names]
    on_its_side = len(group.rows) > len(names)
    if on_its_side:
        corner = "method"
        across = [_option(name, "col") for name in names]
        down = [_row_name(row, slots, "row") for row in group.rows]
        cells = [list(line) for line in zip(*cells, strict=True)]
    else:
        corner = "option"
        across = [_row_name(row, slots, "col") for row in group.rows]
        down = [_option(name, "row") for name in names]
    heads = tag("tr", tag("th", corner, scope="col") + "".join(across))
    lines = "".join(tag("tr", head + "".join(line)) for head, line in zip(down, cells, strict=True))
    kind = "options sortable" if on_its_side else "options"
    table = tag("table", tag("thead", heads) + tag("tbody", lines), class_=kind)
    return tag("div", table, class_="scroll") + _own(group)


def differing_options(group: Group) -> list[str]:
    """Names of the options outside the method that are not the same in all rows, then those of a method in its rows."""
    outside = [{k: v for k, v in row.options.items() if not k.startswith(_METHOD)} for row in group.rows]
    names = differing(outside)
    for method in dict.fromkeys(row.method for row in group.rows):
        own = [_of_method(row) for row in group.rows if row.method == method]
        names += [name for name in differing(own) if name not in names]
    return names


def _of_method(row: Row) -> dict[str, str]:
    return {name: value for name, value in row.options.items() if name.startswith(_METHOD)}


def _cells(group: Group, name: str) -> list[str]:
    values = [row.options.get(name, _ABSENT) for row in group.rows]
    usual = group.baseline.options.get(name, _ABSENT) if group.baseline else None
    if usual is None or (usual == _ABSENT and name.startswith(_METHOD)):
        usual = _in_most([value for value in values if value != _ABSENT])
    return [tag("td", escape(v), class_="usual" if v in (usual, _ABSENT) else "own") for v in values]


def _in_most(values: Sequence[str]) -> str | None:
    """The value that more than half of the rows have, or None."""
    value, times = Counter(values).most_common(1)[0]
    return value if 2 * times > len(values) else None


def _option(name: str, scope: Literal["row", "col"]) -> str:
    return tag("th", tag("code", escape(name.removeprefix(_METHOD)).replace(".", ".<wbr>")), scope=scope)


def _row_name(row: Row, slots: Mapping[str, int], scope: Literal["row", "col"]) -> str:
    return tag("th", tag("i", class_=f"swatch s{slots[row.label]}") + escape(row.label), scope=scope)


def _own(group: Group) -> str:
    """The methods' own options, folded away: those that are not as in ``conf/method`` first, defaults muted."""
    lines = "".join(tag("dt", escape(row.label)) + tag("dd", _own_options(row)) for row in group.rows)
    note = tag(
        "p", "Muted: as in conf/method of this version. The others were set, or follow the variant.", class_="note"
    )
    return tag("details", tag("summary", "All options of the methods") + note + tag("dl", lines, class_="own-options"))


def _own_options(row: Row) -> str:
    own = {name.removeprefix(_METHOD): value for name, value in _of_method(row).items()}
    if not own:
        return "no options"
    usual = {k: v for method in row.method.split("+") for k, v in defaults(method).items()}
    muted = {name: usual.get(name) == value for name, value in own.items()}
    return " ".join(
        tag("code", escape(f"{name}={own[name]}"), class_="usual" if muted[name] else "own")
        for name in sorted(own, key=muted.__getitem__)
    )
