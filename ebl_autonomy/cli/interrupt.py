"""Ctrl-C in a command that measures: the measurement ends at its next checkpoint, and the report is not cut short."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator
from types import FrameType
from typing import Any, Self

from bluesky.preprocessors import plan_mutator
from bluesky.utils import DuringTask, Msg

__all__ = ["Attentive", "GracefulInterrupt"]

LEAVE_AT_ONCE = 3
"""Number of presses after which the command is left at once."""


class GracefulInterrupt:
    """While it is entered, from the call of `interruptible` on, Ctrl-C asks the plan to pause and does nothing else.

    bluesky's own handler cannot do that: it loses a press while the RunEngine starts, and lets one through as a
    KeyboardInterrupt as soon as the plan has ended, which would cut the report short. The third press ends the process
    at once; the documents of the run are in its journal.
    """

    def __init__(self) -> None:
        self._measuring = self._paused = False
        self._presses = 0
        self._before: Any = None

    def __enter__(self) -> Self:
        self._before = signal.getsignal(signal.SIGINT)
        if self._before is not signal.SIG_IGN:  # as of a job in the background, which a terminal must not end
            signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def interruptible(self, plan: Generator[Msg, Any, Any]) -> Generator[Msg, Any, Any]:
        """The plan, which pauses at its next checkpoint after a press."""
        self._measuring = True

        def pause_after(message: Msg) -> tuple[Any, None]:
            if self._presses and not self._paused and message.command == "checkpoint":
                self._paused = True  # once: what the plan does to end is not to be paused
                return _pause(message), None
            return None, None

        return plan_mutator(plan, pause_after)  # type: ignore[no-any-return]

    def _press(self, number: int, frame: FrameType | None) -> None:
        self._presses += 1
        if not self._measuring:
            raise KeyboardInterrupt
        if self._presses >= LEAVE_AT_ONCE:
            os._exit(128 + signal.SIGINT)  # the RunEngine has threads that an exception here would not end
        # Not print: the signal may have come in the middle of one.
        os.write(2, b"\ninterrupted: the report of what was measured follows (Ctrl-C three times: leave at once)\n")


class Attentive(DuringTask):
    """Waits for the RunEngine in short steps; for its argument `during_task`.

    The system may deliver a signal to any thread, and Python runs the handler in the main thread only, when that wakes.
    """

    def __init__(self) -> None:  # typed, unlike the one above it
        pass

    def block(self, blocking_event: threading.Event) -> None:
        """Wait until the plan has ended or paused."""
        while not blocking_event.wait(0.1):
            pass


def _pause(checkpoint: Msg) -> Generator[Msg, Any, Any]:
    result = yield checkpoint
    yield Msg("pause", None, defer=False)
    return result
