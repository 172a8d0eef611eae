"""Names that a package offers without importing their modules: these are imported when a name is first asked for."""

from collections.abc import Callable
from importlib import import_module
from sys import modules


def lazy(package: str, **homes: tuple[str, ...]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return a package's ``__getattr__`` and ``__dir__``.

    Args:
        package: its ``__name__``.
        homes: the names that each of its modules defines.

    >>> find, names = lazy("xfeedback", files=("write_text", "write_json"))
    >>> find("write_text").__module__
    'xfeedback.files'
    >>> "write_json" in names()
    True
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def find(name: str) -> object:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{home_of[name]}"), name)

    def names() -> list[str]:
        return [*vars(modules[package]), *home_of]

    return find, names
