"""Writes the streams of a run: each proposal ends as accepted rows or as one row of `abandoned`."""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bluesky.utils import IllegalMessageSequence, Msg, MsgGenerator, RunEngineControlException

from ebl_autonomy.errors import BadInputError, MeasurementError
from ebl_autonomy.plans.devices import read_positions
from ebl_autonomy.plans.events import (
    EventPage,
    EventTag,
    EventWatch,
    InterruptedReadingError,
    save_event,
)
from ebl_autonomy.plans.readings import separate, unread
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
    RULE_RUN,
    START_AND_END,
    STD,
    SUSPECT,
    SUSPECTS,
    AbandonedStatus,
    ReadingId,
    Recommendation,
    to_float,
)
from ebl_autonomy.steering import Proposal

if TYPE_CHECKING:
    from ebl_autonomy.plans.setup import Experiment

__all__ = ["Recorder"]

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
        self._suspects: set[tuple[str, ReadingId]] = set()
        """The suspect readings that the run knows, each with its outcome."""

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

    def write_suspects(self) -> MsgGenerator[None]:
        """Record which readings the agent has begun, or ceased, to take for outliers since the last call."""
        if self.watch.is_taken(SUSPECTS):
            return  # the run has failed because of that, and must still be closed
        now = {(outcome, reading) for outcome, readings in self.session.suspects.items() for reading in readings}
        for outcome, reading in sorted(now ^ self._suspects):
            suspect = (outcome, reading) in now
            yield from self._write(
                SUSPECTS,
                {
                    SUSPECT.proposal_id: reading[0],
                    SUSPECT.row: reading[1],
                    SUSPECT.outcome: outcome,
                    SUSPECT.suspect: suspect,
                    SUSPECT.seconds_elapsed: self.session.elapsed(),
                },
            )
            self._suspects ^= {(outcome, reading)}

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
                yield from trigger_detectors(given, experiment.trigger_s)
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
            return {**unread(positions, readings), **accepted}

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


def _tag_name(stream: str) -> str:
    return f"ebl_{stream}"


def _named(error: Exception) -> str:
    return " and ".join(getattr(error, "devices", ())) or "the device"
