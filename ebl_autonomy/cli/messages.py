"""What commands print, and how they fail: in one line, with exit code 2."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape

from ebl_autonomy.errors import EblError

__all__ = ["errors", "plain_errors", "print_line", "screen"]

screen = Console()
errors = Console(stderr=True)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Print our own errors, the system's and the server's as one line without a traceback, and exit with code 2."""
    logging.getLogger("bluesky").setLevel(logging.CRITICAL)  # the RunEngine logs every failure with its traceback
    try:
        yield
    except BrokenPipeError:  # as of `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be flushed goes nowhere
        raise typer.Exit(1) from None
    except EblError as error:
        _fail(str(error))
    except OSError as error:  # e.g. a folder that cannot be written, or a full disk
        _fail(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
    except Exception as error:
        import httpx  # takes a while, and is loaded already where it can fail

        if not isinstance(error, httpx.HTTPError):
            raise
        _fail(f"the Tiled server did not answer as it should: {error}")


def _fail(text: str) -> None:
    errors.print(f"[red]error:[/red] {escape(text)}", soft_wrap=True, highlight=False)
    raise typer.Exit(2) from None


def print_line(line: str) -> None:
    """Print a line as it is, however long."""
    screen.print(line, soft_wrap=True, highlight=False, markup=False)
