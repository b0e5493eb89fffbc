"""What a run found: what the agent recommends, the best reading, and where the motors were left.

These are three facts. The luckiest of many noisy readings is not what a model recommends, and the motors may stand
elsewhere because the user asked for it or a move was refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Best", "BestReading", "Decision", "Recommendation"]


@dataclass(frozen=True)
class Decision:
    """What an agent says about one proposal of its own (`ebl_autonomy.agents.Explains`).

    Attributes
    ----------
    mean, std : mapping of outcome name to float
        Prediction at the proposed point, in the outcome's own unit; empty where the agent predicts nothing.
    acquisition : float
        Value of the acquisition function at the point; NaN if there is none.
    reason : str
        In words: ``"start"``, ``"look around"``, ``"log-EI"``, ``"grid"`` ...
    model_version : str
        Changes whenever the model that decided changed in kind, for example ``"botorch/SingleTaskGP"``.
    """

    mean: Mapping[str, float] = field(default_factory=dict)
    std: Mapping[str, float] = field(default_factory=dict)
    acquisition: float = math.nan
    reason: str = ""
    model_version: str = ""


@dataclass(frozen=True)
class Recommendation:
    """The point that an agent recommends: of several objectives the compromise, or one point of the front.

    Attributes
    ----------
    point : dict of str to float
        The variables, in the motors' units.
    outcome : dict of str to float
        What was measured there.
    mean, std : dict of str to float
        What the model says of the point now, as mean and standard deviation; empty if the agent has no model.
    feasible : bool
        Whether every outcome constraint held there.
    """

    point: dict[str, Any]
    outcome: dict[str, float]
    mean: dict[str, float] = field(default_factory=dict)
    std: dict[str, float] = field(default_factory=dict)
    feasible: bool = True


Best = Recommendation
"""The name before there were three facts."""


@dataclass(frozen=True)
class BestReading:
    """The best value of the (first) objective among the valid rows that hold all constraints.

    Attributes
    ----------
    proposal_id : str
        The proposal whose row holds it.
    point : dict of str to float
        The variables, in the motors' units.
    outcome : dict of str to float
        What was read there.
    """

    proposal_id: str
    point: dict[str, float]
    outcome: dict[str, float]
