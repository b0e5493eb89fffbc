"""Reads the rooms of the house, and which of them import which, from the code: nothing is imported for it."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Room", "beside", "layers", "rooms"]

ROOT = Path(__file__).parents[2]
PACKAGE = "ebl_autonomy"


@dataclass(frozen=True)
class Room:
    """A package or a module at the top of the package.

    Attributes
    ----------
    summary : str
        The first sentence of its docstring, or the first part of it up to a colon.
    imports : tuple of str
        The other rooms that its modules import, for types alone not counted.
    """

    name: str
    summary: str
    imports: tuple[str, ...]


def layers() -> list[list[str]]:
    """The floors from the top, as import-linter's contract of layers names them."""
    return [[name.strip() for name in layer.split("|")] for layer in _contract()["layers"]]


def beside() -> list[str]:
    """The rooms that the contract leaves out of the layers."""
    return list(_contract().get("exhaustive_ignores", []))


def _contract() -> dict[str, Any]:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = (c for c in config["contracts"] if c["type"] == "layers")
    return dict(contract)


def rooms() -> list[Room]:
    """Every room, in the order of the layers; those beside them come last."""
    names = [name for layer in [*layers(), beside()] for name in layer]
    found = []
    for name in names:
        base = ROOT / PACKAGE / name
        files = sorted(base.rglob("*.py")) if base.is_dir() else [base.with_suffix(".py")]
        front = base / "__init__.py" if base.is_dir() else files[0]
        docstring = ast.get_docstring(ast.parse(front.read_text())) or ""
        imported = {other for file in files for other in _imports(file)}
        others = tuple(sorted(imported & set(names) - {name}, key=names.index))
        found.append(Room(name, _summary(docstring), others))
    return found


def _summary(docstring: str) -> str:
    first = " ".join(docstring.split("\n\n")[0].split())
    return first.split(": ")[0].split(". ")[0].removesuffix(".")


def _imports(file: Path) -> Iterator[str]:
    """The rooms that a module imports, wherever in it."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    for node in _runtime(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            paths = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*parts[: -node.level], *filter(None, [node.module])] if node.level else [node.module]
            paths = [".".join([*map(str, base), alias.name]) for alias in node.names]
        else:
            continue
        for path in paths:
            package, _, rest = path.partition(".")
            if package == PACKAGE:
                yield rest.partition(".")[0]


def _runtime(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _runtime(child)
