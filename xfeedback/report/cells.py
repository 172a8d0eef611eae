"""Tell cells apart: which options differ between configurations, and how a row is therefore labelled."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from xfeedback.engine.options import NOT_IDENTITY
from xfeedback.report.collect import Run

_NOT_PART_OF_A_CELL = ("seed", "paths", "logger", "hydra", "sweep", "force", *(f"trainer.{o}" for o in NOT_IDENTITY))
_SHOWN = 3
_ABSENT = "-"


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return dotted option names with their values as text, without what is no part of a cell (seed, threads ...).

    >>> flatten({"seed": 1, "method": {"xbl": {"c_exp": 10.0, "guided": True}}})
    {'method.xbl.c_exp': '10', 'method.xbl.guided': 'true'}
    """
    flat: dict[str, str] = {}
    for key, value in config.items():
        if f"{prefix}{key}" in _NOT_PART_OF_A_CELL:
            continue
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = _text(value)
    return flat


def differing(configs: Sequence[Mapping[str, str]]) -> list[str]:
    """Names of options that are not the same in all flat ``configs`` (absent counts as a value), in order."""
    names = list(dict.fromkeys(name for config in configs for name in config))
    return [name for name in names if len({config.get(name) for config in configs}) > 1]


def labels(method: str, cells: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Label each cell of one method: the method's name, and its differing options when there are several cells.

    Of many options only those are shown in which a cell departs from most others.

    Args:
        method: name of the method, e.g. ``xbl``.
        cells: flat configuration by cell.

    >>> labels("xbl", {"a": {"method.xbl.c_exp": "1"}, "b": {"method.xbl.c_exp": "10"}})
    {'a': 'xbl (c_exp=1)', 'b': 'xbl (c_exp=10)'}
    """
    if len(cells) == 1:
        return dict.fromkeys(cells, method)
    options = differing(list(cells.values()))
    if "variant" in options:  # what each method's own variant follows
        options = ["variant", *(o for o in options if o != "variant" and not o.endswith(".variant"))]
    short, usual = _short_names(options), _usual(options, list(cells.values()))
    found = {
        cell: _label(method, [f"{short[o]}={v}" for o in options if (v := flat.get(o, _ABSENT)) != usual.get(o)])
        for cell, flat in cells.items()
    }
    if len(set(found.values())) < len(found):
        found = {
            cell: f"{label[:-1]}, {cell[:6]})" if label != method else f"{method} ({cell[:6]})"
            for cell, label in found.items()
        }
    return found


def _usual(options: Sequence[str], configs: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The value that more than half of the cells have, by option, where there are too many options to show all."""
    if len(options) <= _SHOWN:
        return {}
    counts = {option: Counter(config.get(option, _ABSENT) for config in configs) for option in options}
    common = {option: count.most_common(1)[0] for option, count in counts.items()}
    return {option: value for option, (value, times) in common.items() if 2 * times > len(configs)}


def cell_of(run: Run, known: Mapping[str, str]) -> str:
    """The cell of ``run``: as recorded, else that of a run with the same options, else its configuration itself.

    Args:
        run: any run.
        known: recorded cell by :func:`fingerprint`.
    """
    if run.cell:
        return run.cell
    mark = fingerprint(run)
    return known.get(mark, mark)


def fingerprint(run: Run) -> str:
    """Text that is the same for runs which differ in nothing but their seed."""
    return json.dumps([run.dataset, run.model, run.method, sorted(flatten(run.config).items())])


def _label(method: str, options: list[str]) -> str:
    if not options:
        return method
    more = [f"+{len(options) - _SHOWN} more"] if len(options) > _SHOWN else []
    return f"{method} ({', '.join(options[:_SHOWN] + more)})"


def _short_names(options: Sequence[str]) -> dict[str, str]:
    """The shortest dotted ending of each option that no other option shares."""
    short: dict[str, str] = {}
    for option in options:
        parts = option.split(".")
        endings = (".".join(parts[-count:]) for count in range(1, len(parts) + 1))
        others = [f".{other}" for other in options if other != option]
        short[option] = next((e for e in endings if not any(other.endswith(f".{e}") for other in others)), option)
    return short


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)
