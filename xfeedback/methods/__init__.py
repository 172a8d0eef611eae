"""The methods: one file each, found by its name.

A file ``foo.py`` in this folder defines a :class:`~xfeedback.feedback.Feedback` with ``name = "foo"`` and a thin
LightningModule, a :class:`~xfeedback.feedback.PresetModule`. Both can be imported from here:
``from xfeedback.methods import SaliencyGuided``.
"""

import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from xfeedback.errors import unknown

if TYPE_CHECKING:
    from xfeedback.feedback import Feedback, PresetModule


def names() -> list[str]:
    """Return the names of all methods, ``plain`` first."""
    found = [module.name for module in pkgutil.iter_modules(__path__)]
    return sorted(found, key=lambda name: (name != "plain", name))


@cache
def feedback_class(name: str) -> "type[Feedback]":
    """Return the feedback of a method.

    Raises:
        UserError: there is no such method.
    """
    from xfeedback.feedback import Feedback

    return _defined(_module(name), Feedback)


@cache
def module_class(name: str) -> "type[PresetModule]":
    """Return the LightningModule of a method."""
    from xfeedback.feedback import PresetModule

    return _defined(_module(name), PresetModule)


def _module(name: str) -> ModuleType:
    if name not in names():
        raise unknown("method", name, names())
    return import_module(f"{__name__}.{name}")


def _defined(module: ModuleType, base: type) -> Any:
    own = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__]
    (found,) = [kind for kind in own if issubclass(kind, base)]
    return found


def __dir__() -> list[str]:
    return [*globals(), *_public()]


@cache
def _public() -> list[str]:
    """The functions above and, of every method, its module, its feedback and the feedback's options."""
    kinds = [(module_class(name), feedback_class(name)) for name in names()]
    own = {kind.__name__ for module, feedback in kinds for kind in (module, feedback, feedback.Config)}
    return sorted({"names", "feedback_class", "module_class"} | own)


def __getattr__(attribute: str) -> Any:
    if attribute == "__all__":
        return _public()
    for name in () if attribute.startswith("__") else names():
        module = _module(name)
        if hasattr(module, attribute):
            return getattr(module, attribute)
    raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")
