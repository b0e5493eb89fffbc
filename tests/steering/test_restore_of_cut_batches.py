"""A batch that was cut half-way is replayed in the order in which it was measured, whatever is missing from it."""

import math
from typing import Any

from ebl_autonomy import VOCS
from ebl_autonomy.agents import SobolAgent
from ebl_autonomy.records import RunMetadata, assemble_record
from ebl_autonomy.steering import restore_session

KNOWN = {"variables": {"x": [-2.0, 2.0]}, "objectives": {"f": "MINIMIZE"}}
LIMITS = {"x": (-2.0, 2.0)}


def columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {key: [row[key] for row in rows] for key in rows[0]}


def test_untried_proposals_do_not_disturb_the_order_of_the_others() -> None:
    agent = SobolAgent(VOCS(**KNOWN))
    points = agent.suggest(4)
    metadata = RunMetadata(
        package_version="0", agent=agent.config(), motors=["x"], outcomes=["f"], max_points=9, batch=4, finish="stay",
        limits=LIMITS, until={"seconds": 99.0, "clock": "clock"},
    )  # fmt: skip
    said = {"f_mean": math.nan, "f_std": math.nan, "acquisition": math.nan, "reason": "", "model_version": ""}
    counted = {"batch": 0, "points_known": 0, "seconds_to_decide": 0.0, "agent": "sobol"}
    decisions = [{"proposal_id": f"{i:05d}", **point, **said, **counted} for i, point in enumerate(points)]
    primary = [
        {
            "proposal_id": f"{i:05d}", "row_in_proposal": 0, "attempt": 1, "valid": True, "invalid_reason": "",
            "seconds_elapsed": at, "time": at, "clock": at, "f": 1.0, **points[i],
        }
        for i, at in [(2, 1.0), (3, 2.0), (0, 3.0)]  # 1 was never measured
    ]  # fmt: skip
    record = assemble_record(
        {"uid": "u"}, None, metadata, decisions=columns(decisions), primary=columns(primary), abandoned={}
    )
    session = restore_session(record)
    assert session.best_reading is not None
    assert session.best_reading.proposal_id == "00002"  # the first of equals, as when it was measured
    assert [proposal.proposal_id for proposal in session.ask()] == ["00001"]
