"""Writes the pages of the API reference from the packages' public names, so that a new module appears by itself.

A name is public if its module lists it in ``__all__``, or, in a module without one, if it has no leading underscore.
A name that several modules list is described once, in the front that is nearest to the top: that is where users import
it from.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from pkgutil import walk_packages
from textwrap import indent
from types import ModuleType
from typing import Any

import ebl_autonomy

__all__ = ["Page", "pages", "public_names", "write"]

TOP = ebl_autonomy.__name__
SKIPPED = {"__main__"}


@dataclass
class Page:
    """One page: a package or a top-level module, and the modules inside it."""

    name: str
    summary: str
    sections: dict[str, list[str]] = field(default_factory=dict)
    """Module to the names that are described under it."""
    elsewhere: dict[str, dict[str, str]] = field(default_factory=dict)
    """Module to those of its names that are described elsewhere, with the place."""


def modules() -> Iterator[ModuleType]:
    """The package and every module in it; a front comes before what is inside it."""
    yield ebl_autonomy
    names = [info.name for info in walk_packages(ebl_autonomy.__path__, f"{TOP}.")]
    for name in sorted(names, key=lambda n: (n.count("."), n)):
        if name.rpartition(".")[2] not in SKIPPED:
            yield import_module(name)


def public_names(module: ModuleType) -> list[str]:
    """The module's ``__all__``, or what it defines without a leading underscore."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    definitions = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    names = [node.name for node in ast.parse(inspect.getsource(module)).body if isinstance(node, definitions)]
    return sorted(name for name in (*names, *_constants(module)) if not name.startswith("_") and name != "logger")


def pages() -> list[Page]:
    """All pages of the reference, the package's own front first."""
    listed = {module.__name__: public_names(module) for module in modules()}
    found: dict[str, Page] = {}
    described: dict[str, str] = {}
    for name, names in listed.items():
        module = import_module(name)
        page_name = ".".join(name.split(".")[:2])
        page = found.setdefault(page_name, Page(page_name, _summary(module)))
        page.sections[name] = []
        page.elsewhere[name] = {}
        for attribute in names:
            home = _home(module, attribute, listed)
            place = described.setdefault(f"{home}.{attribute}", f"{name}.{attribute}")
            if place == f"{name}.{attribute}":
                page.sections[name].append(attribute)
            else:
                page.elsewhere[name][attribute] = place
    return list(found.values())


def write(folder: Path) -> None:
    """Write the pages and their index as reStructuredText; files that nothing writes any more are removed."""
    folder.mkdir(exist_ok=True)
    texts = {f"{page.name}.rst": _page(page) for page in pages()}
    texts["index.rst"] = _index(pages())
    for path in folder.glob("*.rst"):
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:  # what is unchanged need not be read again
            path.write_text(text)


def _home(module: ModuleType, attribute: str, listed: Mapping[str, list[str]]) -> str:
    """The module that defines a public name, as far as an object tells it; constants are at home where they are listed.

    A constant that a front lists too belongs to the module inside it.
    """
    value = getattr(module, attribute)
    if inspect.isclass(value) or inspect.isroutine(value) or hasattr(value, "py_func"):
        return str(value.__module__)
    inside = [name for name, names in listed.items() if name.startswith(f"{module.__name__}.") and attribute in names]
    return next((name for name in inside if getattr(import_module(name), attribute) is value), module.__name__)


def _summary(module: ModuleType) -> str:
    return (inspect.getdoc(module) or "").split("\n\n")[0].replace("\n", " ")


def _index(contents: list[Page]) -> str:
    rows = "".join(f"   * - :doc:`{page.name}`\n     - {page.summary}\n" for page in contents)
    entries = "".join(f"   {page.name}\n" for page in contents)
    return (
        f"{_title('Reference', '=')}Written from the docstrings of everything public.\n\n"
        f".. list-table::\n   :widths: 30 70\n\n{rows}\n"
        f".. toctree::\n   :hidden:\n\n{entries}"
    )


def _page(page: Page) -> str:
    parts = [_title(page.name, "=")]
    for name, attributes in page.sections.items():
        module = import_module(name)
        if name != page.name:
            if not attributes:
                continue  # all of it is described in a front
            parts.append(_title(name, "-"))
        parts.append(f".. py:module:: {name}\n\n{inspect.getdoc(module) or ''}\n\n")
        others = [f":py:obj:`~{place}`" for place in page.elsewhere[name].values()]
        if others:
            parts.append(f"Public here as well: {', '.join(others)}.\n\n")
        parts += [_entry(module, attribute) for attribute in attributes]
    return "".join(parts)


def _entry(module: ModuleType, attribute: str) -> str:
    value: Any = getattr(module, attribute)
    full = f"{module.__name__}.{attribute}"
    if _is_foreign(value):
        return f".. py:data:: {full}\n\n   From ``{value.__module__}``.\n\n"
    if inspect.isclass(value):
        bases = "" if value.__bases__ == (object,) else "   :show-inheritance:\n"
        return f".. autoclass:: {full}\n   :members:\n{bases}\n"
    if inspect.isroutine(value) or hasattr(value, "py_func"):
        return f".. autofunction:: {full}\n\n"
    # Not autodata: where a constant has no docstring of its own, that would show the one of its type.
    source, docstring = _constants(module).get(attribute, ("", ""))
    shown = f"   :value: {source}\n" if 0 < len(source) < 80 else ""
    return f".. py:data:: {full}\n{shown}\n{indent(docstring, '   ')}\n\n"


def _constants(module: ModuleType) -> dict[str, tuple[str, str]]:
    """What a module assigns: name to the source of the value and the docstring below it, empty if there is none."""
    body = ast.parse(inspect.getsource(module)).body
    found: dict[str, tuple[str, str]] = {}
    for node, below in zip_longest(body, body[1:]):
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
            continue
        is_documented = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        docstring = inspect.cleandoc(str(below.value.value)) if is_documented else ""
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Name):
                found[target.id] = (ast.unparse(node.value), docstring)
    return found


def _is_foreign(value: object) -> bool:
    return (inspect.isclass(value) or inspect.isroutine(value)) and not str(value.__module__).startswith(TOP)


def _title(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}\n\n"
