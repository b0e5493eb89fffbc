"""Ctrl-C in a test: a press that the RunEngine is sure to see, and a handler that has done all when it is left."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bluesky import RunEngine
from bluesky.utils import SigintHandler

JOIN_S = 60.0


def press_ctrl_c() -> None:
    """Send SIGINT to the main thread, as a terminal does.

    ``os.kill`` will not do: the system may hand its signal to any thread, and Python then runs the handler only once
    the main thread, which waits for the plan to end, wakes up by itself.
    """
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGINT)


@contextmanager
def settled_sigint_handler(RE: RunEngine) -> Iterator[None]:
    """bluesky's handler of Ctrl-C; on leaving it, the threads that it began have ended. For ``RE.context_managers``.

    The handler lets a thread of its own ask for the pause, and does not wait for that thread when it is left: after a
    second press, a run that is resumed at once may be paused by it again.
    """
    before = set(threading.enumerate())
    with SigintHandler(RE):
        begun = set(threading.enumerate()) - before
        yield
    for thread in begun:
        thread.join(JOIN_S)
        assert not thread.is_alive(), f"{thread} did not end"
