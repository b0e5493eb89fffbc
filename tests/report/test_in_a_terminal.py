"""The progress bar in an IPython session on a pseudo terminal: with moving motors, a pause, a resume and a stop."""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.terminal import Screen, Terminal

pytestmark = pytest.mark.integration

SESSION = """
from bluesky import RunEngine
from bluesky.utils import ProgressBarManager
from ophyd.sim import SynAxis, SynSignal
from ebl_autonomy.plans import optimize
from ebl_autonomy.report import ProgressBar

RE = RunEngine({})
bar = ProgressBar()
RE.subscribe(bar)
x, y = SynAxis(name="x"), SynAxis(name="y")
det = SynSignal(func=lambda: (x.position - 0.3) ** 2 + y.position**2, name="det")

def alignment(points, seconds):
    x.delay = y.delay = seconds
    vocs = {"variables": {"x": [-1.0, 1.0], "y": [-1.0, 1.0]}, "objectives": {"det": "MINIMIZE"}}
    envelope = {"limits": {"x": (-1.0, 1.0), "y": (-1.0, 1.0)}}
    return optimize([det], [x, y], "sobol", vocs=vocs, max_points=points, envelope=envelope)
"""
HOOKS = {
    "without a hook": "",
    "bluesky's bars": "RE.waiting_hook = ProgressBarManager()",
    "our line": "RE.waiting_hook = bar.show_moves",
}
BAR = re.compile(r"━|\[In progress|\[Complete|waits for|sobol|\d/\d")


@pytest.fixture(params=HOOKS)
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    startup = tmp_path / "startup.py"
    startup.write_text(SESSION + HOOKS[request.param])
    command = [sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner", "--profile-dir", str(tmp_path)]
    with Terminal([*command, "-i", str(startup)], columns=100) as terminal:
        terminal.wait_until(prompt(1))
        yield terminal


def request_pause(session: Terminal, time: int) -> None:
    """Press Ctrl-C until it counts: bluesky takes none within 0.1 s after a plan begins or resumes."""
    for _ in range(10):
        session.read_for(0.5)
        session.type("\x03")
        with contextlib.suppress(AssertionError):
            session.wait_until(lambda screen: str(screen).count("Deferred pause acknowledged") >= time, 15.0)
            return
    raise AssertionError(f"no Ctrl-C was taken; the screen is\n{session.screen}")


def prompt(number: int) -> Callable[[Screen], bool]:
    return lambda screen: screen.last_line.startswith(f"In [{number}]:")


def bars(screen: Screen) -> list[str]:
    """The lines of the screen that hold a bar, except what the user typed."""
    return [line for line in str(screen).splitlines() if BAR.search(line) and not line.startswith("In [")]


def test_a_finished_bar_disappears(session: Terminal) -> None:
    session.type("RE(alignment(4, 0.3))\n")
    session.wait_until(lambda screen: any("1/4" in line for line in bars(screen)))
    session.wait_until(prompt(2))
    session.type("RE(alignment(3, 0.0))\n")
    session.wait_until(prompt(3))
    session.read_for(0.5)
    assert bars(session.screen) == []


def test_nothing_is_drawn_while_a_run_is_paused_and_the_prompt_can_be_used(session: Terminal) -> None:
    session.type("RE(alignment(200, 2.0))\n")
    session.wait_until(lambda screen: any(" 1/200" in line for line in bars(screen)))
    request_pause(session, 1)
    session.read_for(0.2)  # a Ctrl-C that follows at once does not count
    session.type("\x03")
    session.wait_until(prompt(2))
    assert session.read_for(3.0) == ""  # the motors need no more than 2 s to say that they are there
    assert session.screen.last_line == "In [2]:"
    assert bars(session.screen) == []
    lines = [line.removeprefix("^C") for line in str(session.screen).splitlines()]
    assert {"A 'hard pause' has been requested.", "Pausing..."} <= set(lines)  # without the rest of a bar behind them
    session.type("1 + 1\n")
    session.wait_until(prompt(3))
    assert "Out[2]: 2" in str(session.screen)

    session.type("RE.resume()\n")
    session.wait_until(lambda screen: bool(bars(screen)))
    request_pause(session, 2)
    session.read_for(0.2)
    session.type("\x03")
    session.wait_until(prompt(4))
    assert bars(session.screen) == []
    session.type("RE.stop()\n")
    session.wait_until(prompt(5))
    session.read_for(0.5)
    assert bars(session.screen) == []
    assert "Error" not in str(session.screen)
