"""Programming errors in functions of the user: which exceptions they are, where they are, and what they end."""

import inspect
import linecache
import logging
import site
import sysconfig
from collections.abc import Callable, Collection, Generator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

from bluesky.utils import IllegalMessageSequence, InvalidCommand, Msg, MsgGenerator

from ebl_autonomy.errors import UserFunctionError

__all__ = ["PROGRAMMING_ERRORS", "called", "is_ours", "programming_error", "watched"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

PROGRAMMING_ERRORS: Final = (
    AssertionError,
    AttributeError,
    ImportError,
    KeyError,
    NameError,
    NotImplementedError,
    RecursionError,
    SyntaxError,
    TypeError,
)
"""Exceptions that another point does not mend. All others, such as ValueError, may depend on what was measured."""

_NOT_OF_A_PAUSE: Final = (ImportError, NameError, NotImplementedError, RecursionError, SyntaxError)
"""Those that a message without an answer, which a pause cut short, cannot cause."""

_REFUSED_MESSAGES: Final = (IllegalMessageSequence, InvalidCommand)
"""With these the RunEngine refuses a message of the stub, whatever the devices do."""


def programming_error(
    what: str, error: Exception, function: Any = None, keys: Collection[str] | None = None
) -> UserFunctionError:
    """The error that ends a run, with the place of the mistake; its cause is `error`.

    Parameters
    ----------
    what : str
        The function, such as ``"derivation 'width'"``.
    error : Exception
        What it raised.
    function : callable, optional
        The function itself, for the place of an error that is not in its body (a wrong number of arguments).
    keys : collection of str, optional
        The keys that there are, for a KeyError.
    """
    place = _place(error.__traceback__) or _definition(function)
    there_are = f". There are the keys {sorted(keys)}" if isinstance(error, KeyError) and keys is not None else ""
    found = UserFunctionError(
        f"{what} has a programming error: {type(error).__name__}: {error}{place}{there_are}. Correct it and start "
        "again; what was measured is in the run."
    )
    found.__cause__ = error
    return found


def called(what: str, function: Callable[..., T], *args: Any) -> T:
    """The result of a user's function, or of one of ours that stands in its place and has no programming errors.

    Raises
    ------
    UserFunctionError
        If the function has a programming error.
    Exception
        Whatever else the function raises.
    """
    try:
        return function(*args)
    except PROGRAMMING_ERRORS as error:
        if is_ours(function):
            raise
        raise programming_error(what, error, function) from error


def is_ours(thing: Any) -> bool:
    """Whether a function or an object is one of this package, and not the user's."""
    return str(getattr(thing, "__module__", "")).startswith("ebl_autonomy.")


def watched(
    steps: Generator[Any, Any, T], what: str, function: Any = None, interrupted: Callable[[], bool] | None = None
) -> MsgGenerator[T]:
    """Run a user's generator of messages; an error that the RunEngine threw into it stays what it is.

    Parameters
    ----------
    steps : generator
    what : str
        The generator's function, such as ``"the measuring stub 'measure'"``.
    function : callable, optional
        The function itself; see `programming_error`.
    interrupted : callable, optional
        Whether a pause may have cut a message short. The stub then got no answer, and is not to blame for most errors.

    Raises
    ------
    UserFunctionError
        If the generator has a programming error, or the RunEngine refused one of its messages as illegal.
    Exception
        Whatever else the generator raises.
    """
    answer: Any = None
    failure: Exception | None = None
    while True:
        try:
            message = steps.throw(failure) if failure is not None else steps.send(answer)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        except Exception as error:
            if not (_is_refused_message(error) or (isinstance(error, PROGRAMMING_ERRORS) and error is not failure)):
                raise
            if interrupted is not None and interrupted() and not isinstance(error, _NOT_OF_A_PAUSE):
                logger.warning("%s failed after a pause, and runs again: %s: %s", what, type(error).__name__, error)
                raise
            raise programming_error(what, error, function) from error
        if not isinstance(message, Msg):
            place = _position(steps)
            steps.close()
            raise UserFunctionError(
                f"{what} has a programming error: it yields {message!r:.80}, which is no message of bluesky{place}. "
                "Write 'yield from' before a plan stub, such as 'yield from bps.mv(motor, 1.0)'."
            )
        answer, failure = None, None
        try:
            answer = yield message
        except Exception as error:  # noqa: BLE001 - passed on to the user's generator
            failure = error


def _is_refused_message(error: Exception) -> bool:
    if isinstance(error, _REFUSED_MESSAGES):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    # The RunEngine asserts that the device of a message can do what the message wants.
    return (
        isinstance(error, AssertionError)
        and trace is not None
        and (trace.tb_frame.f_globals.get("__name__"), trace.tb_frame.f_code.co_name)
        == ("bluesky.protocols", "check_supports")
    )


# -- places ----------------------------------------------------------------------------------------------------


def _place(trace: TracebackType | None) -> str:
    """The innermost frame in the user's code; in an installed package, the first frame that is not ours."""
    found, first = "", ""
    while trace is not None:
        frame, line = trace.tb_frame, trace.tb_lineno
        if not str(frame.f_globals.get("__name__", "")).startswith("ebl_autonomy.plans"):
            first = first or _told(frame.f_code.co_filename, line)
            if not _is_library(frame.f_code.co_filename):
                found = _told(frame.f_code.co_filename, line)
        trace = trace.tb_next
    return found or first


def _position(steps: Any) -> str:
    """Where a generator stands."""
    while getattr(getattr(steps, "gi_yieldfrom", None), "gi_frame", None) is not None:
        steps = steps.gi_yieldfrom
    frame = getattr(steps, "gi_frame", None)
    return _told(frame.f_code.co_filename, frame.f_lineno) if frame is not None else ""


def _definition(function: Any) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
    return _told(code.co_filename, code.co_firstlineno) if code is not None else ""


def _told(file: str, line: int) -> str:
    source = linecache.getline(file, line).strip()
    return f", at {file}:{line}{source and f' ({source:.100})'}"


def _is_library(file: str) -> bool:
    if file.startswith(("<frozen", "<__array")):
        return True
    path = Path(file)
    return any(path.is_relative_to(folder) for folder in _LIBRARIES)


_LIBRARIES: Final = {
    *(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    *(Path(folder) for folder in (*site.getsitepackages(), site.getusersitepackages())),
}
