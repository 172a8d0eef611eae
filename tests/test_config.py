from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from xfeedback.config import from_mapping, require
from xfeedback.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Inner:
    depth: int = 1

    def __post_init__(self) -> None:
        require(self.depth > 0, "depth", self.depth, "above 0")


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    lr: float = 0.1
    on: bool = False
    kind: Literal["a", "b"] = "a"
    limit: int | None = None
    either: int | str = 0
    sizes: tuple[int, ...] = ()
    pairs: tuple[tuple[int, ...], ...] = ()
    table: dict[str, float] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)
    any: Any = None


def test_values_become_typed():
    values = {
        "name": "x",
        "lr": "1e-3",
        "on": True,
        "kind": "b",
        "limit": None,
        "either": "word",
        "sizes": [1, 2],
        "pairs": [[1, 2], [3, 4]],
        "table": {"a": 1},
        "inner": {"depth": 3},
        "any": object,
    }
    outer = from_mapping(Outer, values, "part")
    assert outer == Outer(
        name="x",
        lr=0.001,
        on=True,
        kind="b",
        either="word",
        sizes=(1, 2),
        pairs=((1, 2), (3, 4)),
        table={"a": 1.0},
        inner=Inner(depth=3),
        any=object,
    )
    assert isinstance(outer.table["a"], float)
    assert isinstance(from_mapping(Outer, {"name": "x", "lr": 1}, "part").lr, float)
    assert from_mapping(Outer, {"name": "x"}, "part") == Outer(name="x")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "option 'part.name' has no value"),
        ({"name": None}, "part.name=None must be text"),
        ({"name": "x", "lrr": 1}, "unknown option 'part.lrr'. Did you mean 'lr'?"),
        ({"name": "x", "lr": "fast"}, "part.lr=fast must be a number"),
        ({"name": "x", "lr": True}, "part.lr=True must be a number"),
        ({"name": "x", "on": 1}, "part.on=1 must be true or false"),
        ({"name": "x", "on": "yes"}, "part.on=yes must be true or false"),
        ({"name": "x", "kind": "c"}, "part.kind=c must be one of a, b."),
        ({"name": "x", "limit": 1.5}, "part.limit=1.5 must be an integer"),
        ({"name": "x", "limit": True}, "part.limit=True must be an integer"),
        ({"name": "x", "sizes": [1, "two"]}, "part.sizes[1]=two must be an integer"),
        ({"name": "x", "sizes": 3}, "part.sizes=3 must be a list"),
        ({"name": "x", "pairs": [[1, "x"]]}, "part.pairs[0][1]=x must be an integer"),
        ({"name": "x", "table": {"a": "b"}}, "part.table.a=b must be a number"),
        ({"name": "x", "inner": {"depth": 0}}, "part.inner.depth=0 must be above 0"),
        ({"name": "x", "inner": {"deep": 0}}, "unknown option 'part.inner.deep'. Did you mean 'depth'?"),
        ({"name": "x", "inner": 3}, "part.inner=3 must be a group of options"),
    ],
)
def test_a_wrong_value_is_named_as_it_was_typed(values, says):
    with pytest.raises(UserError) as caught:
        from_mapping(Outer, values, "part")
    assert str(caught.value).startswith(says)
