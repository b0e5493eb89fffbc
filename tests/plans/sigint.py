"""Ctrl-C in a test: a signal that surely reaches the RunEngine, and a handler that leaves no thread behind."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bluesky import RunEngine
from bluesky.utils import SigintHandler

JOIN_S = 60.0


def press_ctrl_c() -> None:
    """Send SIGINT to the main thread, as a terminal does.

    ``os.kill`` is not enough: the system may deliver its signal to any thread. Python then runs the handler only when
    the main thread, which waits for the plan to end, wakes up by itself.
    """
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGINT)


@contextmanager
def settled_sigint_handler(RE: RunEngine) -> Iterator[None]:
    """bluesky's handler of Ctrl-C, for ``RE.context_managers``; on exit it joins the threads that it started.

    The original handler requests the pause from a thread and does not join that thread on exit. After a second press,
    the thread may pause a run again that was resumed at once.
    """
    before = set(threading.enumerate())
    with SigintHandler(RE):
        begun = set(threading.enumerate()) - before
        yield
    for thread in begun:
        thread.join(JOIN_S)
        assert not thread.is_alive(), f"{thread} did not end"
