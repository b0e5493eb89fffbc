"""Measures one proposal: passes the gate, moves to the target and acquires rows, with retries."""

import contextlib
import logging
import time

from bluesky.utils import FailedStatus, Msg, MsgGenerator, RunEngineControlException

from ebl_autonomy.errors import BadInputError, DeviceFailedError, LineCutError, RefusedError, UserFunctionError
from ebl_autonomy.plans.acquisition.protocol import Row
from ebl_autonomy.plans.arguments import check_integer
from ebl_autonomy.plans.attempt import Attempt
from ebl_autonomy.plans.events import InterruptedReadingError
from ebl_autonomy.plans.failures import is_limit_error
from ebl_autonomy.plans.failures_in_a_row import FailuresInARow
from ebl_autonomy.plans.motion import Motion
from ebl_autonomy.plans.recorder import Recorder
from ebl_autonomy.plans.setup import Experiment
from ebl_autonomy.plans.user_functions import is_ours, watched
from ebl_autonomy.records import RULE_RUN
from ebl_autonomy.steering import Proposal

__all__ = ["Measuring"]

logger = logging.getLogger(__name__)


class Measuring:
    """Measures the proposals of one run, and gives up if devices keep failing or no row is valid.

    Parameters
    ----------
    experiment, recorder, motion
    retries : int
        Number of retries for a proposal that could not be measured.
    max_failures : int or None
        See `FailuresInARow`.

    Raises
    ------
    BadInputError
        If a number is out of range.
    """

    def __init__(
        self, experiment: Experiment, recorder: Recorder, motion: Motion, retries: int, max_failures: int | None
    ) -> None:
        check_integer("retries", retries, 0)
        if max_failures is not None:
            check_integer("max_failures", max_failures, 1)
        self._session, self._acquisition = experiment.session, experiment.acquisition
        self._recorder, self._motion = recorder, motion
        self._retries, self._routes = retries, experiment.routes
        self._failures = FailuresInARow(max_failures)

    def admit(self, proposal: Proposal) -> MsgGenerator[bool]:
        """Let the gate judge a proposal of a batch before the batch is ordered; a refusal is recorded.

        The start of its move depends on the order, so rules on the path are judged just before the move.
        """
        try:
            self._session.admit(proposal, {}, self._acquisition.line)
        except RefusedError as error:
            yield from self._refuse(proposal, error)
            return False
        return True

    def measure(self, proposal: Proposal) -> MsgGenerator[None]:
        """Measure one proposal; it ends accepted, refused (judged from the current positions) or abandoned.

        Raises
        ------
        MeasurementError
            If too many proposals in a row could not be measured, or gave no valid row.
        BadInputError, UserFunctionError
            If the rows lack what the agent needs, or a user's function has a programming error; a row that was measured
            is recorded.
        """
        tag, failures, attempts = self._recorder.tag, 0, 0
        while True:
            attempts += 1
            with contextlib.suppress(FailedStatus):  # of a motor that was stopped long ago, and says so only now
                yield Msg("checkpoint")  # a deferred pause (one Ctrl-C) stops here, between points
            mark = tag.interruptions
            attempt = Attempt(self._recorder, self._motion, proposal, attempts, mark)
            try:
                # Read, not remembered: since the last move a hand, a screen or a user's stub may have moved motors.
                yield from self._motion.find()
                yield from self._admit_move(proposal)
                if reason := self._session.check_budgets(proposal):
                    yield from self._abandon(proposal, RULE_RUN, f"the run ended: {reason}", attempts - 1)
                    return
                rows = yield from self._attempt(attempt)
            except InterruptedReadingError:
                self._fail(attempt)
                continue
            except RefusedError as error:
                self._fail(attempt)
                yield from self._refuse(proposal, error)
                return
            except (RunEngineControlException, BadInputError, UserFunctionError):
                self._fail(attempt)
                raise
            except Exception as error:  # noqa: BLE001 - a device may raise anything; the run must survive it
                self._fail(attempt)
                cut = isinstance(error, LineCutError)
                if tag.interruptions != mark and not cut:
                    continue  # the pause stopped the motors and so failed the move: not a failure of the point
                if is_limit_error(error):
                    yield from self._refuse(proposal, RefusedError("limits", f"{type(error).__name__}: {error}"))
                    return
                failures += 1
                logger.warning("proposal %s, attempt %d: %s", proposal.proposal_id, attempts, error)
                if failures > self._retries or cut:
                    yield from self._give_up(proposal, error, attempts)
                    return
            else:
                self._session.tell(proposal, rows)
                if attempt.fault is not None:
                    raise attempt.fault
                self._failures.measured(proposal, rows)
                return

    def _admit_move(self, proposal: Proposal) -> MsgGenerator[None]:
        """Let the gate judge the move to a proposal, after others that lead near it if the plan makes such ways."""
        try:
            self._session.admit(proposal, self._motion.standing, self._acquisition.line)
        except RefusedError as error:
            if not self._routes or error.rule not in ("step", "forbidden"):
                raise
            self._session.admit(proposal, {}, self._acquisition.line)  # what no way would mend
            if self._session.check_budgets(proposal):
                return  # nothing moves; whoever measures asks the same, and ends the run
            admitted = proposal.admitted
            assert admitted is not None
            begin = admitted.line.ends()[0] if admitted.line is not None else {}
            yield from self._motion.approach({**admitted.target, **begin})
            self._session.admit(proposal, self._motion.standing, self._acquisition.line)

    def _attempt(self, attempt: Attempt) -> MsgGenerator[list[Row]]:
        admitted = attempt.proposal.admitted
        assert admitted is not None
        began = time.perf_counter()
        yield from self._motion.check_values(admitted)
        attempt.check_uninterrupted()
        yield from self._motion.go(admitted)
        attempt.arrive(began)
        attempt.check_uninterrupted()
        rows = self._acquisition.acquire(attempt)
        if not is_ours(self._acquisition):
            rows = watched(rows, f"acquisition {self._acquisition.kind!r}", None, attempt.is_interrupted)
        recorded = yield from rows
        if not recorded:
            names = [str(getattr(one, "name", one)) for one in self._acquisition.detectors] or [self._acquisition.kind]
            raise DeviceFailedError(names, "no row was recorded: the acquisition must give one or more")
        return recorded

    def _fail(self, attempt: Attempt) -> None:
        """Count the dose of an exposure without a row; motors may stand anywhere now."""
        self._motion.lost = True
        if attempt.exposed:
            self._session.lose_exposure(attempt.readings)

    def _refuse(self, proposal: Proposal, error: RefusedError) -> MsgGenerator[None]:
        yield from self._recorder.write_abandonment(proposal, "refused", error.rule, error.message)
        self._session.refuse(proposal, error)

    def _abandon(self, proposal: Proposal, rule: str, reason: str, attempts: int) -> MsgGenerator[None]:
        yield from self._recorder.write_abandonment(proposal, "abandoned", rule, reason, attempts)
        self._session.abandon(proposal, rule)

    def _give_up(self, proposal: Proposal, error: Exception, attempts: int) -> MsgGenerator[None]:
        reason = f"{type(error).__name__}: {error}"
        rule = "cut" if isinstance(error, LineCutError) else "device"
        yield from self._abandon(proposal, rule, reason, attempts)
        if isinstance(error, LineCutError) and error.interrupted:
            return  # no device failed
        self._failures.failed(error)
