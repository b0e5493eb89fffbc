"""Plain types that all layers share: the contents of a run, and the conversion of one row into one result."""

from ebl_autonomy.lazy import public_dir
from ebl_autonomy.records.findings import Best, BestReading, Decision, Recommendation
from ebl_autonomy.records.keys import (
    ABANDONED,
    ABANDONMENT,
    AGENT_ID,
    ASKED,
    BASELINE,
    DECISION,
    DECISIONS,
    DOSE,
    EXPLANATION,
    MEAN,
    METADATA_KEY,
    OUR_STREAMS,
    PRIMARY,
    PROPOSAL_ID,
    READING,
    RECOMMENDATION,
    RECOMMENDED,
    ROW,
    RULE_RUN,
    STD,
    AbandonedStatus,
    ProposalStatus,
)
from ebl_autonomy.records.metadata import SCHEMA_VERSION, Finish, RunMetadata, json_limits
from ebl_autonomy.records.results import ResultLayout, to_float
from ebl_autonomy.records.run import Columns, ProposalRecord, RunRecord, assemble_record, last_attempts, row_at

__all__ = [
    "ABANDONED",
    "ABANDONMENT",
    "AGENT_ID",
    "ASKED",
    "BASELINE",
    "DECISION",
    "DECISIONS",
    "DOSE",
    "EXPLANATION",
    "MEAN",
    "METADATA_KEY",
    "OUR_STREAMS",
    "PRIMARY",
    "PROPOSAL_ID",
    "READING",
    "RECOMMENDATION",
    "RECOMMENDED",
    "ROW",
    "RULE_RUN",
    "SCHEMA_VERSION",
    "STD",
    "AbandonedStatus",
    "Best",
    "BestReading",
    "Columns",
    "Decision",
    "Finish",
    "ProposalRecord",
    "ProposalStatus",
    "Recommendation",
    "ResultLayout",
    "RunMetadata",
    "RunRecord",
    "assemble_record",
    "json_limits",
    "last_attempts",
    "row_at",
    "to_float",
]

__dir__ = public_dir(__name__)
