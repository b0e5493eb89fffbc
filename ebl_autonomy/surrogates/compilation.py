"""A line that says why the first model of a machine takes so long."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numba.core import event

__all__ = ["compilation_announced"]

logger = logging.getLogger(__name__)


class _FirstCompilation(event.Listener):
    """Logs one line at the first function that is compiled instead of loaded."""

    def __init__(self) -> None:
        self._said = False

    def on_start(self, event: Any) -> None:
        if not self._said:
            self._said = True
            # A warning, because these are shown where nobody has set up logging: in a session and by the command.
            logger.warning(
                "compiling the model, once for this machine and version: this takes up to a minute (kept in %s)",
                event.data["dispatcher"].stats.cache_path,
            )

    def on_end(self, event: Any) -> None:
        """Nothing more to say."""


@contextmanager
def compilation_announced() -> Iterator[None]:
    """Within this context, the first compilation is announced by one line; nothing is said if all can be loaded."""
    with event.install_listener("numba:compile", _FirstCompilation()):
        yield
