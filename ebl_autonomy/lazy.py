"""Package fronts whose names are imported when they are first used, so that importing a package stays cheap."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy_attributes"]


def lazy_attributes(
    package: str, homes: Mapping[str, str], eager: tuple[str, ...] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package that imports its public names on demand.

    Parameters
    ----------
    package : str
        The package's ``__name__``.
    homes : mapping of str to str
        Public name to the module that defines it: relative (``".camera"``) or absolute.
    eager : tuple of str
        Public names that the package defines itself.

    Returns
    -------
    getattr, dir : callable
        ``dir`` lists the public names and nothing else, so that tab completion shows what a user may use.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807 - it becomes the package's own
        if name in homes:
            return getattr(import_module(homes[name], package), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def __dir__() -> list[str]:  # noqa: N807
        return sorted({*homes, *eager})

    return __getattr__, __dir__
