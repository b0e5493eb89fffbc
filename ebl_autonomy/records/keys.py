"""Stream names and event keys of a run, each defined once.

The plan that writes a run, the reader that turns it into results, and the report all use these names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

METADATA_KEY: Final = "ebl_autonomy"
"""Key of the start document that holds `RunMetadata`."""

SURVEY: Final = "ebl_survey"
"""Key of the start document of a fine scan that holds its survey: ``{"coarse": uid of the coarse map, "number": i,
"of": n, "region": {"label", "x": [low, high], "y": [low, high], "score", "reason", ...}}``; lengths in motor units. A
map at one energy has that ``"energy"`` too, the choice of energies ``"spot": true``, and the phase maps ``{"coarse",
"phase_maps": [{"label", "phases", "energies"}, ...]}``. Each scan names its `NORMALISERS`."""

NORMALISERS: Final = "normalisers"
"""Key of a survey's scan, below `SURVEY`, of the outcomes by which its maps are normalised; they are no maps."""

PRIMARY: Final = "primary"
DECISIONS: Final = "decisions"
ABANDONED: Final = "abandoned"
START_AND_END: Final = "start_and_end"
"""Stream of the motors and the devices in ``baseline=``, read at the start and at the end of a run."""

BASELINE: Final = "baseline"
"""The stream of bluesky's `SupplementalData`; runs of earlier versions have their readings of start and end in it."""

PROPOSALS_ACCEPTED: Final = "proposals_accepted"
"""Key of `start_and_end` by which readers know the readings of a run from those of a `SupplementalData`."""

RECOMMENDED: Final = "recommended"
"""Stream written at the end: the recommended point, then the points of the front if there are several objectives."""
EXPLANATION: Final = "explanation"
"""Stream of one event at the end: a description of the agent's model and its quality, under a key of the same name."""

LEFT: Final = "left_at"
"""Stream of one event at the end, however the run ended: where the motors were left, under their own names."""

SUSPECTS: Final = "suspects"
"""Stream of one event for each reading that the agent begins, or ceases, to take for an outlier; see `SuspectKeys`."""

OUR_STREAMS: Final = frozenset({PRIMARY, DECISIONS, ABANDONED, START_AND_END, RECOMMENDED, EXPLANATION, LEFT, SUSPECTS})
"""The streams that a run has by itself."""

PROPOSAL_ID: Final = "proposal_id"
"""Key that binds the rows of every stream to one proposal; present in all streams except `start_and_end`."""

AGENT_ID: Final = "_id"
"""Key of a point, and of its result, that holds the id which a generator gave it; see gest-api."""
ASKED: Final = "_asked"
"""Suffix of the proposed value of a variable in a result, if its motor was read elsewhere."""

MEAN: Final = "_mean"
STD: Final = "_std"
READING: Final = "_reading"
"""Suffix of the measured outcome at a recommended point, so that live plots do not take it for a new row."""

AbandonedStatus = Literal["refused", "abandoned"]
ProposalStatus = Literal["accepted", "refused", "abandoned", "pending"]

DecidedBy = Literal["agent", "session"]
"""Who made a proposal: the agent, or the steering session, which measures once more what alone reaches the target."""

RULE_RUN: Final = "run"
"""The rule of a proposal that was not tried before the run ended; the agent receives no result for it."""


@dataclass(frozen=True)
class RowKeys:
    """Event keys of a row of `primary`, in addition to device readings and derived values.

    ``row_in_proposal`` counts the rows of one proposal from 0. ``seconds_elapsed`` is the wall-clock time since the
    start of the run.
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
class DoseKeys:
    """Event keys of a row of `primary` and `abandoned`, if the envelope has a ``dose_key``.

    ``dose_spent`` is the dose of all exposures so far; NaN after an exposure whose dose could not be read.
    ``exposures_unpriced`` is the number of exposures that it lacks, because no dose of an exposure was known yet.
    """

    spent: str = "dose_spent"
    unpriced: str = "exposures_unpriced"


@dataclass(frozen=True)
class DecisionKeys:
    """Event keys of a row of `decisions`, in addition to one key per variable and two per outcome.

    The point is stored under the variables' own names, predictions under ``<outcome>_mean`` and ``<outcome>_std``
    (NaN where the agent predicts nothing). ``agent_id`` is the ``_id`` that a generator gave the proposal, as JSON; it
    is empty if the generator gave none. ``decided_by`` is one of `DecidedBy`.
    """

    proposal_id: str = PROPOSAL_ID
    batch: str = "batch"
    acquisition: str = "acquisition"
    reason: str = "reason"
    points_known: str = "points_known"
    seconds_to_decide: str = "seconds_to_decide"
    agent: str = "agent"
    agent_id: str = "agent_id"
    model_version: str = "model_version"
    decided_by: str = "decided_by"


@dataclass(frozen=True)
class AbandonedKeys:
    """Event keys of a row of `abandoned`, the stream of proposals that ended without a measured row."""

    proposal_id: str = PROPOSAL_ID
    status: str = "status"
    rule: str = "rule"
    reason: str = "reason"
    attempts: str = "attempts"
    proposed: str = "proposed"
    seconds_elapsed: str = "seconds_elapsed"


@dataclass(frozen=True)
class RecommendedKeys:
    """Event keys of a row of `recommended`, in addition to one key per variable and three per outcome.

    ``recommendation`` is ``"recommended"`` or ``"front"``. The point is stored under the variables' names, measured
    outcomes under ``<outcome>_reading``, predictions as in `DecisionKeys`.
    """

    kind: str = "recommendation"
    feasible: str = "recommendation_feasible"


@dataclass(frozen=True)
class SuspectKeys:
    """Event keys of a row of `suspects`. The last event of a reading counts.

    ``proposal_id`` and ``row_in_proposal`` bind it to a row of `primary`, and ``outcome`` names the reading in it.
    ``suspect`` tells whether the agent takes the reading for an outlier from then on.
    """

    proposal_id: str = PROPOSAL_ID
    row: str = "row_in_proposal"
    outcome: str = "outcome"
    suspect: str = "suspect"
    seconds_elapsed: str = "seconds_elapsed"


LEFT_WHERE: Final = "left_where"
"""Key of the stream `left_at` that says in words where the motors are: at the recommended point, or why not."""

ROW: Final = RowKeys()
DOSE: Final = DoseKeys()
DECISION: Final = DecisionKeys()
ABANDONMENT: Final = AbandonedKeys()
RECOMMENDATION: Final = RecommendedKeys()
SUSPECT: Final = SuspectKeys()
