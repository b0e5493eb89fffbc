"""One run that an agent steers: session, acquisition, recorder and finish, put together for every adaptive plan."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from bluesky import preprocessors as bpp
from bluesky.utils import Msg, MsgGenerator, RequestAbort, RequestStop, RunEngineControlException

from ebl_autonomy.errors import BadInputError, NoMoreProposals
from ebl_autonomy.plans.acquisition import Acquisition, AtPoint, UserStub
from ebl_autonomy.plans.measuring import Measuring
from ebl_autonomy.plans.motion import Motion
from ebl_autonomy.plans.priors import take_priors
from ebl_autonomy.plans.recorder import Recorder
from ebl_autonomy.plans.setup import Experiment, prepare
from ebl_autonomy.plans.stubs import think
from ebl_autonomy.records import METADATA_KEY, BestReading, Recommendation
from ebl_autonomy.steering import Proposal

__all__ = ["RunResult", "SteeredRun", "acquisition_of", "steer"]

_ENDED: dict[type[BaseException], str] = {
    RequestAbort: "aborted by the user",
    RequestStop: "stopped by the user",
}
"""What bluesky's own exceptions do not say."""


@dataclass(frozen=True)
class RunResult:
    """What a steered plan returns (``RE.call_returns_result = True`` shows it as ``plan_result``).

    Attributes
    ----------
    uid : str
        The run.
    stop_reason : str
        Which rule ended it.
    accepted, refused, abandoned : int
        How the proposals ended.
    rows : int
        Rows that were recorded; a flown line has many.
    recommended : Recommendation or None
        What the agent recommends, with mean and standard deviation; of several objectives the compromise.
    best_reading : BestReading or None
        The best value that was read.
    left_at : dict of str to float
        Where the motors were left.
    front : tuple of Recommendation
        Of several objectives, the points that no other one betters in all of them.
    """

    uid: str
    stop_reason: str
    accepted: int
    refused: int
    abandoned: int
    rows: int
    recommended: Recommendation | None
    best_reading: BestReading | None
    left_at: dict[str, float] = field(default_factory=dict)
    front: tuple[Recommendation, ...] = ()

    @property
    def best(self) -> Recommendation | None:
        """The earlier name of `recommended`."""
        return self.recommended


def acquisition_of(detectors: Any, measure: Any, trigger_timeout_s: float = 60.0) -> Acquisition:
    """How a plan's proposals become rows: at a point, by the user's stub, or by an acquisition of the user's.

    Raises
    ------
    BadInputError
        If an argument is none of these.
    """
    if not isinstance(detectors, Sequence):
        raise BadInputError(f"detectors={detectors!r}: give a list of devices")
    if not trigger_timeout_s > 0:
        raise BadInputError(f"trigger_timeout_s={trigger_timeout_s!r}: give a positive number of seconds")
    if isinstance(measure, Acquisition):
        if detectors:
            raise BadInputError(
                f"detectors={detectors!r}: the acquisition {measure.kind!r} has its own, give an empty list"
            )
        return measure
    return AtPoint(detectors, trigger_timeout_s) if measure is None else UserStub(measure, detectors)


def steer(
    acquisition: Acquisition,
    motors: Sequence[Any],
    agent: Any,
    *,
    plan_name: str,
    md: Mapping[str, Any] | None = None,
    prior: Sequence[Any] = (),
    retries: int = 1,
    max_failures: int = 5,
    move_timeout_s: float | None = None,
    **settings: Any,
) -> MsgGenerator[RunResult]:
    """Prepare a run and steer it to its end: what an adaptive plan is, beside its signature and its choices.

    Parameters are those of `optimize`; `settings` go to `prepare`.

    Raises
    ------
    BadInputError, DataError
        Before anything moves.
    AgentError, MeasurementError
        If the agent fails or the beamline does; what was measured is in the run.
    """
    if md is not None and (not isinstance(md, Mapping) or METADATA_KEY in md):
        raise BadInputError(f"md={md!r}: give a mapping, without the key {METADATA_KEY!r}, which the plan fills in")
    if move_timeout_s is not None and not move_timeout_s > 0:
        raise BadInputError(f"move_timeout_s={move_timeout_s!r}: give a positive number of seconds")
    experiment = yield from prepare(acquisition, motors, agent, **settings)
    recorder = Recorder(experiment)
    motion = Motion(
        experiment.motors,
        experiment.session.gate,
        experiment.travel,
        experiment.start,
        recorder.tag,
        move_timeout_s,
    )
    measuring = Measuring(experiment, recorder, motion, retries, max_failures)
    experiment.prior = yield from take_priors(experiment.session.agent, experiment.session.space.vocs, prior)
    document = {"plan_name": plan_name, **dict(md or {})}
    return (yield from SteeredRun(experiment, recorder, motion, measuring, document).plan())


