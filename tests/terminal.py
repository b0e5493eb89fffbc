"""A program on a pseudo terminal, and what a user would see on its screen."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

ESCAPE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b[()][A-Z0-9]|\x1b[=>]")


class Screen:
    """A terminal of `columns` without an end: knows the escape sequences that move the cursor and erase."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.lines: list[list[str]] = [[]]
        self.row = self.column = 0

    def __str__(self) -> str:
        return "\n".join("".join(line).rstrip() for line in self.lines)

    @property
    def last_line(self) -> str:
        """The last line that is not empty."""
        return next((line for line in reversed(str(self).splitlines()) if line), "")

    def write(self, text: str) -> None:
        i = 0
        while i < len(text):
            if match := ESCAPE.match(text, i):
                self._escape(match[1] or "", match[2] or "")
                i = match.end()
                continue
            self._character(text[i])
            i += 1

    def _character(self, character: str) -> None:
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self.row, self.column = self.row + 1, self.column  # the terminal's driver sends \r\n
            self._reach()
        elif character == "\b":
            self.column = max(self.column - 1, 0)
        elif character >= " ":
            if self.column == self.columns:
                self.row, self.column = self.row + 1, 0
                self._reach()
            line = self.lines[self.row]
            line.extend(" " * (self.column + 1 - len(line)))
            line[self.column] = character
            self.column += 1

    def _escape(self, arguments: str, command: str) -> None:
        count = int(arguments) if arguments.isdigit() else 1
        line = self.lines[self.row]
        if command == "A":
            self.row = max(self.row - count, 0)
        elif command == "B":
            self.row += count
            self._reach()
        elif command == "C":
            self.column = min(self.column + count, self.columns)
        elif command == "D":
            self.column = max(self.column - count, 0)
        elif command == "K":
            if arguments == "2":
                line.clear()
            else:
                del line[self.column :]
        elif command == "J":
            del line[self.column :]
            del self.lines[self.row + 1 :]
        elif command in "Hf":
            raise NotImplementedError("a program that places the cursor")

    def _reach(self) -> None:
        while self.row >= len(self.lines):
            self.lines.append([])


class Terminal:
    """A process that runs on a pseudo terminal of its own, as a context manager.

    Attributes
    ----------
    screen : Screen
    """

    def __init__(self, command: Sequence[str], columns: int = 100, env: dict[str, str] | None = None) -> None:
        self.screen = Screen(columns)
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 60, columns, 0, 0))
        self._process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm", **(env or {})},
            preexec_fn=_own_terminal,  # Ctrl-C of the terminal reaches the process
        )
        os.close(slave)
        self._pending = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def read_for(self, seconds: float) -> str:
        """What the process writes within `seconds`; it is on the screen afterwards."""
        deadline, read = time.monotonic() + seconds, ""
        while (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([self._master], [], [], left)
            if not ready:
                break
            self._pending += os.read(self._master, 65536)
            text, self._pending = _decoded(self._pending)
            self.screen.write(text)
            read += text
        return read

    def wait_until(self, seen: Callable[[Screen], bool], timeout_s: float = 120.0) -> None:
        """Read until the screen is as wanted."""
        deadline = time.monotonic() + timeout_s
        while not seen(self.screen):
            assert time.monotonic() < deadline, f"after {timeout_s} s the screen is\n{self.screen}"
            assert self._process.poll() is None, f"the process has ended; the screen is\n{self.screen}"
            self.read_for(0.05)


def _own_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _decoded(data: bytes) -> tuple[str, bytes]:
    """The text of complete characters, and the bytes of a character or an escape sequence that is not complete yet."""
    end = len(data)
    if (start := data.rfind(b"\x1b", max(end - 16, 0))) >= 0 and not re.match(
        rb"\x1b(\[[?0-9;]*[A-Za-z]|[()=>])", data[start:]
    ):
        end = start
    for cut in range(4):
        try:
            return data[: end - cut].decode(), data[end - cut :]
        except UnicodeDecodeError:
            continue
    raise UnicodeDecodeError("utf-8", data, 0, len(data), "not text")
