"""A past run as an agent takes it: made by one of our plans, by any other Bluesky plan, or served out of an archive."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ebl_autonomy.data.lookup import find_run, start_of
from ebl_autonomy.data.positions import StoredDevices
from ebl_autonomy.data.streams import StoredStream
from ebl_autonomy.errors import BadInputError, DataError
from ebl_autonomy.records import (
    BASELINE,
    DECISIONS,
    METADATA_KEY,
    PRIMARY,
    PROPOSAL_ID,
    ROW,
    START_AND_END,
    STD,
    ResultLayout,
    RunMetadata,
    last_attempts,
    row_at,
)
from ebl_autonomy.space import VOCS, FloatArray, Space, make_vocs, outcome_names

__all__ = ["ingest_run", "past_results"]

logger = logging.getLogger(__name__)

_NO_READINGS = {*vars(ROW).values(), "seq_num", "time"}


def past_results(run: Any, vocs: VOCS | Mapping[str, Any], client: Any = None) -> tuple[str, list[dict[str, Any]]]:
    """What a past run has measured inside the domain of `vocs`.

    Of a run that an agent steered, one result per accepted row; of any other run, one per row of `primary`. Positions
    are those that were read, except of discrete variables, which have the proposed value.

    Parameters
    ----------
    run : str, int or tiled run
        A uid, its first characters, a scan id, or -1 for the latest run (with `client`); or the run itself, out of
        Tiled, or of an archive that databroker serves.
    vocs : VOCS or mapping
        Of the present experiment. A variable is found under the name of its motor, or of the reading that is the
        motor's position.
    client : tiled container, optional

    Returns
    -------
    uid : str
    results : list of dict
        In the order in which they were measured: every variable, contextual variable and outcome of `vocs`, and
        ``<outcome>_std`` where the run has it. A NaN outcome was not to be measured.

    Raises
    ------
    BadInputError
        If a name is given without a client, or fits no run, or several; or if `run` is none.
    DataError
        If the run lacks a variable or an outcome, moved a motor that `vocs` does not know, or measured nothing in the
        domain.
    """
    node = find_run(run, client)
    space = Space(make_vocs(vocs))
    start = start_of(node)
    uid = str(start.get("uid", run))
    primary = StoredStream(node, PRIMARY)
    outcomes = outcome_names(space.vocs)
    needed = [*space.names, *space.context, *outcomes]
    there = primary.names
    ours = start.get(METADATA_KEY) if PROPOSAL_ID in there else None
    moved = [str(name) for name in (ours or start).get("motors") or []]
    # Rows that came as pages hold no readings of the motors; those at the start and the end of a run of ours do, which
    # old runs have in another stream.
    ends = [StoredStream(node, name) for name in (START_AND_END, BASELINE)] if ours else []
    devices = StoredDevices(start, [primary, *ends])
    stored = {name: devices.stored_name(name, there, moved if ours else ()) for name in (*space.names, *space.context)}
    if missing := [name for name in needed if stored.get(name, name) not in there]:
        raise DataError(
            f"run {uid!r} ({start.get('plan_name', 'of no plan')}) cannot be a prior: its stream {PRIMARY!r} lacks "
            f"{missing}, it has {sorted({*there} - _NO_READINGS)}. Leave it out, or hand results that have "
            "them to the agent's ingest_prior()."
        )
    known = {*needed, *stored.values()}
    strangers = {name: devices.stored_name(name, there) for name in moved if not devices.gives(name, known)}
    strangers = {name: column for name, column in strangers.items() if column in there}
    wanted = [*needed, *(name + STD for name in outcomes if name + STD in there)]
    sources = {**{name: stored.get(name, name) for name in wanted}, **strangers}
    binding = [name for name in (PROPOSAL_ID, ROW.row, ROW.attempt) if name in there and ours]
    columns = _read(primary, [*dict.fromkeys(sources.values()), *binding])
    if ours:
        columns = _as_told([stored[name] for name in space.names], RunMetadata.read(ours), columns, node)
    values = {name: _numbers(uid, name, columns[column]) for name, column in sources.items()}
    _check_strangers(uid, {name: values[name] for name in strangers})
    return uid, _inside(uid, space, {name: values[name] for name in wanted})


def ingest_run(agent: Any, run: Any, client: Any = None) -> None:
    """Hand a past run to an agent as a prior.

    Parameters
    ----------
    agent : Generator
        With a ``vocs`` and a method ``ingest_prior(results, label)``, as the agents of this package have; the run's uid
        is the label.
    run : str, int or tiled run
        As for `past_results`.
    client : tiled container, optional

    Raises
    ------
    BadInputError
        If the agent cannot learn from the past; or see `past_results`.
    DataError
        See `past_results`.
    """
    if not callable(getattr(agent, "ingest_prior", None)):
        raise BadInputError(
            f"agent {type(agent).__name__} has no ingest_prior(): it cannot learn from past runs. Use 'bayesian'"
        )
    uid, results = past_results(run, agent.vocs, client)
    agent.ingest_prior(results, uid)


def _read(stream: StoredStream, names: Sequence[str]) -> dict[str, Any]:
    """The columns `names`, each an array with one entry per row; without entries if the stream is not there."""
    columns = stream.columns(names)
    return {name: _as_array(columns.get(name, [])) for name in names}


def _as_array(column: list[Any]) -> Any:
    try:
        return np.asarray(column)
    except ValueError:  # rows of different shapes
        array = np.empty(len(column), dtype=object)
        array[:] = column
        return array


def _as_told(variables: Sequence[str], metadata: RunMetadata, primary: Mapping[str, Any], node: Any) -> dict[str, Any]:
    """The accepted rows of a run that an agent steered, with the positions that were read."""
    rows = last_attempts({key: values.tolist() for key, values in primary.items()})
    chosen = [name for name in variables if name in metadata.motors]
    # Schema 2.0 told its agents the proposed positions, but its rows hold those that were read.
    read = {*metadata.positions_from_rows, *Space(make_vocs(metadata.agent["vocs"])).continuous}
    layout = ResultLayout(variables=tuple(chosen), context=(), outcomes=(), positions_from_rows=frozenset(read))
    decisions = _read(StoredStream(node, DECISIONS), [PROPOSAL_ID, *chosen])
    proposed = {
        str(proposal): {name: decisions[name][i] for name in chosen}
        for i, proposal in enumerate(decisions[PROPOSAL_ID])
    }
    told = [layout.measured(row_at(rows, i), proposed[str(proposal)]) for i, proposal in enumerate(rows[PROPOSAL_ID])]
    positions = {name: [result[name] for result in told] for name in chosen}
    return {name: np.asarray(values) for name, values in {**rows, **positions}.items()}


def _numbers(uid: str, name: str, values: Any) -> FloatArray:
    """A column as one number per row; NaN where there is none."""
    if values.ndim != 1 and values.size == len(values):
        values = values.reshape(len(values))
    try:
        if values.ndim != 1 or values.dtype.kind in "SU":
            raise TypeError(f"a column of {values.dtype} with shape {values.shape}")
        return np.array([math.nan if value is None else float(value) for value in values], dtype=float)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"run {uid!r} cannot be a prior: its {name!r} is not one number per row ({error}). Leave it out, or hand "
            "results with a number to the agent's ingest_prior()."
        ) from error


def _check_strangers(uid: str, strangers: Mapping[str, FloatArray]) -> None:
    """Refuse a run of which the outcomes depend on what the VOCS knows nothing of."""
    # A motor that stood still, however, is like all that nobody recorded.
    if moved := [name for name, values in strangers.items() if len(values) and np.nanmin(values) < np.nanmax(values)]:
        raise DataError(
            f"run {uid!r} cannot be a prior: it moved {moved} too, which are no variables of the VOCS. Add them as "
            "variables, or leave this run out."
        )


def _inside(uid: str, space: Space, values: Mapping[str, FloatArray]) -> list[dict[str, Any]]:
    """The rows of which the point is known and in the domain."""
    points = np.column_stack([values[name] for name in space.names])
    known = np.isfinite(np.column_stack([points, *(values[name] for name in space.context)])).all(axis=1)
    inside = known & (points >= space.low).all(axis=1) & (points <= space.high).all(axis=1)
    total, left = len(points), int((~inside).sum())
    if not any(np.isfinite(values[name][inside]).any() for name in outcome_names(space.vocs)):
        domain = {n: [float(a), float(b)] for n, a, b in zip(space.names, space.low, space.high, strict=True)}
        raise DataError(
            f"run {uid!r} cannot be a prior: of its {total} rows {left} have no point in the domain {domain}, and none "
            "of the others measured anything. Leave it out, or widen the domain."
        )
    if left:
        logger.warning("run %s as a prior: %d of its %d rows, outside the domain, are left out", uid, left, total)
    return [{name: float(column[i]) for name, column in values.items()} for i in np.flatnonzero(inside)]
