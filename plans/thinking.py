"""Running an agent's work beside the RunEngine, so that pauses and suspenders go on while it thinks."""

import asyncio
import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from bluesky.utils import FailedStatus, Msg, MsgGenerator

from ebl_autonomy.errors import AgentError, ProgramExitError

__all__ = ["DaemonExecutor", "errors_for_exits", "think", "thought"]

T = TypeVar("T")


class DaemonExecutor(Executor):
    """Runs work in one daemon thread: work that hangs does not keep the program from ending.

    Parameters
    ----------
    name : str
        Name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._queue: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """See `concurrent.futures.Executor.submit`."""
        future: Future[T] = Future()
        self._queue.put((future, lambda: fn(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the thread after the work that it has; see `concurrent.futures.Executor.shutdown`."""
        while cancel_futures:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is not None:
                item[0].cancel()
        self._queue.put(None)
        if wait:
            self._thread.join()

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            future, work = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
                future.set_exception(error)


def think(executor: Executor, work: Callable[[], T], timeout_s: float = math.inf) -> MsgGenerator[T]:
    """Run `work` outside the RunEngine's loop and wait for its result; pauses and suspenders still work.

    Parameters
    ----------
    executor : Executor
    work : callable
    timeout_s : float
        Wall seconds to wait, those of a pause included; the work itself cannot be ended.

    Raises
    ------
    AgentError
        If there is no result in time.
    ProgramExitError
        If `work` tried to end the program.
    Exception
        Whatever else `work` raised.
    """
    future: Future[T] = executor.submit(work)
    deadline = time.monotonic() + timeout_s

    async def done() -> None:
        # Not asyncio.wrap_future: a pause cancels the awaited future, which must not cancel the work.
        loop, event = asyncio.get_running_loop(), asyncio.Event()

        def notify(_: Future[T]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed, so nothing waits any more
                loop.call_soon_threadsafe(event.set)

        future.add_done_callback(notify)
        left = None if math.isinf(timeout_s) else max(deadline - time.monotonic(), 0.0)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), left)

    while not future.done():  # a pause ends the wait early
        if time.monotonic() >= deadline:
            future.cancel()
            raise AgentError(f"the agent has not answered within {timeout_s:g} s")
        with contextlib.suppress(FailedStatus):  # of a motor that was stopped long ago, and says so only now
            yield Msg("wait_for", None, [done])
    try:
        return future.result()
    except SystemExit as error:
        raise ProgramExitError(error) from error


def thought(work: Callable[[], T]) -> MsgGenerator[T]:
    """The result of work that takes long, in a thread of its own, while the RunEngine goes on."""
    executor = DaemonExecutor("ebl-work")
    try:
        return (yield from think(executor, work))
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def errors_for_exits(plan: MsgGenerator[T]) -> MsgGenerator[T]:
    """Run `plan`, and raise an ordinary error if a user's function in it tries to end the program.

    A SystemExit in a plan would end the RunEngine's loop, for which the session then waits for ever.

    Raises
    ------
    ProgramExitError
        If the plan raised SystemExit.
    """
    try:
        return (yield from plan)
    except SystemExit as error:
        raise ProgramExitError(error) from error
