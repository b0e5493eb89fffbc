"""An agent with a recommendation, and runs that are ended by hand."""

from typing import Any

import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from scripted import Scripted, at

from ebl_autonomy.records import Recommendation

RECOMMENDED = Recommendation(at(0.5, -0.25), {"bowl": 0.01}, {"bowl": 0.01234}, {"bowl": 0.00321})


class Advised(Scripted):
    """An agent with a recommendation and an explanation."""

    asked = 0

    def best(self) -> Recommendation:
        self.asked += 1
        return RECOMMENDED

    def explain(self) -> str:
        return "a bowl"


def pause_and(RE: RunEngine, how: str, plan: Any) -> None:
    """Run a plan into its pause, and end it there."""
    with pytest.raises(RunEngineInterrupted):
        RE(plan)
    getattr(RE, how)()


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The line of the latest run; the only one that it printed."""
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("run ")]
    return line
