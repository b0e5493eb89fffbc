"""One steered run: combines session, acquisition, recorder and finish, for every adaptive plan."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bluesky import preprocessors as bpp
from bluesky.utils import (
    FailedPause,
    FailedStatus,
    Msg,
    MsgGenerator,
    RequestAbort,
    RequestStop,
    RunEngineControlException,
    root_ancestor,
)

from ebl_autonomy.agents.protocols import OrdersBatches
from ebl_autonomy.errors import (
    AgentError,
    BadInputError,
    DeviceFailedError,
    DeviceTimeoutError,
    MeasurementError,
    NoMoreProposals,
)
from ebl_autonomy.plans.acquisition import Acquisition, AtPoint, UserStub
from ebl_autonomy.plans.arguments import check_document_keys, check_list, check_seconds
from ebl_autonomy.plans.bounds import into_limits
from ebl_autonomy.plans.ending import AT_RECOMMENDED, announce, ending_line, report_command
from ebl_autonomy.plans.measuring import Measuring
from ebl_autonomy.plans.motion import Motion
from ebl_autonomy.plans.priors import take_priors
from ebl_autonomy.plans.queueing import refuse_names
from ebl_autonomy.plans.readings import separate
from ebl_autonomy.plans.recorder import Recorder
from ebl_autonomy.plans.remembered import RememberedRun, remember
from ebl_autonomy.plans.result import RunResult
from ebl_autonomy.plans.rewriting import refuse_rewriting
from ebl_autonomy.plans.setup import Experiment, check_staged, prepare
from ebl_autonomy.plans.stubs import stage_devices, unstage_devices
from ebl_autonomy.plans.thinking import DaemonExecutor, errors_for_exits, think
from ebl_autonomy.records import EXPLANATION, METADATA_KEY, RECOMMENDED, Recommendation, ending_text
from ebl_autonomy.steering import Proposal

__all__ = ["LEAVES_MOTORS", "SteeredRun", "acquisition_of", "check_steered", "steer"]

logger = logging.getLogger(__name__)

LAST_INGEST_S: Final = 10.0
"""Longest time that an agent may take for the last results when a run is ended early, s: it may be what hangs."""
LAST_BEST_S: Final = 5.0
"""Longest time that an agent may then take to recommend a point, s."""

_ENDED: dict[type[Exception], str] = {
    RequestAbort: "aborted by the user",
    RequestStop: "stopped by the user",
}
"""Reasons for bluesky's exceptions that have no message."""

LEAVES_MOTORS = (RequestAbort, FailedPause)
"""After these the motors stay where they are, also if they were to return: the user wants nothing to move."""

_ON_THE_WAY = "were stopped on their way"


def acquisition_of(detectors: Any, measure: Any, trigger_timeout_s: float | None = None) -> Acquisition:
    """The acquisition of a plan: at a point, by a user's stub, or the given acquisition.

    Raises
    ------
    BadInputError
        If an argument has the wrong type or value.
    """
    refuse_names("detectors", detectors)
    check_list("detectors", detectors)
    if trigger_timeout_s is not None:
        check_seconds("trigger_timeout_s", trigger_timeout_s)
    if isinstance(measure, Acquisition):
        if detectors:
            raise BadInputError(
                f"detectors={detectors!r}: the acquisition {measure.kind!r} has its own, give an empty list"
            )
        return measure
    return AtPoint(detectors, trigger_timeout_s) if measure is None else UserStub(measure, detectors)


def steer(acquisition: Acquisition, motors: Sequence[Any], agent: Any, **settings: Any) -> MsgGenerator[RunResult]:
    """Prepare a run and steer it to its end; every adaptive plan is a thin wrapper around this.

    Parameters are the same as for `optimize`.

    Raises
    ------
    BadInputError, DataError
        If an argument or a past run is unusable; raised before anything moves.
    AgentError, MeasurementError
        If the agent or the beamline fails; the run holds all measured rows.
    UserFunctionError, ProgramExitError
        If a function of the user has a programming error, or tried to end the program.
    """

    def run() -> MsgGenerator[RunResult]:
        return (yield from SteeredRun(*(yield from _prepared(acquisition, motors, agent, **settings))).plan())

    return (yield from errors_for_exits(run()))


def check_steered(
    acquisition: Acquisition, motors: Sequence[Any], agent: Any, **settings: Any
) -> MsgGenerator[Experiment]:
    """The run that `steer` would make of the same arguments; nothing moves.

    Raises
    ------
    BadInputError, DataError
        If an argument or a past run is unusable.
    """
    experiment, *_ = yield from errors_for_exits(_prepared(acquisition, motors, agent, **settings))
    return experiment


