"""Look up agents, derivations and prior means by name, including those that other packages provide.

A third party registers one by an entry point in its own ``pyproject.toml``::

    [project.entry-points."ebl_autonomy.agents"]
    my_agent = "my_package:MyAgent"
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, Final

from ebl_autonomy.errors import BadInputError, unknown_text

AGENTS: Final = "ebl_autonomy.agents"
DERIVATIONS: Final = "ebl_autonomy.derivations"
PRIOR_MEANS: Final = "ebl_autonomy.prior_means"


def names(group: str) -> list[str]:
    """All names registered in an entry-point group, sorted."""
    return sorted({entry.name for entry in entry_points(group=group)})


def load(group: str, name: str) -> Any:
    """The object registered under `name`.

    Raises
    ------
    BadInputError
        If no package registers that name (the message lists the registered ones), or if the import fails.
    """
    found = [entry for entry in entry_points(group=group) if entry.name == name]
    if not found:
        raise BadInputError(
            f"no {name!r} is registered under {group!r}: {unknown_text(name, names(group), 'registered names')}. "
            "Install the package that provides it, or correct the name."
        )
    try:
        return found[0].load()
    except Exception as error:  # the import of another package may raise anything
        raise BadInputError(f"{name!r} of {group!r} ({found[0].value}) cannot be imported: {error}") from error
