"""What a run holds: stream names, event keys and the start document's metadata, from one source.

The plan that writes a run, the reader that turns it back into results, and the report all take the names from
here, so that a name exists once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION: Final = 1
METADATA_KEY: Final = "ebl_autonomy"
"""Key of the start document under which `RunMetadata` lies."""

PRIMARY: Final = "primary"
DECISIONS: Final = "decisions"
ABANDONED: Final = "abandoned"
BASELINE: Final = "baseline"
EXPLANATION: Final = "explanation"
"""One event at the end: what the agent believes and how good its model is, in words, under a key of the same name."""

PROPOSAL_ID: Final = "proposal_id"
"""Binds the rows of every stream to one proposal; present in all streams but the baseline."""


@dataclass(frozen=True)
class RowKeys:
    """Event keys that a row of `primary` has beside the readings of the devices and the derived values."""

    proposal_id: str = PROPOSAL_ID
    attempt: str = "attempt"
    valid: str = "valid"
    invalid_reason: str = "invalid_reason"
    seconds_moving: str = "seconds_moving"
    seconds_measuring: str = "seconds_measuring"


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


ROW: Final = RowKeys()
DECISION: Final = DecisionKeys()
ABANDONMENT: Final = AbandonedKeys()

MEAN: Final = "_mean"
STD: Final = "_std"

AbandonedStatus = Literal["refused", "abandoned"]


class RunMetadata(BaseModel):
    """What the start document says of the experiment, under ``start["ebl_autonomy"]``.

    ``agent`` is the agent's full configuration as ``{"agent": name, "vocs": {...}, "options": {...}}``: with the
    run's results, and those of the past runs that ``prior`` names, it is all that is needed to make the next proposal
    again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = SCHEMA_VERSION
    package_version: str
    agent: dict[str, Any]
    motors: list[str]
    outcomes: list[str]
    derived: list[str] = []
    context: list[str] = []
    envelope: dict[str, Any] = {}
    until: dict[str, Any] = {}
    limits: dict[str, tuple[float, float]] = {}
    units: dict[str, str] = {}
    prior: list[str] = []
    max_points: int
    batch: int
    finish: Literal["best", "stay", "return"]
    clock: str | None = None


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
class Best:
    """The best measured point of an agent.

    Attributes
    ----------
    point : dict of str to float
        The variables, in the motors' units.
    outcome : dict of str to float
        What was measured there.
    mean, std : dict of str to float
        What the model says of the point now; empty if the agent has no model.
    feasible : bool
        Whether every outcome constraint held there.
    """

    point: dict[str, Any]
    outcome: dict[str, float]
    mean: dict[str, float] = field(default_factory=dict)
    std: dict[str, float] = field(default_factory=dict)
    feasible: bool = True


@dataclass(frozen=True)
class ProposalRecord:
    """One proposal of a run, as read back from its streams.

    ``status`` is ``"accepted"`` (it has a measured row), ``"refused"`` (by the guard), ``"abandoned"`` (it could
    not be measured) or ``"pending"`` (the run ended before it was measured). ``rule`` is the one that refused or ended
    it, ``"run"`` if that was the end of the run.
    """

    proposal_id: str
    point: dict[str, Any]
    decision: Decision
    status: Literal["accepted", "refused", "abandoned", "pending"]
    points_known: int
    seconds_to_decide: float
    batch: int
    reason: str = ""
    rule: str = ""


@dataclass(frozen=True)
class RunRecord:
    """One experiment, read back: `ebl_autonomy.data.read_run` makes it.

    Attributes
    ----------
    uid : str
    start, stop : dict
        The run's documents; ``stop`` is None while the run goes on, or after a crash.
    metadata : RunMetadata
    proposals : tuple of ProposalRecord
        In the order in which they were made.
    results : tuple of dict
        What the agent was told, in the order in which it was told: variables, constants, outcomes and their
        ``_std``; NaN outcomes for invalid, refused and abandoned proposals. ``agent.ingest(list(results))`` on a
        fresh agent of the same configuration gives the same next proposal.
    rows : mapping of str to sequence
        Columns of the `primary` stream, one accepted row per proposal, in time order (scalar columns only).
    baseline : mapping of str to sequence
        Columns of the `baseline` stream (start first, end last), arrays included.
    explanation : str
        What the agent said of its model at the end; empty if it said nothing.
    """

    uid: str
    start: dict[str, Any]
    stop: dict[str, Any] | None
    metadata: RunMetadata
    proposals: tuple[ProposalRecord, ...]
    results: tuple[dict[str, Any], ...]
    rows: Mapping[str, Sequence[Any]]
    baseline: Mapping[str, Sequence[Any]]
    explanation: str = ""
