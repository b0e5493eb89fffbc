"""The conversion of one row into one result; the only place that defines it.

The steering session uses it for the results that the agent ingests, and so does every reader of a run: the report, past
experiments, and the restoring of a session. So the same run always gives the same results, and an agent that ingests
them makes the same next proposal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ebl_autonomy.records.keys import AGENT_ID, ASKED, STD
from ebl_autonomy.records.metadata import RunMetadata

__all__ = ["ResultLayout", "to_float"]

Result = dict[str, Any]


def to_float(value: Any) -> float:
    """A reading as a float; NaN if it is None, text, or otherwise not a number."""
    if isinstance(value, (str, bytes)):  # float() would take "1.5"
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


@dataclass(frozen=True)
class ResultLayout:
    """The contents of a result, and the source of each part.

    Attributes
    ----------
    variables : tuple of str
        Variables that the agent chooses.
    context : tuple of str
        Contextual variables, which are measured with each row and never moved.
    outcomes : tuple of str
        Objectives, constraints and observables.
    constants : mapping
        Constants of the VOCS, the same in every result.
    positions_from_rows : frozenset of str
        The `variables` whose values come from the row, where the motor was read. The others have the proposed values:
        a discrete variable that was read within its tolerance has the value that was asked.
    """

    variables: tuple[str, ...]
    context: tuple[str, ...]
    outcomes: tuple[str, ...]
    constants: Mapping[str, Any] = field(default_factory=dict)
    positions_from_rows: frozenset[str] = frozenset()

    @classmethod
    def of(cls, metadata: RunMetadata) -> ResultLayout:
        """The layout of a run's results, from its metadata."""
        vocs = metadata.agent["vocs"]
        constants = {name: constant["value"] for name, constant in (vocs.get("constants") or {}).items()}
        return cls(
            variables=tuple(name for name in vocs["variables"] if name not in metadata.context),
            context=tuple(metadata.context),
            outcomes=tuple(metadata.outcomes),
            constants=constants,
            positions_from_rows=frozenset(metadata.positions_from_rows),
        )

    def measured(self, row: Mapping[str, Any], proposed: Mapping[str, Any]) -> Result:
        """The result of a row of `primary`.

        Parameters
        ----------
        row : mapping
            Maps event keys to values.
        proposed : mapping
            The proposed point, with ``_id`` if the agent gave the proposal an id.

        Returns
        -------
        dict
            Variables, contextual variables, constants, outcomes, ``<outcome>_std`` where the row has it, and ``_id``.
            If the motors were read elsewhere than proposed, the result of a proposal with an id also holds the proposed
            values as ``<variable>_asked``.
        """
        positions = {
            name: to_float(row[name]) if name in self.positions_from_rows and name in row else float(proposed[name])
            for name in self.variables
        }
        observed = [*self.context, *self.outcomes, *(n + STD for n in self.outcomes if n + STD in row)]
        observations = {name: to_float(row.get(name)) for name in observed}
        return {**positions, **self.constants, **observations, **self._binding(positions, proposed)}

    def unmeasured(self, proposed: Mapping[str, Any]) -> Result | None:
        """The result of a proposal without a row, with NaN outcomes; None if the proposed point is not finite."""
        point = {name: to_float(proposed.get(name)) for name in (*self.variables, *self.context)}
        if not all(math.isfinite(point[name]) for name in self.variables):
            return None
        observations = dict.fromkeys(self.outcomes, math.nan)
        return {**point, **self.constants, **observations, **self._binding(point, proposed)}

    def _binding(self, point: Mapping[str, float], proposed: Mapping[str, Any]) -> dict[str, Any]:
        """The proposal id of gest-api, and what was asked, for generators that bind a result to its proposal."""
        if AGENT_ID not in proposed:
            return {}
        asked = {name: float(proposed[name]) for name in self.variables if name in proposed}
        elsewhere = any(point[name] != value for name, value in asked.items())
        told = {name + ASKED: value for name, value in asked.items()} if elsewhere else {}
        return {AGENT_ID: proposed[AGENT_ID], **told}
