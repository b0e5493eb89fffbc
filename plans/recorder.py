"""Writes the streams of a run: each proposal ends as accepted rows or as one row of `abandoned`."""

import contextlib
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bluesky.protocols import Readable
from bluesky.utils import IllegalMessageSequence, Msg, MsgGenerator, RunEngineControlException

from ebl_autonomy.errors import BadInputError, MeasurementError, UserFunctionError
from ebl_autonomy.plans.deriving import derived_values
from ebl_autonomy.plans.devices import read_positions
from ebl_autonomy.plans.events import (
    EventPage,
    EventTag,
    EventWatch,
    InterruptedReadingError,
    plain,
    save_event,
    save_page,
)
from ebl_autonomy.plans.motion import LOOK, Motion
from ebl_autonomy.plans.readings import External, separate
from ebl_autonomy.plans.stubs import trigger_detectors
from ebl_autonomy.records import (
    ABANDONED,
    ABANDONMENT,
    DECISIONS,
    EXPLANATION,
    LEFT,
    LEFT_WHERE,
    MEAN,
    OUR_STREAMS,
    PRIMARY,
    PROPOSAL_ID,
    PROPOSALS_ACCEPTED,
    READING,
    RECOMMENDATION,
    RECOMMENDED,
    ROW,
    RULE_RUN,
    START_AND_END,
    STD,
    AbandonedStatus,
    Recommendation,
    to_float,
)
from ebl_autonomy.steering import Proposal

if TYPE_CHECKING:
    from ebl_autonomy.plans.setup import Experiment

__all__ = ["Attempt", "Recorder"]

logger = logging.getLogger(__name__)


