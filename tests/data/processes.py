"""Sessions as processes of their own, for tests of what they share."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE_S = 200.0
"""How long a busy machine may take for what is a matter of seconds."""

SESSION = """
import sys
from bluesky import RunEngine
from ebl_autonomy import connect
connection = connect(None, directory=sys.argv[1], readable=sys.argv[2:])
held = connection.client
print(connection.uri, flush=True)
for line in sys.stdin:
    try:
        print(eval(line), flush=True)
    except Exception as error:
        print(repr(error), flush=True)
connection.close()
"""


def wait_for(condition: Callable[[], Any], seconds: float = PATIENCE_S) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return value


class Session:
    """Another session of a data folder. It evaluates what it is sent; `connection` and `held`, a client, are there."""

    def __init__(self, directory: Path, *readable: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SESSION, str(directory), *map(str, readable)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a process group of its own, as a terminal gives each command
        )
        self.uri = self._line()

    def __call__(self, expression: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()
        return self._line()

    def end(self) -> None:
        self.process.communicate(timeout=PATIENCE_S)

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@contextmanager
def session(directory: Path, *readable: Path) -> Iterator[Session]:
    one = Session(directory, *readable)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.communicate()
