"""Lazy packages: public names are imported at their first use, and ``dir()`` shows only public names."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

__all__ = ["lazy_attributes", "public_dir", "uncollected"]


def lazy_attributes(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package that imports its public names on demand and so loads fast.

    Parameters
    ----------
    package : str
        The package's ``__name__``.
    homes : mapping of str to str
        Maps each public name to the module that defines it: relative (``".camera"``) or absolute.

    Returns
    -------
    getattr, dir : callable
        The functions that the package binds to ``__getattr__`` and ``__dir__``.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807 - becomes the package's __getattr__
        if name in homes:
            return getattr(import_module(homes[name], package), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return __getattr__, public_dir(package)


def public_dir(package: str) -> Callable[[], list[str]]:
    """``__dir__`` of a package: its ``__all__`` only, so that tab completion shows the public names."""

    def __dir__() -> list[str]:  # noqa: N807
        return sorted(sys.modules[package].__all__)

    return __dir__


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the garbage collector during long imports: they leave no garbage, and it slows them by a third."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
