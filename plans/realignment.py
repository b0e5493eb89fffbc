"""The beam of a survey is aligned again before a fine scan, where that pays."""

from collections.abc import Mapping, Sequence
from typing import Any

from bluesky.utils import MsgGenerator

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans.optimization import optimize
from ebl_autonomy.plans.result import RunResult

__all__ = ["Realign"]


class Realign:
    """Aligns the beam again before a fine scan, if the agent that aligned it finds that this pays.

    Parameters
    ----------
    agent : BayesianAgent
        With the results of the alignment; its ``drift().realign`` decides.
    detectors, motors
        Of the alignment, as for `optimize`.
    max_points : int
        Points for one realignment.
    settings : dict, optional
        More arguments of `optimize`.
    """

    def __init__(
        self,
        agent: Any,
        detectors: Sequence[Any],
        motors: Sequence[Any],
        max_points: int = 15,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if not callable(getattr(agent, "drift", None)):
            raise BadInputError(f"agent={agent!r}: give an agent with drift(), such as the BayesianAgent that aligned")
        self.agent = agent
        self._arguments = (list(detectors), list(motors), agent)
        self._settings = {"finish": "best", **dict(settings or {}), "max_points": max_points}

    def __call__(self) -> MsgGenerator[RunResult | None]:
        """The alignment, if it pays."""
        if not self.agent.drift().realign:
            return None
        result: RunResult = yield from optimize(*self._arguments, **self._settings)
        return result