class Recorder:
    """Writes the streams of one run.

    Parameters
    ----------
    experiment : Experiment

    Attributes
    ----------
    tag : EventTag
        Part of every `primary` row that is read from devices; counts the interruptions of the RunEngine.
    watch : EventWatch
        Must be subscribed to the RunEngine.
    binding : EventTag
        Part of every event of a user's stub: the id of the current proposal.
    run_uid : str
        Uid of the run; empty before it is open.
    """

    def __init__(self, experiment: "Experiment") -> None:
        self.experiment = experiment
        self.session = experiment.session
        self.watch = EventWatch({"ebl_row", "ebl_rows", *map(_tag_name, OUR_STREAMS)})
        self.tag = EventTag("ebl_row", {}, hints=experiment.hinted)
        self.page = EventPage("ebl_rows", PRIMARY, hints=experiment.session.outcomes)
        self.binding = EventTag("ebl_measured", {PROPOSAL_ID: ""})
        self.run_uid = ""
        self._start_and_end = EventTag(_tag_name(START_AND_END), {PROPOSALS_ACCEPTED: 0})
        self._soft: dict[str, EventTag] = {}

    def listen(self) -> MsgGenerator[None]:
        """Register the tags of device events with the RunEngine, so that it notifies them of pauses."""
        for tag in (self.tag, self._start_and_end):
            yield Msg("null", tag)

    # -- proposals ---------------------------------------------------------------------------------------------

    def write_decisions(self, proposals: Sequence[Proposal]) -> MsgGenerator[None]:
        """Record proposals with the agent's decisions."""
        session = self.session
        for proposal in proposals:
            event = proposal.decision_event(session.space.vocs.variables, session.outcomes, self.experiment.agent_name)
            yield from self._write(DECISIONS, event)

    def write_surplus(self, surplus: int, asked: int) -> MsgGenerator[None]:
        """Record that the agent returned more proposals than requested; the surplus is not measured."""
        reason = f"the agent returned {asked + surplus} proposals, but {asked} were requested"
        event = Proposal("", f"{surplus} proposals").abandonment_event(
            "refused", "batch", reason, 0, self.session.elapsed()
        )
        event[ABANDONMENT.proposed] = f"{surplus} proposals"
        yield from self._write(ABANDONED, {**event, **self.session.gate.doses.event()})

    def write_abandonment(
        self, proposal: Proposal, status: AbandonedStatus, rule: str, reason: str, attempts: int = 0
    ) -> MsgGenerator[None]:
        """Record that a proposal was refused, or that it was admitted but not measured."""
        event = proposal.abandonment_event(status, rule, reason, attempts, self.session.elapsed())
        yield from self._write(ABANDONED, {**event, **self.session.gate.doses.event()})

    def abandon_open(self, proposals: Sequence[Proposal], reason: str) -> MsgGenerator[None]:
        """Record the end of the proposals that are still open when a run ends early."""
        with contextlib.suppress(IllegalMessageSequence):
            yield Msg("drop")  # the event that the failure interrupted
        # The failure may have come before a decision was written, or just after the row was.
        yield from self.write_decisions([p for p in proposals if not self.watch.holds(DECISIONS, p.proposal_id)])
        for proposal in proposals:
            if self.watch.holds(PRIMARY, proposal.proposal_id):
                continue
            if not self.watch.holds(ABANDONED, proposal.proposal_id):
                yield from self.write_abandonment(proposal, "abandoned", RULE_RUN, reason)
            self.session.abandon(proposal, RULE_RUN)

    # -- the run -----------------------------------------------------------------------------------------------

    def write_start(self) -> MsgGenerator[None]:
        """Read the devices in ``baseline=`` and the motors into the stream `start_and_end`, before anything moves.

        Raises
        ------
        BadInputError
            If somebody else writes into a stream of the run.
        MeasurementError
            If a device fails again and again.
        """
        self.watch.check_free(sorted(OUR_STREAMS))
        if failure := (yield from self._write_start_or_end()):
            raise MeasurementError(
                f"the readings at the start of the run failed: {failure}. Nothing has moved. Repair "
                f"{_named(failure)}, or leave it out of baseline="
            ) from failure

    def write_end(self) -> MsgGenerator[None]:
        """Read the same devices at the end; a failure is only logged, because all rows are safe."""
        if failure := (yield from self._write_start_or_end()):
            logger.warning("the run lacks the readings at its end: %s", failure)

    def _write_start_or_end(self) -> MsgGenerator[Exception | None]:
        """Trigger and read, with retries; returns the last failure if all of them failed."""
        experiment, tag = self.experiment, self._start_and_end
        devices = separate([*experiment.baseline, *experiment.motors.values()])
        given = [device for device in devices if any(device is one for one in experiment.baseline)]
        failures = 0
        while True:
            mark = tag.interruptions
            try:
                yield from trigger_detectors(given, experiment.trigger_timeout_s)
                if tag.interruptions == mark:  # a pause ends the wait for the triggers early
                    yield from self._save_start_or_end(devices)
                    return None
            except InterruptedReadingError:
                continue
            except (RunEngineControlException, BadInputError):
                raise
            except Exception as error:  # noqa: BLE001 - a device may raise anything
                if tag.interruptions != mark:
                    continue  # the pause stopped the devices
                failures += 1
                logger.warning("readings at the start or end, attempt %d: %s", failures, error)
                if failures > experiment.retries:
                    return error

    def _save_start_or_end(self, devices: Sequence[Any]) -> MsgGenerator[None]:
        yield from self.experiment.ends.ask("triggered")
        positions = yield from read_positions(self.experiment.motors)

        def finish(readings: Mapping[str, Any]) -> dict[str, Any]:
            accepted = {PROPOSALS_ACCEPTED: self.session.counts["accepted"]}
            return {**_unread(positions, readings), **accepted}

        tag, check_read = self._start_and_end, self.experiment.ends.check_read
        yield from save_event(START_AND_END, devices, tag, self.watch, finish, check_read)

    def write_explanation(self, text: str) -> MsgGenerator[None]:
        """Record the agent's explanation of its model at the end."""
        yield from self._write(EXPLANATION, {EXPLANATION: text})

    def write_left(self, where: str, left_at: Mapping[str, float]) -> MsgGenerator[None]:
        """Record where the motors are left; NaN for a motor that gives no position."""
        if self.watch.is_taken(LEFT):
            return  # the run has failed because of that, and must still be closed
        motors = {name: to_float(left_at.get(name)) for name in self.experiment.motors}
        yield from self._write(LEFT, {**motors, LEFT_WHERE: where})

    def write_recommended(self, recommended: Recommendation, front: Sequence[Recommendation]) -> MsgGenerator[None]:
        """Record the recommended point and, for several objectives, the front."""
        for kind, one in (("recommended", recommended), *(("front", one) for one in front)):
            outcomes = {}
            for name in self.session.outcomes:
                outcomes[name + READING] = to_float(one.outcome.get(name))
                outcomes[name + MEAN] = to_float(one.mean.get(name))
                outcomes[name + STD] = to_float(one.std.get(name))
            point = {name: to_float(one.point.get(name)) for name in self.session.space.names}
            yield from self._write(
                RECOMMENDED,
                {RECOMMENDATION.kind: kind, RECOMMENDATION.feasible: bool(one.feasible), **point, **outcomes},
            )

    def _write(self, stream: str, values: Mapping[str, Any]) -> MsgGenerator[None]:
        """Write one event of soft values. A pause does not change them, so a cut event is simply repeated."""
        tag = self._soft.setdefault(stream, EventTag(_tag_name(stream), dict(values)))
        # The RunEngine notifies the tag only after its first read; an earlier cut shows in the missing event.
        while True:
            try:
                yield from save_event(stream, [], tag, self.watch, lambda _: values)
            except InterruptedReadingError:
                continue
            return


