"""One attempt to measure a proposal: its time, its exposure, and its rows, all of them or none."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bluesky.protocols import Readable
from bluesky.utils import MsgGenerator

from ebl_autonomy.errors import BadInputError, UserFunctionError
from ebl_autonomy.plans.deriving import derived_values
from ebl_autonomy.plans.devices import read_positions
from ebl_autonomy.plans.events import InterruptedReadingError, plain, save_event, save_page
from ebl_autonomy.plans.motion import LOOK, Motion
from ebl_autonomy.plans.readings import External, separate, unread
from ebl_autonomy.records import PRIMARY, ROW, to_float
from ebl_autonomy.steering import Proposal

if TYPE_CHECKING:
    from ebl_autonomy.plans.recorder import Recorder

__all__ = ["Attempt"]


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

    recorder: "Recorder"
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
            more = unread(positions, readings)
            values = self._completed({**readings, **more}, outcomes, 0)
            return {**more, **values, **self._dose()}

        check = experiment.rows.check_read
        return (yield from save_event(PRIMARY, devices, recorder.tag, recorder.watch, finish, check))

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


def _scalars(reading: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers and strings of a reading; a missing number is NaN, so that each row of a page has the same keys."""
    plain_reading = {key: math.nan if value is None else plain(value) for key, value in reading.items()}
    return {key: value for key, value in plain_reading.items() if isinstance(value, (bool, int, float, str))}
