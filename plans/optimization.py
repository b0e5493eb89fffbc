"""The main job: an agent proposes, the plan moves and measures, everything lands in one run."""

from collections.abc import Sequence
from typing import Any

from bluesky.protocols import NamedMovable, Readable
from bluesky.utils import MsgGenerator, plan

from ebl_autonomy.plans.acquisition import Acquisition, Measure
from ebl_autonomy.plans.steered_run import RunResult, acquisition_of, steer
from ebl_autonomy.records import Finish

__all__ = ["OptimizeResult", "optimize"]

OptimizeResult = RunResult


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
    max_failures: int = 5,
    move_timeout_s: float | None = None,
    trigger_timeout_s: float = 60.0,
    prior: Sequence[Any] = (),
) -> MsgGenerator[RunResult]:
    """Let an agent choose where to measure next, until it is good enough.

    Parameters
    ----------
    detectors : sequence of Readable
        Triggered and read at every point; they (or `derive`) give the outcomes of the agent's VOCS by key.
    motors : sequence of Movable
        One per variable, of the same name.
    agent : gest-api Generator, str or mapping
        An object; or ``{"agent": name, "vocs": {...}, "options": {...}}``; or a registered name, with `vocs`.
    max_points : int
        Rows after which the run ends; a flown line has many, and is not begun if it would exceed them.
    batch : int
        Proposals per decision; a batch is measured in the order that takes the least travel.
    until : Until or mapping, optional
        More stop rules: see `ebl_autonomy.plans.Until`.
    measure : callable or Acquisition, optional
        ``measure(detectors, point)``: a stub that takes the place of triggering and reading once the motors have
        arrived, and returns outcomes by name, or a list of such mappings, one per row (see `UserStub`). Or an
        `Acquisition`, such as `FlyLine`; it has its own detectors, so give ``detectors=[]``.
    derive : mapping of str to callable or name, or sequence of names, optional
        Outcomes computed from a row's readings.
    envelope : Envelope or mapping, optional
        What is allowed: see `ebl_autonomy.guard.Envelope`.
    md : dict, optional
        More metadata for the start document.
    vocs : VOCS or mapping, optional
        With an agent that is given by name, or has no attribute ``vocs``.
    baseline : sequence of Readable
        Read at start and end, with the motors.
    finish : {"best", "stay", "return"}
        Where the motors end: at the recommended point, where the last point was, or where they came from (the last
        also after a failure, a stop or an abort).
    retries : int
        How often a point that could not be measured is tried again before it is abandoned.
    max_failures : int
        So many abandoned points in a row end the run with a `MeasurementError`.
    move_timeout_s, trigger_timeout_s : float
        Wall seconds for a move (default: 10 s and three times what its velocity says, or 60 s if it says none)
        and for a trigger.
    prior : sequence of str or tiled run
        Past runs that the agent learns from before it proposes anything; uids are looked up in the Tiled that the
        latest open `connect` of this process goes to. An agent takes no run twice.

    Returns
    -------
    RunResult

    Raises
    ------
    BadInputError, DataError
        Before anything moves, naming value and remedy; DataError is for a past run that is no prior for this agent.
    AgentError, MeasurementError
        If the agent fails or the beamline does; what was measured is in the run, which is closed as failed.
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
            prior=prior,
        )
    )
