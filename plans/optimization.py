"""The main job: an agent proposes, the plan moves and measures, everything lands in one run."""

import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from bluesky import preprocessors as bpp
from bluesky.protocols import NamedMovable, Readable
from bluesky.utils import Msg, MsgGenerator, RequestAbort, RequestStop, RunEngineControlException, plan

from ebl_autonomy.errors import AgentError, BadInputError, BudgetSpentError, NoMoreProposals
from ebl_autonomy.plans.measuring import Measure, Measurer
from ebl_autonomy.plans.priors import take_priors
from ebl_autonomy.plans.recorder import Journal, Proposal
from ebl_autonomy.plans.setup import Experiment, Finish, prepare
from ebl_autonomy.plans.stopping import expected_improvement
from ebl_autonomy.plans.stubs import think
from ebl_autonomy.records import METADATA_KEY, Best

__all__ = ["OptimizeResult", "optimize"]

MAX_REFUSALS = 25
"""So many refused proposals in a row end the run: the agent does not know what is allowed."""


_ENDED: dict[type[BaseException], str] = {
    RequestAbort: "aborted by the user",
    RequestStop: "stopped by the user",
}
"""What bluesky's own exceptions do not say."""


@dataclass(frozen=True)
class OptimizeResult:
    """What `optimize` returns (``RE.call_returns_result = True`` shows it as ``plan_result``).

    Attributes
    ----------
    uid : str
        The run.
    stop_reason : str
        Which rule ended it.
    accepted, refused, abandoned : int
        How the proposals ended.
    best : Best or None
        The best measured point, if any is valid.
    """

    uid: str
    stop_reason: str
    accepted: int
    refused: int
    abandoned: int
    best: Best | None


