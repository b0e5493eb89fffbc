"""What a VOCS must be so that an agent can take it for a map."""

from __future__ import annotations

from gest_api.vocs import ContextualVariable, DiscreteVariable

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.space import VOCS, outcome_names
from ebl_autonomy.vocs import is_logarithmic

__all__ = ["check_map_vocs"]


def check_map_vocs(vocs: VOCS) -> list[str]:
    """The variables that the agent chooses, of a VOCS that is a map.

    Raises
    ------
    BadInputError
        If a variable is discrete or logarithmic, there are constraints, or there is no outcome.
    """
    chosen = {name: one for name, one in vocs.variables.items() if not isinstance(one, ContextualVariable)}
    for name, variable in chosen.items():
        if isinstance(variable, DiscreteVariable) or is_logarithmic(variable):
            raise BadInputError(
                f"variable {name!r} is discrete or logarithmic: give an axis of a map as {{name: [low, high]}}"
            )
    if vocs.constraints:
        raise BadInputError(
            f"a map has no constraints, the VOCS has {list(vocs.constraints)}: make them observables, and use "
            "search_within for a part of the map"
        )
    if not outcome_names(vocs):
        raise BadInputError("the VOCS has no channel: name at least one observable")
    return list(chosen)
