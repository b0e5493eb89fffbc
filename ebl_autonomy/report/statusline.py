"""One line at the bottom of a terminal that gives way to everything else that is written there.

A progress bar shares its terminal with what the RunEngine prints, with bluesky's bars of moving motors, and with the
prompt of a paused session. So the line is erased before anything else is written to the terminal, and it is not drawn
again before the next `StatusLine.show`.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterable
from typing import Any, Final, TextIO

__all__ = ["StatusLine", "hide_all"]

_LINE_STARTS: Final = ("\n", "\r", "\x1b[A")
"""What ends a text that leaves the cursor at the start of a line; the last one, of a bar that is drawn again."""

_lines: weakref.WeakSet[StatusLine] = weakref.WeakSet()


def hide_all() -> None:
    """Erase every line of this process; a plan calls this when its run is paused, because no document says so."""
    for line in list(_lines):
        line.hide()


class StatusLine:
    """See the module. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._terminal: TextIO | None = None
        self._width = 0
        """Number of columns that are drawn; 0 if the line is erased."""
        self._at_start = True
        """Whether the cursor is at the start of a line, so that drawing covers nothing."""
        _lines.add(self)

    def show(self, text: str, columns: int, terminal: TextIO) -> None:
        """Draw `text` in place of what was drawn before.

        Parameters
        ----------
        text : str
            One line; it may hold escape sequences for colours.
        columns : int
            Number of columns that it takes. They must be fewer than the terminal has, because a full line would wrap.
        terminal : text file
        """
        with self._lock:
            self._terminal = terminal._stream if isinstance(terminal, _GivingWay) else terminal
            for name in ("stdout", "stderr"):
                stream = getattr(sys, name)
                if not (isinstance(stream, _GivingWay) and stream._line is self) and _is_terminal(stream):
                    setattr(sys, name, _GivingWay(stream, self))
            if self._at_start:
                covered = " " * (self._width - columns)
                self._terminal.write(f"\r{text}{covered}\r")
                self._terminal.flush()
                self._width = columns

    def hide(self) -> None:
        """Erase the line, and leave the terminal to others."""
        with self._lock:
            self._erase()
            self._at_start = True
            for name in ("stdout", "stderr"):
                stream = getattr(sys, name)
                if isinstance(stream, _GivingWay) and stream._line is self:
                    setattr(sys, name, stream._stream)

    def _erase(self) -> None:
        if self._width and self._terminal is not None:
            self._terminal.write("\r" + " " * self._width + "\r")
            self._terminal.flush()
            self._width = 0


class _GivingWay:
    """A stream of the same terminal: before a text is written to it, the line is erased."""

    def __init__(self, stream: TextIO, line: StatusLine) -> None:
        self._stream = stream
        self._line = line

    def write(self, text: str) -> int:
        line = self._line
        with line._lock:
            line._erase()
            if text:
                line._at_start = text.endswith(_LINE_STARTS)
            return self._stream.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for text in lines:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # no stream at all, or a closed one
        return False
