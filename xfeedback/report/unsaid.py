"""What runs do not say of themselves: options that are younger than a run, or that it left at such a default."""

from collections.abc import Hashable, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar

import yaml

from xfeedback.config import CONF
from xfeedback.engine.options import EvaluationConfig, TrainerConfig
from xfeedback.report.cells import flatten

Key = TypeVar("Key", bound=Hashable)
_METHOD, _DATASET = "method.", "dataset."


def completed(configs: Mapping[Key, Mapping[str, str]]) -> dict[Key, dict[str, str]]:
    """Return flat ``configs`` in which what others say and one does not stands at its default, where that is known.

    A run's own configuration leaves out what it has at the default of an option that came after the first results. Of a
    method or data set that a run does not have nothing is added, nor what its variant decides.

    Args:
        configs: flat configurations that are compared.
    """
    names = dict.fromkeys(name for flat in configs.values() for name in flat)

    def missing(flat: Mapping[str, str]) -> dict[str, str]:
        found = {name: _default(name, flat) for name in names if name not in flat}
        return {name: value for name, value in found.items() if value is not None}

    return {key: {**flat, **missing(flat)} for key, flat in configs.items()}


def defaults(method: str) -> Mapping[str, str | None]:
    """Options of ``method`` as its file in ``conf/method`` has them, flat; None where the variant decides.

    Empty for a method without a file here.
    """
    return _read("method", method)


@cache
def _read(group: str, choice: str) -> Mapping[str, str | None]:
    try:
        loaded = yaml.safe_load((CONF / group / f"{choice}.yaml").read_text())
    except (OSError, yaml.YAMLError):
        return {}
    flat = flatten(loaded if isinstance(loaded, dict) else {})
    return {name: None if value == "null" or value.startswith("${") else value for name, value in flat.items()}


def _default(name: str, flat: Mapping[str, str]) -> str | None:
    """The default of an option that a flat configuration does not say, or None."""
    if name.startswith(_METHOD):
        method = name.split(".")[1]
        own = any(other.startswith(f"{_METHOD}{method}.") for other in flat)
        return defaults(method).get(name.removeprefix(_METHOD)) if own else None
    if name.startswith(_DATASET):
        return _read("dataset", flat.get("dataset.name", "")).get(name)
    return _younger().get(name)


@cache
def _younger() -> dict[str, str]:
    """The defaults of options of training and evaluation that came after the first results, by name."""
    parts: dict[str, Any] = {"trainer": TrainerConfig, "evaluation": EvaluationConfig}
    return flatten(
        {part: {f.name: f.default for f in fields(kind) if f.name in kind.younger} for part, kind in parts.items()}
    )
