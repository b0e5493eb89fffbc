"""An agent or a session restored from the record of a run: to continue after a crash, to audit, or to report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gest_api.generator import Generator

from ebl_autonomy.agents.making import make_agent
from ebl_autonomy.agents.protocols import AvoidsBoxes, BoundsAware
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.guard import Envelope, Gate
from ebl_autonomy.records import PhaseMapsRecord, RunMetadata, RunRecord, survey_stage
from ebl_autonomy.space import Space, make_vocs
from ebl_autonomy.steering.session import SteeringSession

__all__ = ["restore_agent", "restore_session"]


def restore_agent(record: RunRecord, *, client: Any = None) -> Generator:
    """The agent of a run as it was when all results had been told to it, made from the record alone.

    Parameters
    ----------
    record : RunRecord
    client : tiled container, optional
        The container that holds the past runs (``prior=``) of the run; needed only if there are any.

    Raises
    ------
    BadInputError
        If the agent cannot be made from its configuration, or the past runs cannot be looked up.
    """
    agent = _fresh_agent(record, client)
    _search_within(agent, record.metadata.searched)
    _avoid(agent, record.metadata)
    agent.ingest([dict(result) for result in record.results])
    return agent


def restore_session(
    record: RunRecord, *, client: Any = None, agent: Generator | None = None, max_points: int | None = None
) -> SteeringSession:
    """The session of a run, in its state at the end or interruption of the run.

    Parameters
    ----------
    record : RunRecord
        The record of the run; see `ebl_autonomy.data.read_run`.
    client : tiled container, optional
        The container that holds the past runs (``prior=``) of the run; needed only if there are any.
    agent : Generator, optional
        A fresh agent of the same configuration; needed for a generator that is not registered under a name.
    max_points : int, optional
        Total number of rows to record, including those of the run; by default the number that the run was given.

    Raises
    ------
    BadInputError
        If the agent cannot be made from its configuration, the past runs cannot be looked up, or the agent cannot
        search the part of the domain that the run searched.
    """
    metadata = record.metadata
    if agent is None:
        agent = _fresh_agent(record, client)
    _search_within(agent, metadata.searched)
    _avoid(agent, metadata)
    vocs = make_vocs(metadata.agent["vocs"])
    gate = Gate(vocs, Envelope.of(metadata.envelope), metadata.intervals)
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


def _search_within(agent: Any, searched: Mapping[str, tuple[float, float]]) -> None:
    if not searched:
        return
    if not isinstance(agent, BoundsAware):
        raise BadInputError(
            f"the agent of the run searched only {dict(searched)}, but {type(agent).__name__} has no search_within(): "
            "pass agent= as it was in the run"
        )
    agent.search_within(searched)


def _avoid(agent: Any, metadata: RunMetadata) -> None:
    """Repeat what the plan told of the forbidden regions."""
    if isinstance(agent, AvoidsBoxes):
        names = Space(make_vocs(metadata.agent["vocs"])).names
        agent.avoid(Envelope.of(metadata.envelope).boxes_over(names))


def _fresh_agent(record: RunRecord, client: Any) -> Generator:
    """The agent of a run as it was before the first point, with the past runs that it knew."""
    if isinstance(record, PhaseMapsRecord):
        raise BadInputError(
            f"run {record.uid!r} holds the {survey_stage(record.start)} of a survey: no agent steered it"
        )
    agent = make_agent(record.metadata.agent)
    _take_priors(agent, record.metadata.prior, client)
    return agent


def _take_priors(agent: Any, priors: list[str], client: Any) -> None:
    if not priors:
        return
    if client is None:
        raise BadInputError(f"the agent of the run used the past runs {priors}: pass client= to look them up")
    from ebl_autonomy.data import past_results  # Tiled is loaded where a run is read

    for uid in priors:
        label, results = past_results(uid, agent.vocs, client)
        agent.ingest_prior(results, label)