def _prepared(
    acquisition: Acquisition,
    motors: Sequence[Any],
    agent: Any,
    *,
    plan_name: str,
    md: Mapping[str, Any] | None = None,
    prior: Sequence[Any] = (),
    retries: int = 1,
    max_failures: int | None = None,
    move_timeout_s: float | None = None,
    trigger_timeout_s: float | None = None,
    **settings: Any,
) -> MsgGenerator[tuple[Experiment, Recorder, Motion, Measuring, dict[str, Any]]]:
    """What a `SteeredRun` is made of; nothing has moved. `settings` are passed to `prepare`."""
    if md is not None and (not isinstance(md, Mapping) or METADATA_KEY in md):
        raise BadInputError(f"md={md!r}: give a mapping, without the key {METADATA_KEY!r}, which the plan fills in")
    if move_timeout_s is not None:
        check_seconds("move_timeout_s", move_timeout_s)
    experiment = yield from prepare(acquisition, motors, agent, **settings)
    experiment.retries = retries
    experiment.trigger_timeout_s, experiment.move_timeout_s = trigger_timeout_s, move_timeout_s
    recorder = Recorder(experiment)
    motion = Motion(
        experiment.motors,
        experiment.session.gate,
        experiment.travel,
        experiment.start,
        recorder.tag,
        move_timeout_s,
        experiment.tolerances,
    )
    measuring = Measuring(experiment, recorder, motion, retries, max_failures)
    experiment.prior = yield from take_priors(experiment.session.agent, experiment.session.space.vocs, prior)
    document = {"plan_name": plan_name, **dict(md or {})}
    check_document_keys("md", document)
    check_document_keys(METADATA_KEY, experiment.metadata().model_dump(mode="json"))
    yield from refuse_rewriting(experiment.motors, experiment.start)
    return experiment, recorder, motion, measuring, document


