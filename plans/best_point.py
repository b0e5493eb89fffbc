"""Going to the best point of a run that has ended, or was aborted, through the gate that the run had."""

from collections.abc import Collection, Mapping, Sequence
from numbers import Integral
from typing import Any, Final

from bluesky import preprocessors as bpp
from bluesky.protocols import NamedMovable
from bluesky.utils import Msg, MsgGenerator, plan

from ebl_autonomy.errors import BadInputError, DataError
from ebl_autonomy.guard import Envelope, Gate
from ebl_autonomy.plans.arguments import check_seconds
from ebl_autonomy.plans.devices import check_devices, read_limits_and_travel, read_positions
from ebl_autonomy.plans.ending import SHORT_UID, announce, position_text
from ebl_autonomy.plans.events import EventTag
from ebl_autonomy.plans.motion import Motion
from ebl_autonomy.plans.remembered import RememberedRun, recall
from ebl_autonomy.plans.result import RunResult
from ebl_autonomy.plans.rewriting import refuse_rewriting
from ebl_autonomy.plans.thinking import thought
from ebl_autonomy.plans.tolerances import Tolerances
from ebl_autonomy.records import BestReading, PhaseMapsRecord, RunMetadata, RunRecord, survey_stage
from ebl_autonomy.space import Space, make_vocs

__all__ = ["go_to_best"]

FLUSH_S: Final = 30.0
"""Seconds that documents of this session may still take to Tiled."""


@plan
def go_to_best(
    run: Any,
    motors: Sequence[NamedMovable[float]] | None = None,
    *,
    envelope: Any = None,
    move_timeout_s: float | None = None,
) -> MsgGenerator[dict[str, float]]:
    """Move the motors to the point that a run recommends, or else to the best reading that is not suspect.

    The move passes the gate as the run's own moves did: within its limits, around its forbidden regions, in steps if it
    limits them. No run is opened.

    Parameters
    ----------
    run : str, int, RunResult, RunRecord or tiled run
        A uid, or its first characters, is looked up among the runs of this session and then in the Tiled of the latest
        open `connect`. A scan id, or -1 for the latest run, is looked up in Tiled only.
    motors : sequence of Movable, optional
        The motors of the run's variables, and those that its forbidden regions name. Not needed for a run that this
        session has steered.
    envelope : Envelope or mapping, optional
        Replaces the envelope of the run.
    move_timeout_s : float, optional
        Wall seconds that each step may take; the default is that of `optimize`.

    Returns
    -------
    dict of str to float
        Where the motors stand then, in motor units.

    Raises
    ------
    BadInputError
        If there is no such run, it has no valid measurement, or a motor is missing. Nothing has moved.
    DataError
        If no agent steered the run.
    RefusedError
        If the gate or a motor refuses the way; the motors stand at its start, or where the last step ended.
    DeviceFailedError, DeviceTimeoutError
        If a motor fails or is late; the motors were stopped.
    """
    if move_timeout_s is not None:
        check_seconds("move_timeout_s", move_timeout_s)
    past = yield from _found(run)
    space = Space(make_vocs(past.metadata.agent["vocs"]))
    point = _best_point(past)
    allowed = Envelope.of(past.metadata.envelope if envelope is None else envelope)
    chosen = _motors_of(past, motors, [*space.names, *sorted(allowed.region_motors)])
    if envelope is None:
        allowed = _rules_of(past.metadata, allowed, chosen)
    own, travel = yield from read_limits_and_travel(chosen)
    limits = {name: past.metadata.intervals.get(name) if now is None else now for name, now in own.items()}
    gate = Gate(space.vocs, allowed, limits)
    tag = EventTag("ebl_best", {})
    tolerances = Tolerances(past.metadata.position_tolerance, past.metadata.position_share)
    yield from refuse_rewriting(chosen, (yield from read_positions(chosen)))
    motion = Motion(chosen, gate, travel, {}, tag, move_timeout_s, tolerances)

    def body() -> MsgGenerator[None]:
        yield Msg("null", tag)  # the RunEngine then tells it of pauses
        yield Msg("checkpoint")
        yield from motion.travel(space.nearby(point, tolerances.at(point)))

    yield from bpp.rewindable_wrapper(body(), False)  # after a pause the way is planned anew
    positions = {name: motion.here[name] for name in chosen}
    where = position_text(positions, past.metadata.units)
    announce(f"motors are at the best point of run {past.uid[:SHORT_UID]}: {where}")
    return positions


