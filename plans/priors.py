"""Past runs that an agent ingests as priors before its experiment starts."""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from bluesky.utils import MsgGenerator

from ebl_autonomy.agents.bayesian.prior_mean import LABEL
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans.thinking import DaemonExecutor, think
from ebl_autonomy.space import VOCS

__all__ = ["take_priors"]

_taken: dict[int, list[str]] = {}
"""Ingested uids of agents that do not record them; keyed by id(agent), because an agent may not be hashable."""


def take_priors(agent: Any, vocs: VOCS, prior: Sequence[Any]) -> MsgGenerator[list[str]]:
    """Read those past runs that the agent does not know yet and pass them to it; nothing moves.

    Parameters
    ----------
    agent : Generator
    vocs : VOCS
        The agent's VOCS.
    prior : sequence of str, int or tiled run
        See `ebl_autonomy.data.find_run`.

    Returns
    -------
    list of str
        The uids of all runs that the agent has ingested, in earlier plans and now, in this order.

    Raises
    ------
    BadInputError
        If the agent does not accept priors, a run is unknown, or there is no connection to look it up.
    DataError
        If a run has nothing that the agent could learn from; the agent has ingested no run then.
    """
    if isinstance(prior, str) or not isinstance(prior, Sequence):
        raise BadInputError(f"prior={prior!r}: give a list of runs or uids, for example prior=[{_example(prior)!r}]")
    if not prior:
        return list(_taken_by(agent))
    ingest_prior = getattr(agent, "ingest_prior", None)
    if not callable(ingest_prior):
        raise BadInputError(
            f"agent {type(agent).__name__} has no ingest_prior(): it cannot learn from prior={list(prior)!r}. Use "
            "'bayesian', or leave prior= out"
        )
    executor = DaemonExecutor("ebl-prior")
    try:
        yield from think(executor, lambda: _take(agent, ingest_prior, vocs, prior))
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
    return list(_taken_by(agent))


def _take(agent: Any, ingest_prior: Callable[[Any, str], None], vocs: VOCS, prior: Sequence[Any]) -> None:
    from ebl_autonomy.data import find_run, past_results  # imported here, because it loads Tiled

    client = _client(prior)
    known = _taken_by(agent)
    # All runs are read before the agent ingests any, so that an error in one leaves the agent unchanged.
    read: dict[str, list[dict[str, Any]]] = {}
    for run in prior:
        if isinstance(run, str) and run in known:
            continue  # it need not be found again
        node = find_run(run, client)
        if (node.metadata.get("start") or {}).get("uid") not in (*known, *read):
            uid, results = past_results(node, vocs)
            read[uid] = results
    for uid, results in read.items():
        ingest_prior(results, uid)
        known.append(uid)


def _client(prior: Sequence[Any]) -> Any:
    """The Tiled client that looks up the names in `prior`; None if `prior` holds only runs."""
    from ebl_autonomy.data import latest_connection
    from ebl_autonomy.data.lookup import is_name

    named = [run for run in prior if is_name(run)]
    if not named:
        return None
    connection = latest_connection()
    if connection is None:
        raise BadInputError(
            f"prior={named}: there is no connection to look these runs up. Call connect(RE) first, or pass the runs "
            "themselves: prior=[client[uid], ...]"
        )
    return connection.client


def _taken_by(agent: Any) -> list[str]:
    """The uids of the runs that the agent has ingested: as it records them, or else as recorded here."""
    own = getattr(agent, "pasts", None)
    if isinstance(own, list):
        return [label for label in own if label != LABEL]
    if id(agent) not in _taken:
        _taken[id(agent)] = []
        weakref.finalize(agent, _taken.pop, id(agent), None)  # another object may get the same id later
    return _taken[id(agent)]


def _example(prior: Any) -> Any:
    return prior if isinstance(prior, str | int) and not isinstance(prior, bool) else -1
