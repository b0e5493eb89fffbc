"""Small problems with cheap outcomes, one for each feature of a VOCS."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ebl_autonomy.space import VOCS, make_vocs

__all__ = ["Problem", "problems"]


@dataclass(frozen=True)
class Problem:
    """A VOCS and a function that computes its outcomes.

    Attributes
    ----------
    name : str
    feature : str
        Feature of the VOCS beyond continuous variables and one objective: ``""``, ``"constraints"``,
        ``"discrete"``, ``"contextual"``, ``"objectives"`` (two of them), ``"no objective"``, ``"explore"`` or
        ``"log scale"``.
    spec : mapping
        The VOCS as JSON.
    function : callable
        Maps a point (variables and constants) to all outcomes of the VOCS.
    """

    name: str
    feature: str
    spec: Mapping[str, Any]
    function: Callable[[Mapping[str, Any]], dict[str, float]]

    def vocs(self) -> VOCS:
        """Make a new VOCS."""
        return make_vocs(self.spec)

    def measure(self, point: Mapping[str, Any], number: int = 0) -> dict[str, Any]:
        """The result of measuring `point` as measurement `number`: variables, constants and outcomes."""
        vocs = self.vocs()
        inputs = {name: point[name] for name in (*vocs.variables, *vocs.constants) if name in point}
        if self.feature == "contextual":  # measured, not chosen: it varies by itself
            inputs["current"] = 400.0 - number % 5
        return {**inputs, **self.function(inputs)}


def problems() -> list[Problem]:
    """All problems, the plain ones first."""
    return [
        Problem("plain", "", {"variables": _XY, "objectives": {"f": "MINIMIZE"}}, lambda p: {"f": _bowl(p)}),
        Problem(
            "units, constants, observables",
            "",
            {
                "variables": {"x": [2e-6, 5e-6], "y": [1e5, 1e6]},
                "objectives": {"f": "MAXIMIZE"},
                "constants": {"sample": "Si", "exposure": 0.5},
                "observables": ["temperature"],
            },
            lambda p: {"f": -_bowl({"x": (p["x"] - 2e-6) / 3e-6, "y": p["y"] / 1e6}), "temperature": 20.0 + p["x"]},
        ),
        Problem(
            "constraints",
            "constraints",
            {
                "variables": _XY,
                "objectives": {"f": "MINIMIZE"},
                "constraints": {
                    "flux": ["GREATER_THAN", 1.0],
                    "width": ["LESS_THAN", 3.0],
                    "height": ["BOUNDS", -3.0, 3.0],
                },
            },
            lambda p: {"f": _bowl(p), "flux": p["x"] + p["y"], "width": p["x"] - p["y"], "height": p["y"]},
        ),
        Problem(
            "discrete",
            "discrete",
            {
                "variables": {**_XY, **_FILTER},
                "objectives": {"f": "MINIMIZE"},
            },
            lambda p: {"f": _bowl(p) + (p["filter"] - 1.0) ** 2},
        ),
        Problem(
            "a wheel",
            "discrete",
            {
                "variables": {"filter": {"type": "DiscreteVariable", "values": [*range(12), 50], "default_value": 0}},
                "objectives": {"f": "MAXIMIZE"},
            },
            lambda p: {"f": math.sin(2.0 * p["filter"])},  # in no order
        ),
        Problem(
            "decades",
            "log scale",
            {
                "variables": {
                    "slit": {"type": "ContinuousVariable", "domain": [1e-6, 1.0], "log_scale": True},
                    "y": [-2.0, 2.0],
                },
                "objectives": {"f": "MINIMIZE"},
            },
            lambda p: {"f": (math.log10(p["slit"]) + 4.0) ** 2 + (p["y"] - 0.3) ** 2},
        ),
        Problem(
            "contextual",
            "contextual",
            {"variables": {**_XY, "current": "CONTEXTUAL"}, "objectives": {"f": "MINIMIZE"}},
            lambda p: {"f": _bowl(p) * 400.0 / p["current"]},
        ),
        Problem(
            "two objectives",
            "objectives",
            {"variables": _XY, "objectives": {"f": "MINIMIZE", "g": "MAXIMIZE"}},
            lambda p: {"f": _bowl(p), "g": -((p["x"] - 1.0) ** 2) - (p["y"] + 1.0) ** 2},
        ),
        Problem(
            "observables only",
            "no objective",
            {"variables": {**_XY, **_FILTER}, "observables": ["f"]},
            lambda p: {"f": _bowl(p) + p["filter"]},
        ),
        Problem(
            "explore",
            "explore",
            {"variables": _XY, "objectives": {"f": "EXPLORE"}},
            lambda p: {"f": _bowl(p)},
        ),
    ]


_XY: Mapping[str, Any] = {"x": [-1.0, 4.0], "y": [-2.0, 2.0]}
_FILTER: Mapping[str, Any] = {"filter": {"type": "DiscreteVariable", "values": [0, 1, 4]}}


def _bowl(point: Mapping[str, Any]) -> float:
    return float((point["x"] - 0.7) ** 2 + 2.0 * (point["y"] - 0.3) ** 2)