def _found(run: Any) -> MsgGenerator[RememberedRun]:
    """The run, from this session or from Tiled."""
    if isinstance(run, RunResult):
        run = run.uid
    if isinstance(run, str) and not _is_scan_id(run) and (known := recall(run)) is not None:
        return known
    named = isinstance(run, str | Integral)
    if isinstance(run, RunRecord):
        record = run
    else:
        record = yield from thought(lambda: _read(run))
    if isinstance(record, PhaseMapsRecord):
        raise DataError(
            f"run {record.uid!r} holds the {survey_stage(record.start)} of a survey: no agent steered it, so it has no "
            "best point"
        )
    known = recall(record.uid)
    if known is not None and named:
        return known
    found = None if record.recommended is not None else (yield from thought(lambda: _best_reading(record)))
    motors = {} if known is None else known.motors
    return RememberedRun(record.uid, record.metadata, record.recommended, found, motors)


def _best_reading(record: RunRecord) -> BestReading | None:
    """The best reading of a run that its agent does not take for an outlier."""
    from ebl_autonomy.data import latest_connection  # imported here, because it loads Tiled
    from ebl_autonomy.report.contents import suspect_rows
    from ebl_autonomy.report.summary import RowsInOrder

    connection = latest_connection()
    suspects = suspect_rows(record, None if connection is None else connection.client)
    return RowsInOrder(record, suspects).best_reading(record)


def _is_scan_id(run: str) -> bool:
    """Whether text is a scan id, and not the eight characters of a uid that a run prints, which may all be digits."""
    return run.strip().isdigit() and len(run.strip()) < SHORT_UID


def _read(run: Any) -> RunRecord:
    from ebl_autonomy.data import latest_connection, read_run  # imported here, because it loads Tiled
    from ebl_autonomy.data.lookup import LAST, is_name

    if isinstance(run, RunResult):
        run = run.uid
    if not is_name(run):
        return read_run(run)
    connection = latest_connection()
    if connection is None:
        raise BadInputError(
            f"run {run!r}: this session has not steered it, and there is no connection to look it up. Call connect(RE) "
            "first, or pass the run itself: client[uid]"
        )
    by_order = isinstance(run, Integral) or run.strip().lstrip("-").isdigit() or run.strip() == LAST
    if by_order and not connection.flush(FLUSH_S):  # a later run must not be overlooked because it is on its way
        raise BadInputError(
            f"run {run!r}: documents of this session are still on the way to {connection.uri}, so it cannot be looked "
            "up yet. Try again, or give the uid that the run ended with"
        )
    return read_run(run, connection.client)


def _best_point(past: RememberedRun) -> Mapping[str, float]:
    best = past.recommended or past.best_reading
    if best is None:
        raise BadInputError(
            f"run {past.uid!r} has no valid measurement that satisfies its constraints, so it has no best point: move "
            "the motors yourself"
        )
    return best.point


def _rules_of(metadata: RunMetadata, envelope: Envelope, motors: Collection[str]) -> Envelope:
    """The rules on moves that a run had, with its motors' limits as they were then; without its budgets."""
    return Envelope(
        limits={name: interval for name, interval in metadata.intervals.items() if name in motors},
        forbidden=envelope.forbidden,
        max_step={name: step for name, step in envelope.max_step.items() if name in motors},
    )


def _motors_of(past: RememberedRun, given: Sequence[Any] | None, needed: Sequence[str]) -> dict[str, Any]:
    if given is None:
        known = past.motors
    else:
        check_devices([], given)
        known = {motor.name: motor for motor in given}
    if missing := [name for name in dict.fromkeys(needed) if name not in known]:
        raise BadInputError(
            f"run {past.uid!r} needs the motors {missing}, which are not among {sorted(known)}: give "
            f"motors=[{', '.join(dict.fromkeys(needed))}]"
        )
    return {name: motor for name, motor in known.items() if name in past.metadata.motors or name in needed}