class SteeredRun:
    """One execution of a steered plan, from staging to unstaging.

    Parameters
    ----------
    experiment, recorder, motion, measuring
    document : mapping
        Additional entries of the start document.
    """

    def __init__(
        self,
        experiment: Experiment,
        recorder: Recorder,
        motion: Motion,
        measuring: Measuring,
        document: Mapping[str, Any],
    ) -> None:
        self.experiment, self.session = experiment, experiment.session
        self.recorder, self.motion, self.measuring = recorder, motion, measuring
        self._document = dict(document)
        self._recommended: Recommendation | None = None
        self._front: list[Recommendation] = []
        self._asking = False
        """Whether the agent is choosing proposals; it has ingested all results by then."""
        self._staged = False
        self._left_where = "stayed"
        self._metadata = experiment.metadata()
        self._report = ""
        """The command that writes the report of the run."""
        self._line = ""
        self._executor = DaemonExecutor("ebl-agent")

    def plan(self) -> MsgGenerator[RunResult]:
        """The whole run, with staged devices."""
        devices = separate([root_ancestor(device) for device in self.experiment.staged])
        staged = bpp.finalize_wrapper(self._stage_and_run(devices), self._unstage(devices))
        result: RunResult = yield from bpp.subs_wrapper(staged, {"all": [self.recorder.watch]})
        return result

    def _stage_and_run(self, devices: Sequence[Any]) -> MsgGenerator[RunResult]:
        try:
            yield from stage_devices(devices, self.experiment.trigger_s)
        except (DeviceFailedError, DeviceTimeoutError) as error:
            raise MeasurementError(
                f"devices cannot be staged: {error}. Nothing has moved. Connect or repair {', '.join(error.devices)}"
            ) from error
        self._staged = True
        return (yield from self._body())

    def _unstage(self, devices: Sequence[Any]) -> MsgGenerator[None]:
        try:
            yield from unstage_devices(devices[::-1], self.experiment.trigger_s)
        except (FailedStatus, DeviceTimeoutError):
            if self._staged:
                raise  # otherwise the error that is raised must be that of staging
            logger.exception("devices could not be unstaged")

    def _body(self) -> MsgGenerator[RunResult]:
        stopped: RequestStop | None = None
        try:
            yield from check_staged(self.experiment)
            self._metadata = self.experiment.metadata()  # with the units that are known only now
            uid = yield Msg("open_run", None, **self._start_document())
            self.recorder.run_uid = uid
            self._report = report_command(str(uid))
            # Not rewindable: after a pause the plan itself repeats the interrupted step (see events.py). What the
            # preprocessors of the RunEngine add to the opening and the closing of a run is rewound, as in any plan.
            stopped = yield from bpp.contingency_wrapper(
                bpp.rewindable_wrapper(errors_for_exits(self._measure_and_finish()), False),
                except_plan=self._after_failure,
                auto_raise=True,
            )
            yield from self._close("success", self.session.stop_reason)
        except GeneratorExit:  # of RE.halt(): no message may follow, so nothing is read, moved or closed here
            self._left_where, self.motion.here = "stay where the halt has left them", {}
            self._tell("halted by the user")
            raise
        finally:
            self._executor.shutdown(wait=False, cancel_futures=True)
        if stopped is not None:
            raise stopped  # ends the plans around this one too
        session = self.session
        return RunResult(
            uid,
            session.stop_reason,
            **session.counts,
            rows=session.rows,
            recommended=self._recommended,
            best_reading=session.best_reading,
            left_at=dict(self.motion.here),
            front=tuple(self._front),
            left_where=self._left_where,
            seconds=session.seconds_spent,
            dose=session.gate.dose,
            line=self._line,
        )

    def _measure_and_finish(self) -> MsgGenerator[RequestStop | None]:
        """Measure, let the agent conclude, and move the motors to where the run finishes.

        Returns
        -------
        RequestStop or None
            The request of a user who has ended the measurements, to be raised when the run is closed.
        """
        session, recorder = self.session, self.recorder
        stopped: RequestStop | None = None
        try:
            yield from recorder.listen()
            yield from recorder.write_start()
            session.begin()
            while not session.stop_reason:
                yield from self._one_batch()
            yield from self._conclude()
        except RequestStop as stop:
            stopped = stop
            session.stop_reason = _reason(stop)
            yield from self._abandon_open()
            yield from self._conclude_in_time()
        yield from self._go_to_finish()
        yield from recorder.write_end()
        yield from self._record_left()
        return stopped

    def _conclude(self, within_s: float = math.inf) -> MsgGenerator[None]:
        """Give the agent the last results, and record what it has found, unless that is recorded."""
        session, recorder = self.session, self.recorder
        yield from think(self._executor, session.finish, within_s)
        yield from recorder.write_suspects()
        self._recommended = yield from think(self._executor, session.recommendation, within_s)
        self._front = yield from think(self._executor, session.front, within_s)
        yield from self._write_recommended()
        explanation = yield from think(self._executor, self._explain, within_s)
        if explanation and not recorder.watch.count(EXPLANATION):
            yield from recorder.write_explanation(explanation)

    def _conclude_in_time(self) -> MsgGenerator[None]:
        """Conclude a run that the user has stopped; an agent that hangs is not waited for."""
        try:
            yield from self._conclude(LAST_INGEST_S)
        except AgentError as late:
            logger.warning("the agent could not conclude the stopped run: %s", late)
            best = self.session.best_reading
            if self._recommended is None and best is not None:
                self._recommended = Recommendation(dict(best.point), dict(best.outcome))
            yield from self._write_recommended()

    def _write_recommended(self) -> MsgGenerator[None]:
        """Record the recommended point and the front, unless they are recorded."""
        if self._recommended is not None and not self.recorder.watch.count(RECOMMENDED):
            yield from self.recorder.write_recommended(self._recommended, self._front)

    def _one_batch(self) -> MsgGenerator[None]:
        session = self.session
        self._asking = True
        try:
            proposals = yield from think(self._executor, session.ask)
        except RunEngineControlException:
            raise  # the agent may still be computing
        except NoMoreProposals as error:
            self._asking = False
            session.stop_reason = f"agent: {error}"
            return  # what the agent suspects is recorded when the run concludes
        except Exception:
            self._asking = False
            raise
        self._asking = False
        yield from self.recorder.write_suspects()
        yield from self.recorder.write_decisions(proposals)
        if session.surplus:
            yield from self.recorder.write_surplus(session.surplus, len(proposals))
        if len(proposals) > 1:
            proposals = yield from self._admitted_in_shortest_order(proposals)
        for proposal in proposals:
            yield from self.measuring.measure(proposal)

    def _admitted_in_shortest_order(self, proposals: list[Proposal]) -> MsgGenerator[list[Proposal]]:
        """The admitted proposals of a batch, in the order with the least travel, unless their agent orders them."""
        admitted = []
        for proposal in proposals:
            if (yield from self.measuring.admit(proposal)):
                admitted.append(proposal)
        if isinstance(self.session.agent, OrdersBatches):
            return admitted
        yield from self.motion.find()
        here = self.motion.here
        order = self.experiment.travel.order(here, [{**here, **proposal.target} for proposal in admitted])
        return [admitted[i] for i in order]

    def _abandon_open(self) -> MsgGenerator[None]:
        """Record the end of the proposals that the run leaves unmeasured."""
        proposals = [] if self._asking else self.session.open_proposals  # what is being chosen is no proposal yet
        yield from self.recorder.abandon_open(proposals, f"the run ended: {self.session.stop_reason}")

    def _after_failure(self, error: Exception) -> MsgGenerator[None]:
        """Record why the run ended, give the agent the last results, and close the run."""
        self.session.stop_reason = _reason(error)
        yield from bpp.rewindable_wrapper(self._save_what_there_is(error), False)
        status = getattr(error, "exit_status", "abort") if isinstance(error, RunEngineControlException) else "fail"
        yield from self._close(status, self.session.stop_reason)

    def _save_what_there_is(self, error: Exception) -> MsgGenerator[None]:
        session = self.session
        yield from self._abandon_open()
        if not self._asking and self._recommended is None:
            try:
                yield from think(self._executor, session.finish, LAST_INGEST_S)
                yield from self.recorder.write_suspects()
                self._recommended = yield from think(self._executor, session.recommendation, LAST_BEST_S)
            except AgentError as late:
                logger.warning("the agent recommends nothing: %s", late)
            except Exception:  # the error that ended the run must be the one that is raised
                logger.exception("the agent could not ingest the last results")
        yield from self._write_recommended()
        if self.experiment.finish == "return" and not isinstance(error, LEAVES_MOTORS):
            yield from self._go_to_finish()
        yield from self._record_left()

    def _go_to_finish(self) -> MsgGenerator[None]:
        if self.experiment.finish == "best" and self._recommended is not None:
            # A readback may lie outside the domain by as much as its motor's tolerance.
            best = self._recommended.point
            point = self.session.space.nearby(best, self.motion.tolerances.at(best))
            self._left_where = _ON_THE_WAY  # if the walk is aborted
            reason = yield from self.motion.walk(point)
            self._left_where = f"were not moved to the recommended point ({reason})" if reason else AT_RECOMMENDED
        elif self.experiment.finish == "return":
            self._left_where = _ON_THE_WAY
            start = into_limits(self.session.gate, self.experiment.start)  # see `check_return`
            reason = yield from self.motion.walk(start, bound_by_domain=False)
            self._left_where = f"were not moved back ({reason})" if reason else "are back where they were before"
        else:
            return
        if reason:
            logger.warning("the motors %s", self._left_where)

    def _record_left(self) -> MsgGenerator[None]:
        """Read and record where the motors are left; a motor that gives no position does not hide the others."""
        self.motion.here = yield from self.motion.found()
        yield from self.recorder.write_left(self._left_where, self.motion.here)

    def _close(self, status: str, reason: str) -> MsgGenerator[None]:
        text = ending_text(reason, self._left_where, self.motion.here)
        yield Msg("close_run", None, exit_status=status, reason=text)
        self._tell(reason)

    def _tell(self, reason: str) -> None:
        """Print how the run ended, and remember it for `go_to_best`."""
        session, uid = self.session, str(self.recorder.run_uid or "")
        self._line = ending_line(
            uid,
            reason,
            session.rows,
            objectives=session.space.objectives,
            units=self._metadata.units,
            recommended=self._recommended,
            best_reading=session.best_reading,
            left_where=self._left_where,
            left_at=self.motion.here,
            report=self._report,
        )
        remember(
            RememberedRun(uid, self._metadata, self._recommended, session.best_reading, dict(self.experiment.motors))
        )
        announce(self._line)

    def _explain(self) -> str:
        explain = getattr(self.session.agent, "explain", None)
        if not callable(explain):
            return ""
        try:
            return str(explain())
        except (Exception, SystemExit) as error:  # noqa: BLE001 - all rows are measured; the run must not fail now
            return f"no explanation: {error}"

    def _start_document(self) -> dict[str, Any]:
        experiment = self.experiment
        return {
            "detectors": [detector.name for detector in experiment.acquisition.detectors],
            "motors": [motor.name for motor in experiment.motors.values()],
            "num_points": self.session.max_points,
            "hints": {"dimensions": [[["time"], "primary"]]},
            **self._document,
            METADATA_KEY: self._metadata.model_dump(mode="json"),
        }


def _reason(error: Exception) -> str:
    """Why a run ended, from the exception that ended it."""
    return f"{type(error).__name__}: {error}" if str(error) else _ENDED.get(type(error), type(error).__name__)
