"""A session made from the record of a run: what is needed to go on after a crash, or to audit a decision."""

from __future__ import annotations

from typing import Any

from gest_api.generator import Generator

from ebl_autonomy.agents.base import make_agent
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.guard import Envelope, Gate
from ebl_autonomy.records import RunRecord
from ebl_autonomy.space import make_vocs
from ebl_autonomy.steering.session import SteeringSession

__all__ = ["restore_session"]


def restore_session(
    record: RunRecord, *, client: Any = None, agent: Generator | None = None, max_points: int | None = None
) -> SteeringSession:
    """The session of a run, as it was when the run ended or was cut.

    Parameters
    ----------
    record : RunRecord
        Of the run; see `ebl_autonomy.data.read_run`.
    client : tiled container, optional
        Where the run's past runs (``prior=``) are looked up, if it has any.
    agent : Generator, optional
        A fresh one of the same configuration; needed for a generator that is not registered under a name.
    max_points : int, optional
        Rows to record in all, those of the run included; as many as the run was to record if not given.

    Raises
    ------
    BadInputError
        If the agent of the run cannot be made from its configuration, or its past runs cannot be looked up.
    """
    metadata = record.metadata
    if agent is None:
        agent = make_agent(metadata.agent)
        _take_priors(agent, metadata.prior, client)
    vocs = make_vocs(metadata.agent["vocs"])
    gate = Gate(vocs, Envelope.of(metadata.envelope), dict(metadata.limits))
    session = SteeringSession(
        agent,
        gate,
        vocs=vocs,
        until=metadata.until,
        max_points=metadata.max_points if max_points is None else max_points,
        batch=metadata.batch,
        rows_per_proposal=metadata.rows_per_proposal,
        positions_from_rows=metadata.positions_from_rows,
    )
    session.restore(record)
    return session


def _take_priors(agent: Any, priors: list[str], client: Any) -> None:
    if not priors:
        return
    if client is None:
        raise BadInputError(f"the run knew the past runs {priors}: pass client= to look them up")
    from ebl_autonomy.data import past_results  # Tiled is loaded where a run is read

    for uid in priors:
        label, results = past_results(uid, agent.vocs, client)
        agent.ingest_prior(results, label)
