"""Which devices are to blame for a failure, by their names, and what kind of failure it is."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from bluesky.utils import FailedPause, FailedStatus, IllegalMessageSequence, InvalidCommand, RunEngineControlException
from ophyd.utils import DisconnectedError, LimitError

from ebl_autonomy.errors import BadInputError, DeviceFailedError, DeviceTimeoutError, EblError

__all__ = [
    "NO_FAULT",
    "answering",
    "blamed",
    "blaming",
    "devices_of",
    "failure",
    "is_limit_error",
    "is_no_answer",
    "late",
    "owner",
]

NO_FAULT: Final = (RunEngineControlException, FailedPause)
"""Exceptions with which the RunEngine itself ends a plan."""

_LIMITS: Final = {"MotorLimitsError", "MotorLimitsException"}
"""Errors of ophyd-async, which is an extra, on a position beyond a motor's limits."""
_NO_ANSWER: Final = {"NotConnectedError", "NotConnected", "CANothing", "Disconnected"}
"""Errors of ophyd-async, aioca and p4p, which are extras, on a device that cannot be reached."""


def is_limit_error(error: BaseException | None) -> bool:
    """Whether a motor refused a position because of its limits, with an error of ophyd or ophyd-async or behind one."""
    return any(isinstance(one, LimitError) or _is_named(one, _LIMITS) for one in _chain(error))


def is_no_answer(error: BaseException) -> bool:
    """Whether a device raised `error` because it cannot be reached, and not because it refuses a position."""
    return any(isinstance(one, (OSError, DisconnectedError)) or _is_named(one, _NO_ANSWER) for one in _chain(error))


def blamed(device: Any, error: Exception, said: str) -> Exception:
    """The error that names the device of which a call raised `error`; an error that needs no device is unchanged.

    Parameters
    ----------
    device : any device
    error : Exception
        A `FailedStatus` belongs to the device whose status failed: the RunEngine throws it into whichever step is next.
    said : str
        What the device could not do, for example ``"it cannot be read"``.
    """
    if isinstance(error, (EblError, IllegalMessageSequence, InvalidCommand, *NO_FAULT)):
        return error
    if isinstance(error, FailedStatus):
        return failure({}, error)
    return DeviceFailedError([_name(device)], f"{said}: {type(error).__name__}: {error}")


@contextmanager
def blaming(device: Any, said: str) -> Iterator[None]:
    """Raise an error of the block as `blamed` names it."""
    try:
        yield
    except Exception as error:
        if (named := blamed(device, error, said)) is error:
            raise
        raise named from error


@contextmanager
def answering(device: Any) -> Iterator[None]:
    """Raise an error of the block, in which a device is queried before a run, as bad input that names the device.

    Raises
    ------
    BadInputError
        If the device does not answer.
    """
    try:
        with blaming(device, "it does not answer"):
            yield
    except (DeviceFailedError, DeviceTimeoutError) as error:
        raise BadInputError(f"{error}. Connect or repair it before the run") from error


def failure(begun: Mapping[str, Any], error: Exception) -> DeviceFailedError:
    """The error that names the failed devices, from a failed status or from a call that raised.

    Parameters
    ----------
    begun : mapping of str to status or None
        The statuses of devices that work at the same time, by device name; None for one that gave none.
    error : Exception
    """
    failed: Any = None
    said: BaseException = error
    if isinstance(error, FailedStatus):
        failed = error.args[0] if error.args else error
        said = error.__cause__ if isinstance(error.__cause__, Exception) else error
    found = {name: said for name, status in begun.items() if status is failed}
    if failed is not None:
        for name, status in begun.items():
            if name not in found and _has_failed(status):
                found[name] = _exception(status) or said
    # The RunEngine throws a failure into the current step of the plan. The failure may belong to an earlier step, or
    # carry another status object than the one that failed.
    names = list(found) or owner(failed) or [name for name, status in begun.items() if status is None] or ["a device"]
    texts = dict.fromkeys(f"{type(one).__name__}: {one}" for one in (found.values() or [said]))
    return DeviceFailedError(names, "; ".join(texts))


def late(begun: Mapping[str, Any]) -> list[str]:
    """Names of the devices that have not finished, from their statuses."""
    return [name for name, status in begun.items() if status is None or not status.done] or list(begun)


def owner(status: Any) -> list[str]:
    """Names of the devices to which a status belongs, as far as it tells; of a joint status, of its failed parts."""
    parts = [getattr(status, side, None) for side in ("left", "right")]  # of ophyd's `status & status`
    if failed := [part for part in parts if part is not None and _has_failed(part)]:
        return list(dict.fromkeys(name for part in failed for name in owner(part)))
    for attribute in ("obj", "device", "pos"):
        if name := getattr(getattr(status, attribute, None), "name", None):
            return [str(name)]
    name = getattr(status, "_name", None)  # of ophyd-async, which knows it from no public attribute
    return [name] if isinstance(name, str) and name else []


def devices_of(error: BaseException | None) -> tuple[str, ...]:
    """Names of the devices that an error, or the error behind it, blames."""
    for one in _chain(error):
        if names := getattr(one, "devices", ()):
            return tuple(names)
        if isinstance(one, FailedStatus) and one.args and (names := owner(one.args[0])):
            return tuple(names)
    return ()


def _has_failed(status: Any) -> bool:
    return bool(getattr(status, "done", False)) and getattr(status, "success", True) is False


def _exception(status: Any) -> BaseException | None:
    ask = getattr(status, "exception", None)
    return ask() if callable(ask) else None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those behind it."""
    while error is not None:
        yield error
        error = error.__cause__


def _is_named(error: BaseException, names: set[str]) -> bool:
    return any(kind.__name__ in names for kind in type(error).__mro__)


def _name(device: Any) -> str:
    return str(getattr(device, "name", None) or repr(device))
