"""Turn plain dictionaries into typed, checked dataclasses.

Each component owns a frozen dataclass with its options; nothing here knows Hydra. A wrong key, type or value is a
:class:`~xfeedback.errors.UserError` that names the option as the user typed it.
"""

import os
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from xfeedback.errors import UserError, suggest

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
_PACKAGED = Path(__file__).parent / "conf"
CONF = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[1] / "conf"
"""The folder of the config groups: within the installed package, else the checkout's."""


def from_mapping(cls: type[T], values: Mapping[str, Any], path: str) -> T:
    """Build dataclass ``cls`` from ``values``; ``path`` is the dotted prefix used in messages.

    Raises:
        UserError: unknown or missing key, wrong type, or a value that the class's ``__post_init__`` refuses.
    """
    if not isinstance(values, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - files hold anything
        raise UserError(f"{path}={values} must be a group of options")
    hints = get_type_hints(cls)
    names = {f.name for f in fields(cls)}
    for key in values:
        if key not in names:
            raise UserError(f"unknown option '{path}.{key}'.{suggest(str(key), names)}")
    arguments: dict[str, Any] = {}
    for field in fields(cls):
        if field.name in values:
            arguments[field.name] = _convert(hints[field.name], values[field.name], f"{path}.{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise UserError(f"option '{path}.{field.name}' has no value")
    try:
        return cls(**arguments)
    except ValueError as error:
        raise UserError(f"{path}.{error}") from error


def require(condition: bool, option: str, value: object, expected: str) -> None:
    """Raise ``ValueError`` for use in ``__post_init__``: ``require(x > 0, "width", x, "a positive integer")``."""
    if not condition:
        raise ValueError(f"{option}={value} must be {expected}")


def _convert(hint: Any, value: Any, path: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(arguments, value, path)
    if origin is Literal:
        if value in arguments:
            return value
        choices = [str(a) for a in arguments]
        raise UserError(f"{path}={value} must be one of {', '.join(choices)}.{suggest(str(value), choices)}")
    if isinstance(value, Mapping | list | tuple):
        return _convert_container(hint, value, path)
    return _convert_scalar(hint, value, path)


def _convert_container(hint: Any, value: Any, path: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and is_dataclass(hint) and isinstance(value, Mapping):
        return from_mapping(hint, value, path)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_convert(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if origin is dict and isinstance(value, Mapping):
        return {str(k): _convert(arguments[1], v, f"{path}.{k}") for k, v in value.items()}
    return _convert_scalar(hint, value, path)


def _convert_union(arguments: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None:
        if type(None) in arguments:
            return None
        raise UserError(f"option '{path}' has no value")
    others = [a for a in arguments if a is not type(None)]
    for position, hint in enumerate(others):
        try:
            return _convert(hint, value, path)
        except UserError:
            if position == len(others) - 1:
                raise
    raise UserError(f"{path}={value} is not understood")


_WORDS = {int: "an integer", float: "a number", bool: "true or false", str: "text"}


def _words(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return "a list"
    return _WORDS.get(hint, "a group of options")


def _convert_scalar(hint: Any, value: Any, path: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-3 as text
        try:
            return float(value)
        except ValueError:
            pass
    if isinstance(value, bool) and hint is not bool:
        raise UserError(f"{path}={value} must be {_words(hint)}")
    if isinstance(value, str) and hint is str and value.startswith("~/"):  # no shell expands it after a ``=``
        return os.path.expanduser(value)  # noqa: PTH111 - the text, as it was typed
    if isinstance(hint, type) and isinstance(value, hint):
        return value
    raise UserError(f"{path}={value} must be {_words(hint)}")
