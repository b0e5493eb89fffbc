"""Optimization: an agent proposes points, the plan measures them, and one run records everything."""

from collections.abc import Sequence
from typing import Any

from bluesky.protocols import NamedMovable, Readable
from bluesky.utils import MsgGenerator, plan

from ebl_autonomy.plans.acquisition import Acquisition, Measure
from ebl_autonomy.plans.queueing import checked_by_queue
from ebl_autonomy.plans.result import RunResult
from ebl_autonomy.plans.steered_run import acquisition_of, steer
from ebl_autonomy.records import Finish

__all__ = ["OptimizeResult", "optimize"]

OptimizeResult = RunResult


@checked_by_queue
@plan
def optimize(
    detectors: Sequence[Readable[Any]],
    motors: Sequence[NamedMovable[float]],
    agent: Any,
    *,
    max_points: int,
    batch: int = 1,
    until: Any = None,
    measure: Measure | Acquisition | None = None,
    derive: Any = None,
    envelope: Any = None,
    md: dict[str, Any] | None = None,
    vocs: Any = None,
    baseline: Sequence[Readable[Any]] = (),
    finish: Finish = "best",
    retries: int = 1,
    max_failures: int | None = None,
    move_timeout_s: float | None = None,
    trigger_timeout_s: float | None = None,
    prior: Sequence[Any] = (),
    position_tolerance: dict[str, float] | None = None,
) -> MsgGenerator[RunResult]:
    """Let an agent choose where to measure next, until a stop rule or the number of points ends the run.

    Parameters
    ----------
    detectors : sequence of Readable
        Triggered and read at every point. They, or `derive`, provide the outcomes of the agent's VOCS by event key.
    motors : sequence of Movable
        One motor per variable. The variable has the name of the motor, or of one of its readings, such as
        ``gap_readback`` of a positioner ``gap``. A motor without limits is kept within the variable's domain.
    agent : gest-api Generator, str or mapping
        A generator; or ``{"agent": name, "vocs": {...}, "options": {...}}``; or a registered name, with `vocs`.
    max_points : int
        Maximum number of rows. A flown line has many rows, and is not started if it would exceed the maximum.
    batch : int
        Proposals per decision. A batch is measured in the order with the least travel.
    until : Until or mapping, optional
        More stop rules: see `ebl_autonomy.plans.Until`.
    measure : callable or Acquisition, optional
        Replaces triggering and reading. Either a stub ``measure(detectors, point)``, which runs after the motors have
        arrived and returns outcomes by name, or a list of such mappings, one per row (see `UserStub`). Or an
        `Acquisition` such as `FlyLine`, which has its own detectors; then give ``detectors=[]``.
    derive : mapping of str to callable or name, or sequence of names, optional
        Outcomes computed from a row's readings.
    envelope : Envelope or mapping, optional
        The allowed moves and budgets: see `ebl_autonomy.guard.Envelope`.
    md : dict, optional
        More metadata for the start document.
    vocs : VOCS or mapping, optional
        For an agent that is given by name, or that has no attribute ``vocs``.
    baseline : sequence of Readable
        Staged for the run; triggered and read at its start and its end, with the motors, into the stream
        `start_and_end`. Devices that are measured or moved too may be among them.
    finish : {"best", "stay", "return"}
        Where the motors end: at the recommended point, at the last point, or at their start positions. This also holds
        after ``RE.stop()``, and "return" also after a failure. After an abort the motors stay: see `go_to_best`.
    retries : int
        Number of retries for a point that could not be measured, before it is abandoned.
    max_failures : int, optional
        Number of consecutive points without a valid row after which the run ends with a `MeasurementError`. By default
        5 if points are abandoned or a derivation fails, and 25 if an outcome is measured as NaN.
    move_timeout_s, trigger_timeout_s : float, optional
        Wall seconds that a move and a trigger may take; `trigger_timeout_s` holds for staging and unstaging too. By
        default a move may take 10 s plus three times the duration that the motors' velocities give, or 60 s if a motor
        reports no velocity, and a trigger 60 s. Where they are given, they are also the limits of waits in a stub of
        `measure` that have none of their own; by default these have no limit.
    prior : sequence of str, int or tiled run
        Past runs that the agent learns from before its first proposal: a uid or its first characters, a scan id, -1 for
        the latest run, or the run itself. Names are looked up in the Tiled of the latest open `connect` of this
        process. An agent ingests each run only once.
    position_tolerance : dict, optional
        Largest distance of each motor from its target, in motor units, at which a point is measured; a point whose
        motors stand further off is retried and then abandoned. By default the motor's own (an EPICS retry deadband, an
        ophyd ``atol``, an attribute ``tolerance``), or else 1 % of the variable's domain; with
        ``log_scale`` 1 % of its logarithmic scale, which is a share of each target.

    Returns
    -------
    RunResult

    Raises
    ------
    BadInputError, DataError
        If an argument is invalid, or (DataError) a past run cannot be a prior for this agent. Raised before anything
        moves; the message names the value and the remedy.
    AgentError, MeasurementError
        If the agent or the beamline fails. The run holds all measured rows and is closed as failed.
    UserFunctionError
        If a function in `derive` or `measure` has a programming error (a KeyError, a NameError ...); likewise.
    """
    return (
        yield from steer(
            acquisition_of(detectors, measure, trigger_timeout_s),
            motors,
            agent,
            plan_name="optimize",
            max_points=max_points,
            batch=batch,
            until=until,
            derive=derive,
            envelope=envelope,
            md=md,
            vocs=vocs,
            baseline=baseline,
            finish=finish,
            retries=retries,
            max_failures=max_failures,
            move_timeout_s=move_timeout_s,
            trigger_timeout_s=trigger_timeout_s,
            prior=prior,
            position_tolerance=position_tolerance,
        )
    )
