"""Stream names and event keys of a run, each written down once.

The plan that writes a run, the reader that turns it back into results, and the report all take the names from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

METADATA_KEY: Final = "ebl_autonomy"
"""Key of the start document under which `RunMetadata` lies."""

PRIMARY: Final = "primary"
DECISIONS: Final = "decisions"
ABANDONED: Final = "abandoned"
BASELINE: Final = "baseline"
RECOMMENDED: Final = "recommended"
"""Events at the end: the recommended point first, then the points of the front if there are several objectives."""
EXPLANATION: Final = "explanation"
"""One event at the end: what the agent believes and how good its model is, in words, under a key of the same name."""

PROPOSAL_ID: Final = "proposal_id"
"""Binds the rows of every stream to one proposal; present in all streams but the baseline."""

MEAN: Final = "_mean"
STD: Final = "_std"
READING: Final = "_reading"
"""What was measured at a recommended point: live plots of an outcome must not take it for a new row."""

AbandonedStatus = Literal["refused", "abandoned"]
ProposalStatus = Literal["accepted", "refused", "abandoned", "pending"]

RULE_RUN: Final = "run"
"""The rule of a proposal that the end of the run left untried: the agent was not told of it."""


@dataclass(frozen=True)
class RowKeys:
    """Event keys that a row of `primary` has beside the readings of the devices and the derived values.

    ``row_in_proposal`` counts the rows of one proposal from 0. ``seconds_elapsed`` counts wall seconds since the run
    began.
    """

    proposal_id: str = PROPOSAL_ID
    row: str = "row_in_proposal"
    attempt: str = "attempt"
    valid: str = "valid"
    invalid_reason: str = "invalid_reason"
    seconds_moving: str = "seconds_moving"
    seconds_measuring: str = "seconds_measuring"
    seconds_elapsed: str = "seconds_elapsed"


@dataclass(frozen=True)
class DecisionKeys:
    """Event keys of a row of `decisions`, beside one key per variable and two per outcome.

    The point lies under the variables' own names; predictions under ``<outcome>_mean`` and ``<outcome>_std``
    (NaN where the agent makes none).
    """

    proposal_id: str = PROPOSAL_ID
    batch: str = "batch"
    acquisition: str = "acquisition"
    reason: str = "reason"
    points_known: str = "points_known"
    seconds_to_decide: str = "seconds_to_decide"
    agent: str = "agent"
    model_version: str = "model_version"


@dataclass(frozen=True)
class AbandonedKeys:
    """Event keys of a row of `abandoned`: the proposals that ended without a measured row, and why."""

    proposal_id: str = PROPOSAL_ID
    status: str = "status"
    rule: str = "rule"
    reason: str = "reason"
    attempts: str = "attempts"
    proposed: str = "proposed"
    seconds_elapsed: str = "seconds_elapsed"


@dataclass(frozen=True)
class RecommendedKeys:
    """Event keys of a row of `recommended`, beside one key per variable and three per outcome.

    ``recommendation`` is ``"recommended"`` or ``"front"``. The point lies under the variables' names, what was measured
    there under ``<outcome>_reading``, predictions as in `DecisionKeys`.
    """

    kind: str = "recommendation"
    feasible: str = "recommendation_feasible"


ROW: Final = RowKeys()
DECISION: Final = DecisionKeys()
ABANDONMENT: Final = AbandonedKeys()
RECOMMENDATION: Final = RecommendedKeys()
