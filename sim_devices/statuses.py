"""Waiting for the status of an ophyd device on an event loop."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

__all__ = ["finished"]


async def finished(status: Any) -> None:
    """Wait for an ophyd status, which threads of its own may finish; raises its error."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def tell(_: Any) -> None:
        with suppress(RuntimeError):  # nobody waits any more: the loop is closed
            loop.call_soon_threadsafe(done.set)

    status.add_callback(tell)
    await done.wait()
    if (error := status.exception(timeout=0.0)) is not None:
        raise error
