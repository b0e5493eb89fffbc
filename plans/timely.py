"""Devices whose asynchronous reading must end within a time limit."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from ebl_autonomy.errors import DeviceTimeoutError
from ebl_autonomy.plans.assets import AssetDocuments

__all__ = ["READ_TIMEOUT_S", "delegated", "timely"]

READ_TIMEOUT_S: Final = 60.0
"""Longest time that a device may take for an answer, s: longer than any readout, shorter than a night."""

_DELEGATED: Final = (
    "name",
    "parent",
    "describe",
    "hints",
    "read_configuration",
    "describe_configuration",
    "collect_asset_docs",
    "get_index",
    "pause",
    "resume",
)
"""What the RunEngine asks of a device that it reads; a stand-in has those that its device has."""


def timely(device: Any, assets: AssetDocuments | None = None) -> Any:
    """The device itself, or a stand-in for one that reads asynchronously or writes files, whose reading ends in time.

    The RunEngine waits without limit for a reading that is a coroutine. The stand-in equals the device, so that the
    RunEngine takes both for the same. A reading that takes longer than `READ_TIMEOUT_S` raises DeviceTimeoutError.
    The documents about its files go through `assets`, if given.
    """
    slow = inspect.iscoroutinefunction(getattr(device, "read", None))
    files = assets if hasattr(device, "collect_asset_docs") else None
    if not slow and files is None:
        return device
    members: dict[str, Any] = delegated(device, _DELEGATED)
    members["read"] = (lambda _: within(device.read, device.name)) if slow else (lambda _: device.read())
    if files is not None:
        members["collect_asset_docs"] = lambda _, *args: files.collect(device, *args)
    members["__eq__"] = lambda _, other: device == other
    members["__hash__"] = lambda _: hash(device)
    members["__repr__"] = lambda _: repr(device)
    return type(f"Timely{type(device).__name__}", (), members)()


def delegated(device: Any, names: Sequence[str]) -> dict[str, Any]:
    """Those members of a stand-in's class that its device has: protocols of bluesky look for them in the class."""
    return {name: _from(device, name) for name in names if hasattr(device, name)}


def _from(device: Any, name: str) -> property:
    return property(lambda _: getattr(device, name))


async def within(call: Callable[[], Awaitable[Any]], name: str) -> Any:
    """The result of an asynchronous call to the device `name`.

    Raises
    ------
    DeviceTimeoutError
        If the device does not answer within `READ_TIMEOUT_S`.
    """
    try:
        async with asyncio.timeout(READ_TIMEOUT_S) as limit:
            return await call()
    except TimeoutError as error:
        if not limit.expired():
            raise  # the device's own
        raise DeviceTimeoutError([name], f"no answer from {name!r} within {READ_TIMEOUT_S:g} s") from error
