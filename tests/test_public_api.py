"""Every public name of the package has a docstring, and every public function on tensors says their shapes.

The sources are read as text, so nothing is imported.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "xfeedback"
SHAPE = re.compile(
    r"``[^`]*\([^()`]*,[^()`]*\)[^`]*``|\bscalars?\b|\bshapes?\b|\barguments as torch's\b", re.IGNORECASE
)
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@cache
def modules() -> dict[str, ast.Module]:
    """Every module by its path in the package; ``stacked/step.py``."""
    paths = sorted(p for p in PACKAGE.rglob("*.py") if not any(part.startswith("__pyc") for part in p.parts))
    return {p.relative_to(PACKAGE).as_posix(): ast.parse(p.read_text(encoding="utf-8")) for p in paths}


def public(tree: ast.Module | ast.ClassDef, owner: str = "") -> Iterator[tuple[str, Definition, ast.ClassDef | None]]:
    for node in tree.body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield f"{owner}{node.name}", node, tree if isinstance(tree, ast.ClassDef) else None
            if isinstance(node, ast.ClassDef):
                yield from public(node, f"{owner}{node.name}.")


@cache
def classes() -> dict[str, list[ast.ClassDef]]:
    found: dict[str, list[ast.ClassDef]] = {}
    for tree in modules().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(node)
    return found


def bases(kind: ast.ClassDef) -> Iterator[ast.ClassDef]:
    for base in kind.bases:
        named = base.value if isinstance(base, ast.Subscript) else base
        name = named.id if isinstance(named, ast.Name) else getattr(named, "attr", "")
        for found in classes().get(name, []):
            yield found
            yield from bases(found)


def inherited(node: Definition, kind: ast.ClassDef | None) -> str:
    """What the methods that a method overrides say."""
    methods = [m for base in (bases(kind) if kind else ()) for m in base.body if isinstance(m, Definition)]
    return "\n".join(ast.get_docstring(m) or "" for m in methods if m.name == node.name)


def on_tensors(node: ast.AST) -> bool:
    """Whether a function takes or returns a tensor, as its annotations say."""
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return any(
        re.search(r"\bTensor\b", ast.unparse(part))
        for part in (*(a.annotation for a in arguments), node.returns)
        if part
    )


def test_every_public_name_has_a_docstring():
    bare = [name for name, tree in modules().items() if not ast.get_docstring(tree) and tree.body]
    for name, tree in modules().items():
        for place, node, kind in public(tree):
            if not ast.get_docstring(node) and not inherited(node, kind) and not overload(node):
                bare.append(f"{name}: {place}")
    assert not bare, "no docstring:\n" + "\n".join(bare)


def test_every_public_function_on_tensors_names_shapes():
    silent = []
    for name, tree in modules().items():
        for place, node, kind in public(tree):
            if isinstance(node, ast.ClassDef) or overload(node) or not on_tensors(node):
                continue
            if not SHAPE.search(f"{ast.get_docstring(node)}\n{inherited(node, kind)}\n{about(kind)}"):
                silent.append(f"{name}:{node.lineno} {place}: {(ast.get_docstring(node) or '').splitlines()[:1]}")
    assert not silent, "no shape:\n" + "\n".join(silent)


def overload(node: Definition) -> bool:
    return any(
        "overload" in ast.unparse(decorator) or ".setter" in ast.unparse(decorator) for decorator in node.decorator_list
    )


def about(kind: ast.ClassDef | None) -> str:
    return (ast.get_docstring(kind) or "") if kind else ""
