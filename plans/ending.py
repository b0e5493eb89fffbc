"""The end of a steered run in one line: printed for whoever watches, and the text of its `RunResult`."""

import contextlib
import shlex
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ebl_autonomy.records import BestReading, Recommendation
from ebl_autonomy.report.wording import at, number, quantity, recommended_values

__all__ = ["AT_RECOMMENDED", "SHORT_UID", "announce", "ending_line", "position_text", "report_command"]

AT_RECOMMENDED: Final = "are at the recommended point"
SHORT_UID: Final = 8
"""Number of characters of a uid that the line shows: enough to find the run by them."""
MOST_OF_REASON: Final = 300
PART: Final = "; "
"""What stands between the parts of the line."""


def announce(line: str) -> None:
    """Print a line on standard output: in IPython, and on the console of a queueserver's worker.

    In a terminal, where it is too long for the window, each of its parts begins a line and is wrapped between words.
    Whoever does not want to see it redirects standard output (``contextlib.redirect_stdout``), as for all that the
    RunEngine prints.
    """
    with contextlib.suppress(OSError, ValueError):  # a console that is gone must not fail a run
        if sys.stdout.isatty():
            line = _for_window(line, shutil.get_terminal_size().columns)
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def _for_window(line: str, columns: int) -> str:
    """The line, or its parts below each other, wrapped between words but for words that are longer than the window."""
    if len(line) < columns:
        return line
    first, *others = line.split(PART)
    ways: Any = {"subsequent_indent": "    ", "break_long_words": False, "break_on_hyphens": False}
    wrapped = textwrap.wrap(first, columns - 1, **ways)
    for part in others:
        wrapped += textwrap.wrap(part, columns - 1, initial_indent="  ", **ways)
    return "\n".join(wrapped)


def ending_line(
    uid: str,
    reason: str,
    rows: int,
    *,
    objectives: Sequence[str],
    units: Mapping[str, str],
    recommended: Recommendation | None,
    best_reading: BestReading | None,
    left_where: str,
    left_at: Mapping[str, float],
    report: str,
) -> str:
    """Why a run ended, what it found, where the motors are, and what can be done next.

    Parameters
    ----------
    uid, reason : str
    rows : int
        Number of recorded rows.
    objectives : sequence of str
        Empty if the run only explored.
    units : mapping of str to str
        Of the objectives and the motors.
    recommended, best_reading, left_where, left_at
        See `RunResult`.
    report : str
        The command that writes the report; empty if there is none.
    """
    reason = reason if len(reason) <= MOST_OF_REASON else f"{reason[: MOST_OF_REASON - 1]}…"
    parts = [f"run {uid[:SHORT_UID]} ended after {rows} {'row' if rows == 1 else 'rows'}: {reason}"]
    if recommended is not None and objectives:
        values = recommended_values(recommended, objectives, units)
        parts.append(f"recommended: {values} at {position_text(recommended.point, units)}")
    if best_reading is not None and objectives:
        value = quantity(objectives[0], number(best_reading.outcome.get(objectives[0])), units)
        same = recommended is not None and dict(recommended.point) == dict(best_reading.point)
        where = "there" if same else f"at {position_text(best_reading.point, units)}"
        parts.append(f"best reading: {value} {where}")
    if objectives and recommended is None and best_reading is None:
        parts.append("no valid measurement")
    positions = "" if left_where == AT_RECOMMENDED or not left_at else f" ({position_text(left_at, units)})"
    parts.append(f"motors {left_where}{positions}")
    if left_where != AT_RECOMMENDED and (recommended is not None or best_reading is not None):
        parts.append(f"to the best point: RE(go_to_best({uid[:SHORT_UID]!r}))")
    parts.append(f"report: {report}" if report else "for a report: connect(RE) before the run")
    return " ".join(PART.join(parts).split())


def report_command(uid: str) -> str:
    """The command that writes the report of a run that `connect` is writing to Tiled; empty for any other run."""
    loaded = sys.modules.get("ebl_autonomy.data.connection")  # loads Tiled: without it there is no connection
    connection = loaded.connection_of(uid) if loaded is not None else None
    if connection is None:
        return ""
    where = ""
    if not connection.is_embedded:
        where = f" --tiled {shlex.quote(connection.uri)}"
    elif not connection.is_default:
        where = f" --directory {shlex.quote(str(connection.directory))}"
    return f"ebl-autonomy report {uid[:SHORT_UID]}{where}"


def position_text(point: Mapping[str, float], units: Mapping[str, str]) -> str:
    """Motor positions in words, to as many digits as a user needs to find them again."""
    return at(point, units, digits=6)