@plan
def optimize(
    detectors: Sequence[Readable[Any]],
    motors: Sequence[NamedMovable[float]],
    agent: Any,
    *,
    max_points: int,
    batch: int = 1,
    until: Any = None,
    measure: Measure | None = None,
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
) -> MsgGenerator[OptimizeResult]:
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
        Accepted points after which the run ends.
    batch : int
        Proposals per decision; a batch is measured in the order that takes the least travel.
    until : Until or mapping, optional
        More stop rules: see `ebl_autonomy.plans.Until`.
    measure : callable, optional
        ``measure(detectors, point) -> MsgGenerator[Mapping[str, float]]``: takes the place of triggering and reading
        once the motors have arrived; its outcomes feed the agent and stand in the event.
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
        Where the motors end: at the best point, where the last point was, or where they came from (the last also
        after a failure, a stop or an abort).
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
    OptimizeResult

    Raises
    ------
    BadInputError, DataError
        Before anything moves, naming value and remedy; DataError is for a past run that is no prior for this agent.
    AgentError, MeasurementError
        If the agent fails or the beamline does; what was measured is in the run, which is closed as failed.
    """
    if md is not None and (not isinstance(md, Mapping) or METADATA_KEY in md):
        raise BadInputError(f"md={md!r}: give a mapping, without the key {METADATA_KEY!r}, which the plan fills in")
    experiment = yield from prepare(
        detectors,
        motors,
        agent,
        vocs=vocs,
        max_points=max_points,
        batch=batch,
        until=until,
        measured=measure is not None,
        derive=derive,
        envelope=envelope,
        baseline=baseline,
        finish=finish,
    )
    experiment.prior = yield from take_priors(experiment.agent, experiment.vocs, prior)
    journal = Journal(experiment)
    measurer = Measurer(experiment, journal, measure, retries, max_failures, move_timeout_s, trigger_timeout_s)
    run = _Run(experiment, journal, measurer, dict(md or {}))
    # Not rewindable: after a pause the plan repeats what was cut, itself, and knows that it did (see events.py).
    inner = bpp.rewindable_wrapper(run.body(), False)
    staged = bpp.stage_wrapper(inner, [*experiment.detectors, *experiment.motors.values()])
    result: OptimizeResult = yield from bpp.subs_wrapper(staged, {"all": [journal.watch]})
    return result


class _Run:
    """One execution of `optimize`, from open_run to close_run."""

    def __init__(self, experiment: Experiment, journal: Journal, measurer: Measurer, md: dict[str, Any]) -> None:
        self.x = experiment
        self.journal = journal
        self.measurer = measurer
        self.md = md
        self.told: list[dict[str, Any]] = []
        self.known = 0
        self.stop_reason = ""
        self.best: Best | None = None
        self._dull = 0
        self._clock_start: float | None = None
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ebl-agent")

    def body(self) -> MsgGenerator[OptimizeResult]:
        try:
            uid = yield Msg("open_run", None, **self._start_document())
            yield from bpp.contingency_wrapper(
                self._measure_and_finish(), except_plan=self._after_failure, auto_raise=True
            )
            yield Msg("close_run", None, exit_status="success", reason=self.stop_reason)
        finally:
            self._executor.shutdown(wait=False, cancel_futures=True)
        counts = self.journal.counts
        return OptimizeResult(
            uid, self.stop_reason, counts["accepted"], counts["refused"], counts["abandoned"], self.best
        )

    def _measure_and_finish(self) -> MsgGenerator[None]:
        yield from self.journal.listen()
        yield from self.journal.write_baseline()
        self.measurer.begin()
        while not self.stop_reason:
            yield from self._one_batch()
        if self.told:
            yield from think(self._executor, self._ingest)
        self.best = yield from think(self._executor, self._find_best)
        explanation = yield from think(self._executor, self._explain)
        if explanation:
            yield from self.journal.write_explanation(explanation)
        yield from self._go_to_finish()
        yield from self.journal.write_baseline()

    def _after_failure(self, error: Exception) -> MsgGenerator[None]:
        """Record what ended the run, tell the agent what was measured, close the run."""
        ending = f"{type(error).__name__}: {error}" if str(error) else _ENDED.get(type(error), type(error).__name__)
        yield from self.journal.abandon_open(f"the run ended: {ending}")
        self._ingest()
        if self.x.finish == "return":
            yield from self._go_to_finish()
        if isinstance(error, RunEngineControlException):
            status = getattr(error, "exit_status", "abort")
            yield Msg("close_run", None, exit_status=status, reason=ending)
        else:
            yield Msg("close_run", None, exit_status="fail", reason=ending)

    # -- deciding ----------------------------------------------------------------------------------------------

    def _one_batch(self) -> MsgGenerator[None]:
        count = min(self.x.batch, self.x.max_points - self.journal.counts["accepted"])
        try:
            proposals = yield from self._decide(count)
        except NoMoreProposals as error:
            self.stop_reason = f"agent: {error}"
            return
        try:
            allowed = yield from self._pass_gate(proposals)
            for proposal in self._ordered(allowed):
                if not self.stop_reason:
                    self.stop_reason = self._budget_spent()
                if self.stop_reason:
                    yield from self.journal.abandon(proposal, "until", f"the run ended: {self.stop_reason}")
                    continue
                yield from self.measurer.measure(proposal)
                self.stop_reason = self._enough(proposal)
        finally:  # of a batch that a failure or the user cut short, what was measured is told too
            self.told.extend(p.result for p in proposals if p.result is not None)

    def _decide(self, count: int) -> MsgGenerator[list[Proposal]]:
        began = time.perf_counter()

        def work() -> tuple[Any, list[Any]]:
            self._ingest()
            try:
                answer = self.x.agent.suggest(count)
            except NoMoreProposals as error:
                if not error.remaining:
                    raise
                answer = self.x.agent.suggest(error.remaining)
            decisions = getattr(self.x.agent, "decisions", None)
            return answer, list(decisions()) if callable(decisions) else []

        answer, decisions = yield from think(self._executor, work)
        seconds = time.perf_counter() - began
        if not isinstance(answer, Sequence) or isinstance(answer, (str, bytes)):
            raise AgentError(f"suggest({count}) answered a {type(answer).__name__}, not a list of points")
        if not answer:
            raise NoMoreProposals("it has no more proposals")
        proposals = yield from self.journal.write_decisions(
            list(answer)[:count], decisions, self.known, seconds / min(len(answer), count)
        )
        if len(answer) > count:
            yield from self.journal.refuse_surplus(len(answer), count)
        return proposals

    def _pass_gate(self, proposals: list[Proposal]) -> MsgGenerator[list[Proposal]]:
        allowed = []
        for proposal in proposals:
            if (yield from self.measurer.pass_gate(proposal)):
                allowed.append(proposal)
        if self.journal.refused_in_a_row >= MAX_REFUSALS:
            raise AgentError(
                f"{self.journal.refused_in_a_row} proposals in a row were refused, the last because: "
                f"{self.journal.last_refusal}. Change the VOCS's domain or the envelope so that they agree."
            )
        return allowed

    def _ordered(self, proposals: list[Proposal]) -> list[Proposal]:
        if len(proposals) < 2:
            return proposals
        order = self.x.travel.order(self.measurer.here, [p.target for p in proposals])
        return [proposals[i] for i in order]

    def _ingest(self) -> None:
        told, self.told = self.told, []
        if told:
            self.x.agent.ingest(told)
            self.known += len(told)

    # -- stopping ----------------------------------------------------------------------------------------------

    def _budget_spent(self) -> str:
        try:
            self.x.gate.check_budget(self.measurer.seconds())
        except BudgetSpentError as error:
            return f"budget: {error.message}"
        return ""

    def _enough(self, proposal: Proposal) -> str:
        rules, counts = self.x.until, self.journal.counts
        if counts["accepted"] >= self.x.max_points:
            return f"max_points: {counts['accepted']} points are measured"
        if rules.seconds is not None and (seconds := self._seconds(proposal)) >= rules.seconds:
            return f"seconds: {seconds:.1f} s have passed"
        if rules.target is not None and proposal.result is not None and self._reached(proposal.result):
            return f"target: {self.x.space.objectives[0]} = {proposal.result[self.x.space.objectives[0]]:.6g}"
        if rules.improvement is not None and self._is_dull(proposal, rules.improvement):
            return f"improvement: less than {rules.improvement} expected, {rules.patience} times in a row"
        return ""

    def _seconds(self, proposal: Proposal) -> float:
        if self.x.until.clock is None:
            return self.measurer.seconds()
        now = float(proposal.row.get(self.x.until.clock, math.nan))
        if self._clock_start is None and math.isfinite(now):
            self._clock_start = now
        return now - self._clock_start if self._clock_start is not None else 0.0

    def _reached(self, result: Mapping[str, float]) -> bool:
        space, target = self.x.space, self.x.until.target
        assert target is not None
        return space.feasible(result) and space.score(result) >= space.signs[0] * target

    def _is_dull(self, proposal: Proposal, least: float) -> bool:
        best, name = self.measurer.best_score, self.x.space.objectives[0]
        if proposal.decision is None or best is None or name not in proposal.decision.mean:
            return False
        sign = float(self.x.space.signs[0])
        expected = expected_improvement(
            proposal.decision.mean[name], proposal.decision.std.get(name, 0.0), sign * best, sign
        )
        self._dull = self._dull + 1 if expected < least else 0
        return self._dull >= self.x.until.patience

    # -- finishing ---------------------------------------------------------------------------------------------

    def _find_best(self) -> Best | None:
        best = getattr(self.x.agent, "best", None)
        if callable(best):
            try:
                found = best()
            except AgentError:
                return None  # nothing valid was measured
            if isinstance(found, Best):
                return found
        return self.measurer.best

    def _explain(self) -> str:
        explain = getattr(self.x.agent, "explain", None)
        if not callable(explain):
            return ""
        try:
            return str(explain())
        except Exception as error:  # noqa: BLE001 - everything is measured; what an agent says of itself must not fail it
            return f"no explanation: {error}"

    def _go_to_finish(self) -> MsgGenerator[None]:
        if self.x.finish == "best" and self.best is not None:
            yield from self.measurer.walk_to(self.best.point, "the best point")
        elif self.x.finish == "return":
            yield from self.measurer.walk_to(self.x.start, "where the motors came from", domain=False)

    def _start_document(self) -> dict[str, Any]:
        names = [detector.name for detector in self.x.detectors]
        return {
            "plan_name": "optimize",
            "detectors": names,
            "motors": list(self.x.motors),
            "num_points": self.x.max_points,
            "hints": {"dimensions": [[["time"], "primary"]]},
            **self.md,
            METADATA_KEY: self.x.metadata().model_dump(mode="json"),
        }