@dataclass
class Attempt:
    """One attempt to record the rows of a proposal, with the motors at its target.

    Attributes
    ----------
    recorder : Recorder
    motion : Motion
        Set its ``lost`` if the acquisition has moved motors.
    proposal : Proposal
    number : int
        Counted from 1.
    mark : int
        Number of interruptions before the attempt started.
    seconds_moving : float
        Wall seconds of the move to the target.
    began : float
        Time of arrival, from ``time.perf_counter``, s.
    exposed : bool
        Whether an exposure has begun, so that the sample has received a dose; see `expose`.
    readings : sequence of mapping
        What was read of the exposure, one mapping of event keys per row, even if no row is recorded.
    fault : BadInputError, UserFunctionError or None
        The error with which the run ends as soon as the rows are recorded: no row of these detectors can have what the
        agent needs, or a derivation has a programming error.
    """

    recorder: Recorder
    motion: Motion
    proposal: Proposal
    number: int
    mark: int
    seconds_moving: float = math.nan
    began: float = math.nan
    exposed: bool = False
    readings: Sequence[Mapping[str, Any]] = ()
    fault: BadInputError | UserFunctionError | None = None

    def arrive(self, left: float) -> None:
        """Take the time of arrival after a move that began at `left`, s."""
        self.began = time.perf_counter()
        self.seconds_moving = self.began - left

    def expose(self) -> None:
        """Note that an exposure begins: acquisitions call it just before they trigger, kick off or run a stub."""
        self.exposed = True

    def is_interrupted(self) -> bool:
        """Whether the RunEngine was paused or suspended since the attempt started."""
        return self.recorder.tag.interruptions != self.mark

    def check_uninterrupted(self) -> None:
        """Check that there was no interruption since the attempt started.

        Raises
        ------
        InterruptedReadingError
            If the RunEngine was paused or suspended.
        """
        if self.is_interrupted():
            raise InterruptedReadingError("the RunEngine was paused or suspended on the way to the point")

    def record_row(
        self, detectors: Sequence[Readable[Any]], given: Mapping[str, float] | None = None
    ) -> MsgGenerator[dict[str, Any]]:
        """Read the motors and `detectors`, and record one row of `primary` with the derived values.

        Parameters
        ----------
        detectors : sequence of Readable
        given : mapping, optional
            Outcomes that are not read from devices.

        Returns
        -------
        dict
            The row, exactly as it was emitted.

        Raises
        ------
        InterruptedReadingError
            If the reading was interrupted; no row was recorded.
        OffTargetError
            If a motor reads further from its target than its tolerance; no row was recorded.
        """
        yield from self._ask_late()
        recorder, outcomes = self.recorder, dict(given or {})
        experiment = recorder.experiment
        motors = experiment.motors
        devices: list[Any] = separate([*motors.values(), *detectors])
        # A readback with another name is in the row under the variable's name too; so is that of a motor which is read
        # as a part of a detector, whose reading may lack it.
        parts = [name for name, motor in motors.items() if not any(motor is device for device in devices)]
        positions = yield from read_positions({name: motors[name] for name in {*experiment.unnamed, *parts}})

        def finish(readings: Mapping[str, Any]) -> dict[str, Any]:
            unread = _unread(positions, readings)
            values = self._completed({**readings, **unread}, outcomes, 0)
            return {**unread, **values, **self._dose()}

        return (
            yield from save_event(PRIMARY, devices, recorder.tag, recorder.watch, finish, experiment.rows.check_read)
        )

    def _ask_late(self) -> MsgGenerator[None]:
        """Ask the devices that can describe themselves only after their first trigger."""
        experiment = self.recorder.experiment
        if experiment.rows.late:
            yield from experiment.rows.ask("triggered")
        try:
            experiment.check_keys()  # at each attempt, because the one that asked the devices may have been interrupted
        except BadInputError as error:
            self.fault = error

    def record_rows(self, readings: Sequence[Mapping[str, Any]]) -> MsgGenerator[list[dict[str, Any]]]:
        """Record many rows of `primary` as one event page: all of them or none.

        Parameters
        ----------
        readings : sequence of mapping
            Positions, outcomes and other readings of each row. Numbers and strings are recorded; arrays are only
            passed to derivations.

        Returns
        -------
        list of dict
            The rows with the derived values, exactly as they were emitted.

        Raises
        ------
        OffTargetError
            If a motor that was to stand still reads further from its target than its tolerance; no row was recorded.
        """
        recorder = self.recorder
        self.readings = []
        rows = [
            {**_scalars(reading), **self._completed(reading, {}, number)} for number, reading in enumerate(readings)
        ]
        rows = [{**row, **self._dose()} for row in rows]
        while True:  # a pause does not change the readings, so a cut page is simply repeated
            try:
                yield from save_page(PRIMARY, recorder.page, recorder.watch, rows)
            except InterruptedReadingError:
                continue
            return rows

    def check_targets(self, positions: Mapping[str, Any], remedy: str = LOOK) -> None:
        """Check that the motors stand where they were sent, except those that move while they measure.

        Raises
        ------
        OffTargetError
            If a motor stands further from its target than its tolerance, with the `remedy`.
        """
        admitted = self.proposal.admitted
        assert admitted is not None
        line = admitted.line
        exempt = self.recorder.experiment.acquisition.positions_from_rows if line is None else line.start
        self.motion.check(admitted.target, positions, exempt, remedy)

    def _completed(self, readings: Mapping[str, Any], given: Mapping[str, float], row: int) -> dict[str, Any]:
        """The values of a row besides the readings of devices."""
        experiment, session = self.recorder.experiment, self.recorder.session
        external = External(experiment.rows)
        derived = derived_values(experiment.functions, {**readings, **given}, external.shown)
        if external.asked:
            self.fault = BadInputError(experiment.rows.external_text(external.asked[0]))
        else:
            self.fault = self.fault or derived.error
        values = {**given, **derived.values}
        self.readings = [*self.readings[:row], {**readings, **values}]
        self.check_targets(readings)
        unusable = str(self.fault) if isinstance(self.fault, BadInputError) else ""
        reason = unusable or derived.failed or self._invalid({**readings, **values})
        return {
            **values,
            ROW.proposal_id: self.proposal.proposal_id,
            ROW.row: row,
            ROW.attempt: self.number,
            ROW.valid: not reason,
            ROW.invalid_reason: reason,
            ROW.seconds_moving: self.seconds_moving,
            ROW.seconds_measuring: time.perf_counter() - self.began,
            ROW.seconds_elapsed: session.elapsed(),
        }

    def _dose(self) -> dict[str, float | int]:
        """The dose of all exposures with this one, for its rows."""
        return self.recorder.session.gate.doses.after(self.readings).event()

    def _invalid(self, values: Mapping[str, Any]) -> str:
        """The reason why a row is invalid for the objectives and constraints; empty if it is valid."""
        vocs = self.recorder.session.space.vocs
        for name in (*vocs.objectives, *vocs.constraints):
            if not math.isfinite(to_float(values.get(name))):
                return f"{name} is {values.get(name)}"
        return ""


def _tag_name(stream: str) -> str:
    return f"ebl_{stream}"


def _named(error: Exception) -> str:
    return " and ".join(getattr(error, "devices", ())) or "the device"


def _unread(positions: Mapping[str, float], readings: Mapping[str, Any]) -> dict[str, float]:
    """The positions of the motors that were not read under their own names."""
    return {name: position for name, position in positions.items() if name not in readings}


def _scalars(reading: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers and strings of a reading; a missing number is NaN, so that each row of a page has the same keys."""
    plain_reading = {key: math.nan if value is None else plain(value) for key, value in reading.items()}
    return {key: value for key, value in plain_reading.items() if isinstance(value, (bool, int, float, str))}