class SteeredRun:
    """One execution of a steered plan, from staging to unstaging.

    Parameters
    ----------
    experiment, recorder, motion, measuring
    document : mapping
        More of the start document.
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
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ebl-agent")

    def plan(self) -> MsgGenerator[RunResult]:
        """The whole run, with its devices staged."""
        # Not rewindable: after a pause the plan repeats what was cut, itself, and knows that it did (see events.py).
        inner = bpp.rewindable_wrapper(self._body(), False)
        staged = bpp.stage_wrapper(inner, [*self.experiment.acquisition.staged, *self.experiment.motors.values()])
        result: RunResult = yield from bpp.subs_wrapper(staged, {"all": [self.recorder.watch]})
        return result

    def _body(self) -> MsgGenerator[RunResult]:
        try:
            uid = yield Msg("open_run", None, **self._start_document())
            self.recorder.run_uid = uid
            yield from bpp.contingency_wrapper(
                self._measure_and_finish(), except_plan=self._after_failure, auto_raise=True
            )
            yield Msg("close_run", None, exit_status="success", reason=self.session.stop_reason)
        finally:
            self._executor.shutdown(wait=False, cancel_futures=True)
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
        )

    def _measure_and_finish(self) -> MsgGenerator[None]:
        session, recorder = self.session, self.recorder
        yield from recorder.listen()
        yield from recorder.write_baseline()
        session.begin()
        while not session.stop_reason:
            yield from self._one_batch()
        yield from think(self._executor, session.finish)
        self._recommended = yield from think(self._executor, session.recommendation)
        self._front = yield from think(self._executor, session.front)
        if self._recommended is not None:
            yield from recorder.write_recommended(self._recommended, self._front)
        explanation = yield from think(self._executor, self._explain)
        if explanation:
            yield from recorder.write_explanation(explanation)
        yield from self._go_to_finish()
        yield from recorder.write_baseline()
        yield from self.motion.find()

    def _one_batch(self) -> MsgGenerator[None]:
        session = self.session
        try:
            proposals = yield from think(self._executor, session.ask)
        except NoMoreProposals as error:
            session.stop_reason = f"agent: {error}"
            return
        yield from self.recorder.write_decisions(proposals)
        if session.surplus:
            yield from self.recorder.write_surplus(session.surplus, len(proposals))
        if len(proposals) > 1:
            proposals = yield from self._admitted_in_shortest_order(proposals)
        for proposal in proposals:
            yield from self.measuring.measure(proposal)

    def _admitted_in_shortest_order(self, proposals: list[Proposal]) -> MsgGenerator[list[Proposal]]:
        """Those of a batch that the gate lets pass, in the order that takes the least travel."""
        admitted = []
        for proposal in proposals:
            if (yield from self.measuring.admit(proposal)):
                admitted.append(proposal)
        order = self.experiment.travel.order(self.motion.here, [proposal.target for proposal in admitted])
        return [admitted[i] for i in order]

    def _after_failure(self, error: Exception) -> MsgGenerator[None]:
        """Record what ended the run, tell the agent what was measured, close the run."""
        ending = f"{type(error).__name__}: {error}" if str(error) else _ENDED.get(type(error), type(error).__name__)
        yield from self.recorder.abandon_open(f"the run ended: {ending}")
        self.session.finish()
        if self.experiment.finish == "return":
            yield from self._go_to_finish()
        status = getattr(error, "exit_status", "abort") if isinstance(error, RunEngineControlException) else "fail"
        yield Msg("close_run", None, exit_status=status, reason=ending)

    def _go_to_finish(self) -> MsgGenerator[None]:
        if self.experiment.finish == "best" and self._recommended is not None:
            yield from self.motion.walk(self._recommended.point, "the recommended point")
        elif self.experiment.finish == "return":
            yield from self.motion.walk(self.experiment.start, "where the motors came from", bound_by_domain=False)

    def _explain(self) -> str:
        explain = getattr(self.session.agent, "explain", None)
        if not callable(explain):
            return ""
        try:
            return str(explain())
        except Exception as error:  # noqa: BLE001 - everything is measured; what an agent says of itself must not fail it
            return f"no explanation: {error}"

    def _start_document(self) -> dict[str, Any]:
        experiment = self.experiment
        return {
            "detectors": [detector.name for detector in experiment.acquisition.detectors],
            "motors": list(experiment.motors),
            "num_points": self.session.max_points,
            "hints": {"dimensions": [[["time"], "primary"]]},
            **self._document,
            METADATA_KEY: experiment.metadata().model_dump(mode="json"),
        }
