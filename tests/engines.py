"""RunEngines that leave nothing behind."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from bluesky import RunEngine


@contextmanager
def run_engine() -> Iterator[RunEngine]:
    """A RunEngine whose thread ends and whose loop is closed afterwards.

    A loop that is merely stopped warns as it is collected as garbage: in the middle of whichever test runs then.
    """
    engine = RunEngine({}, call_returns_result=True)
    yield engine
    if engine.state != "idle":
        engine.halt()
    close_loop(engine)


def close_loop(engine: RunEngine, timeout_s: float = 60.0) -> None:
    """End the thread that runs the engine's loop, and close the loop."""
    engine.loop.call_soon_threadsafe(engine.loop.stop)
    deadline = time.monotonic() + timeout_s
    while engine.loop.is_running():
        assert time.monotonic() < deadline, "the RunEngine's loop does not stop"
        time.sleep(1e-3)
    engine.loop.close()
