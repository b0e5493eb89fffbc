"""The findings of a run: the recommended point, the best reading, and the final motor positions.

The three can differ. A model does not recommend the luckiest of many noisy readings, and the motors may stand elsewhere
because the user wanted so or a move was refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["ELSEWHERE", "Best", "BestReading", "Decision", "Recommendation", "ending_text", "reason_of"]

ELSEWHERE: Final = "elsewhere: "
"""Beginning of the reason of a proposal that looks for another optimum than the best point so far, which goes on as
long as there are points: it says nothing of what is left to gain nearby."""
_MOTORS: Final = "; motors "


@dataclass(frozen=True)
class Decision:
    """An agent's explanation of one of its proposals (`ebl_autonomy.agents.Explains`).

    Attributes
    ----------
    mean, std : mapping of outcome name to float
        Prediction at the proposed point, in the outcome's own unit; empty if the agent predicts nothing.
    acquisition : float
        Value of the acquisition function at the point; NaN without an acquisition function.
    reason : str
        The reason in words: ``"start"``, ``"look around"``, ``"log-EI"``, ``"grid"`` ...
    model_version : str
        Identifies the kind of model that decided, for example ``"botorch/SingleTaskGP"``.
    """

    mean: Mapping[str, float] = field(default_factory=dict)
    std: Mapping[str, float] = field(default_factory=dict)
    acquisition: float = math.nan
    reason: str = ""
    model_version: str = ""


@dataclass(frozen=True)
class Recommendation:
    """The point that an agent recommends; with several objectives, the compromise or one point of the Pareto front.

    Attributes
    ----------
    point : dict of str to float
        The variables, in the motors' units.
    outcome : dict of str to float
        The measured outcomes, in their own units.
    mean, std : dict of str to float
        The model's present prediction of each outcome, in its own unit; empty if the agent has no model.
    feasible : bool
        Whether the measured outcomes satisfy every outcome constraint.
    """

    point: dict[str, Any]
    outcome: dict[str, float]
    mean: dict[str, float] = field(default_factory=dict)
    std: dict[str, float] = field(default_factory=dict)
    feasible: bool = True


Best = Recommendation
"""The former name of `Recommendation`."""


@dataclass(frozen=True)
class BestReading:
    """The best value of the first objective among the valid rows that satisfy all constraints.

    Attributes
    ----------
    proposal_id : str
        The proposal that the row belongs to.
    point : dict of str to float
        The variables, in the motors' units.
    outcome : dict of str to float
        The measured outcomes, in their own units.
    """

    proposal_id: str
    point: dict[str, float]
    outcome: dict[str, float]


def ending_text(reason: str, where: str, left_at: Mapping[str, float]) -> str:
    """The reason of a stop document: why the run ended, and where it left the motors.

    Parameters
    ----------
    reason : str
    where : str
        Where the motors are, such as ``"are at the recommended point"``.
    left_at : mapping of str to float
        Positions of the motors, in motor units.
    """
    positions = ", ".join(f"{name} = {value:.6g}" for name, value in left_at.items())
    return f"{reason}{_MOTORS}{where}: {positions}"


def reason_of(text: str) -> str:
    """Why the run ended, from the reason of its stop document."""
    return text.partition(_MOTORS)[0]
