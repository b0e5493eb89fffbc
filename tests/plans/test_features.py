"""Options of `optimize`: user stubs, derived outcomes, agents, batches, stop rules, finish and budgets."""

import asyncio
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from gest_api.generator import Generator
from simple import BOUNDS, ENVELOPE, Documents, sobol, truth, vocs

from ebl_autonomy import VOCS
from ebl_autonomy.agents import SobolAgent
from ebl_autonomy.errors import AgentError, BadInputError
from ebl_autonomy.plans import optimize
from ebl_autonomy.plans.thinking import think
from ebl_autonomy.records import Decision


class Scripted(Generator):
    """Proposes points from a list, with a scripted decision for each."""

    def __init__(self, points: list[dict[str, Any]], given: VOCS | None = None, **decision: Any) -> None:
        self.vocs = given or vocs()
        self.points, self.told = list(points), []  # type: ignore[var-annotated]
        self.decision = decision

    def _validate_vocs(self, vocs: VOCS) -> None:
        pass

    def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
        n = num_points or 1
        taken, self.points = self.points[:n], self.points[n:]
        return taken

    def ingest(self, results: list[dict[str, Any]]) -> None:
        self.told.extend(results)

    def decisions(self) -> list[Decision]:
        return [Decision(**self.decision)] if self.decision else []


def at(x: float, y: float = 0.0) -> dict[str, float]:
    return {"mx": x, "my": y}


# -- where outcomes come from ----------------------------------------------------------------------------------


def test_a_stub_of_the_users_own_measures(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    seen: list[dict[str, float]] = []

    def knife_edge(detectors: Any, point: Mapping[str, float]) -> Any:
        seen.append(dict(point))
        total = 0.0
        for _ in range(3):
            yield from bps.trigger(bowl, wait=True)
            total += yield from bps.rd(bowl)
        return {"bowl": total / 3, "bowl_std": 0.1}

    agent = sobol()
    RE(optimize([bowl], motors, agent, max_points=4, measure=knife_edge, envelope=ENVELOPE))
    assert bowl.triggers == 12
    assert [at(r["mx"], r["my"]) for r in agent.results] == seen
    assert [r["bowl"] for r in agent.results] == pytest.approx([truth(x=p["mx"], y=p["my"]) for p in seen])
    assert [r["bowl_std"] for r in agent.results] == [0.1] * 4
    assert [row["bowl_std"] for row in docs.events["primary"]] == [0.1] * 4


def test_what_a_stub_returns_is_checked(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench

    def forgetful(detectors: Any, point: Mapping[str, float]) -> Any:
        yield from bps.null()
        return {"blow": 1.0}

    with pytest.raises(BadInputError, match=r"lacks \['bowl'\]"):
        RE(optimize([bowl], motors, sobol(), max_points=4, measure=forgetful, envelope=ENVELOPE))


def test_a_measurement_that_is_no_plan_says_what_it_should_be(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    with pytest.raises(BadInputError, match="must be a plan stub"):
        RE(optimize([bowl], motors, sobol(), max_points=4, measure=lambda d, p: {"bowl": 1.0}, envelope=ENVELOPE))  # type: ignore[arg-type, return-value]
    assert docs.stop["exit_status"] == "fail"
    assert len(docs.events["abandoned"]) == 1


def test_derived_outcomes_stand_in_the_same_event_and_feed_the_agent(
    RE: RunEngine, docs: Documents, bench: Any
) -> None:
    bowl, motors = bench
    agent = SobolAgent(VOCS(variables={k: list(v) for k, v in BOUNDS.items()}, objectives={"depth": "MAXIMIZE"}))
    derive = {"depth": lambda readings: 1.0 / (0.1 + readings["bowl"]), "side": lambda readings: readings["mx"] > 0}
    RE(optimize([bowl], motors, agent, max_points=5, derive=derive, envelope=ENVELOPE))
    for row, result in zip(docs.events["primary"], agent.results, strict=True):
        assert row["depth"] == 1.0 / (0.1 + row["bowl"]) == result["depth"]
        assert row["side"] == float(row["mx"] > 0)


def test_a_derivation_that_fails_makes_the_row_invalid_with_the_reason(
    RE: RunEngine, docs: Documents, bench: Any
) -> None:
    bowl, motors = bench
    agent = SobolAgent(VOCS(variables={k: list(v) for k, v in BOUNDS.items()}, objectives={"depth": "MAXIMIZE"}))
    RE(optimize([bowl], motors, agent, max_points=2, derive={"depth": lambda r: 1.0 / 0.0}, envelope=ENVELOPE))
    assert [row["valid"] for row in docs.events["primary"]] == [False, False]
    assert all("division by zero" in row["invalid_reason"] for row in docs.events["primary"])


# -- third-party agents, and agents given as JSON --------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        {"agent": {"agent": "sobol", "vocs": vocs().model_dump(mode="json"), "options": {"seed": 3}}},
        {"agent": "sobol", "vocs": vocs().model_dump(mode="json")},
        {"agent": "sobol", "vocs": vocs()},
    ],
)
def test_an_agent_may_be_a_name_or_a_mapping(RE: RunEngine, docs: Documents, bench: Any, given: Any) -> None:
    bowl, motors = bench
    agent = given.pop("agent")
    RE(optimize([bowl], motors, agent, max_points=3, envelope=ENVELOPE, **given))
    config = docs.start["ebl_autonomy"]["agent"]
    assert config["agent"] == "sobol"
    again = SobolAgent.from_config(config)  # the run is the checkpoint
    points = [{k: d[k] for k in BOUNDS} for d in docs.events["decisions"]]
    assert [{k: p[k] for k in BOUNDS} for p in again.suggest(3)] == points


def test_a_plain_generator_needs_nothing_but_the_standard(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    agent = Scripted([at(0.1), at(0.5, -0.25), at(1.0)])
    result = RE(optimize([bowl], motors, agent, max_points=9, envelope=ENVELOPE)).plan_result
    assert result.stop_reason == "agent: it has no more proposals"
    assert result.accepted == 3
    assert result.best.point == at(0.5, -0.25)
    assert [r["bowl"] for r in agent.told] == [row["bowl"] for row in docs.events["primary"]]


def test_what_the_agent_expected_is_recorded(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    said = {"mean": {"bowl": 1.5}, "std": {"bowl": 0.5}, "acquisition": -2.0, "reason": "why", "model_version": "v1"}
    RE(optimize([bowl], motors, Scripted([at(0.1)], **said), max_points=1, envelope=ENVELOPE))
    (row,) = docs.events["decisions"]
    assert (row["bowl_mean"], row["bowl_std"], row["acquisition"]) == (1.5, 0.5, -2.0)
    assert (row["reason"], row["model_version"], row["points_known"]) == ("why", "v1", 0)
    assert row["seconds_to_decide"] > 0


def test_an_agent_that_raises_ends_the_run_and_says_so(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    agent = Scripted([at(0.1), at(0.2)])
    suggest = agent.suggest
    agent.suggest = lambda n=None: suggest(n) if agent.points else 1 / 0  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        RE(optimize([bowl], motors, agent, max_points=9, envelope=ENVELOPE))
    assert docs.stop["exit_status"] == "fail"
    assert "ZeroDivisionError" in docs.stop["reason"]
    assert len(docs.events["primary"]) == len(agent.told) == 2


@pytest.mark.integration
def test_the_loop_is_free_while_an_agent_thinks(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    agent = Scripted([at(0.1)])
    suggest = agent.suggest
    beats: list[float] = []
    thinking, enough = threading.Event(), threading.Event()

    async def beat() -> None:
        while True:
            if thinking.is_set():
                beats.append(time.monotonic())
            if len(beats) > 10:
                enough.set()
            await asyncio.sleep(0.01)

    def slowly(n: int | None = None) -> Any:
        thinking.set()
        enough.wait(60.0)
        thinking.clear()
        return suggest(n)

    agent.suggest = slowly  # type: ignore[method-assign]
    heart = asyncio.run_coroutine_threadsafe(beat(), RE.loop)
    RE(optimize([bowl], motors, agent, max_points=1, envelope=ENVELOPE))
    heart.cancel()
    assert len(beats) > 10  # the loop kept running while the agent was deciding


def test_a_thought_that_ends_as_the_loop_is_closed_ends_quietly(caplog: pytest.LogCaptureFixture) -> None:
    loop, go_on = asyncio.new_event_loop(), threading.Event()
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as executor:
        (done,) = next(think(executor, go_on.wait)).args[0]
        waiting = loop.create_task(done())
        loop.call_soon(waiting.cancel)
        loop.run_until_complete(asyncio.wait([waiting]))
        loop.close()
        patch.setattr(loop, "is_closed", lambda: False)  # the answer just before the loop was closed
        go_on.set()
    assert caplog.messages == []


# -- batches ---------------------------------------------------------------------------------------------------


def test_a_batch_is_measured_along_the_shortest_way(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    agent = Scripted([at(1.5), at(0.2), at(1.0), at(0.6)])
    RE(optimize([bowl], motors, agent, max_points=4, batch=4, envelope=ENVELOPE))
    assert [row["mx"] for row in docs.events["primary"]] == [0.2, 0.6, 1.0, 1.5]
    assert [d["mx"] for d in docs.events["decisions"]] == [1.5, 0.2, 1.0, 0.6]
    bound = {d["proposal_id"]: d["mx"] for d in docs.events["decisions"]}
    assert all(bound[row["proposal_id"]] == row["mx"] for row in docs.events["primary"])


def test_more_answers_than_asked_for_are_not_measured(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    agent = Scripted([])
    agent.suggest = lambda n=None: [at(0.1), at(0.2), at(0.3)]  # type: ignore[method-assign]
    result = RE(optimize([bowl], motors, agent, max_points=2, envelope=ENVELOPE)).plan_result
    assert result.accepted == 2
    assert {row["mx"] for row in docs.events["primary"]} == {0.1}
    assert all(gone["rule"] == "batch" for gone in docs.events["abandoned"])


# -- stop rules ------------------------------------------------------------------------------------------------


def test_it_stops_at_the_target(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    agent = Scripted([at(-1.0), at(0.5, 0.0), at(0.5, -0.25), at(1.0)])
    result = RE(optimize([bowl], motors, agent, max_points=9, until={"target": 0.1}, envelope=ENVELOPE)).plan_result
    assert result.accepted == 2
    assert result.stop_reason.startswith("target: bowl = 0.0625")


def test_a_target_counts_only_where_the_constraints_hold(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    agent = Scripted([at(0.5, 0.0), at(0.6, -0.25)], vocs(constraints={"side": ["GREATER_THAN", 0.55]}))
    derive = {"side": lambda readings: readings["mx"]}
    plan = optimize([bowl], motors, agent, max_points=9, until={"target": 0.1}, derive=derive, envelope=ENVELOPE)
    assert RE(plan).plan_result.accepted == 2


@pytest.mark.integration
def test_it_stops_after_wall_seconds(RE: RunEngine, slow_bench: Any) -> None:
    bowl, motors = slow_bench
    began = time.monotonic()
    result = RE(optimize([bowl], motors, sobol(), max_points=10**6, until={"seconds": 0.5}, envelope=ENVELOPE))
    assert time.monotonic() - began >= 0.5
    assert result.plan_result.stop_reason.startswith("seconds")


def test_it_stops_after_simulated_seconds(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    derive = {"sundial": lambda readings: 100.0 * bowl.triggers}
    until = {"seconds": 450.0, "clock": "sundial"}
    plan = optimize([bowl], motors, sobol(), max_points=50, until=until, derive=derive, envelope=ENVELOPE)
    assert RE(plan).plan_result.accepted == 6  # the clock of the first point is zero


def test_it_stops_when_little_is_to_be_expected(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    points = [at(0.01 * k) for k in range(40)]
    agent = Scripted(points, mean={"bowl": 5.0}, std={"bowl": 0.01})
    until = {"improvement": 1e-3, "patience": 4}
    result = RE(optimize([bowl], motors, agent, max_points=40, until=until, envelope=ENVELOPE)).plan_result
    assert result.stop_reason.startswith("improvement")
    assert result.accepted == 5, "nothing could be improved before the first"


# -- endings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("finish", "where"), [("best", 0.5), ("stay", 1.2), ("return", -0.7)])
def test_where_the_motors_end(RE: RunEngine, bench: Any, finish: Any, where: float) -> None:
    bowl, motors = bench
    motors[0].set(-0.7)
    agent = Scripted([at(0.1), at(0.5, -0.25), at(1.2)])
    RE(optimize([bowl], motors, agent, max_points=3, finish=finish, envelope=ENVELOPE))
    assert motors[0].position == where


def test_return_holds_after_a_failure_too(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    motors[0].set(-0.7)
    bowl.fail = lambda n: RuntimeError("dead") if n > 2 else None
    with pytest.raises(Exception, match="could not be measured"):
        RE(optimize([bowl], motors, sobol(), max_points=30, finish="return", envelope=ENVELOPE))
    assert motors[0].position == -0.7


def test_the_baseline_is_read_at_start_and_end(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    RE(optimize([bowl], motors, Scripted([at(0.5), at(1.0)]), max_points=2, envelope=ENVELOPE))
    first, last = docs.events["start_and_end"]
    assert (first["mx"], first["proposals_accepted"]) == (0.0, 0)
    assert (last["mx"], last["proposals_accepted"]) == (0.5, 2)


# -- the envelope ----------------------------------------------------------------------------------------------


def test_a_budget_of_dose_ends_the_run(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    derive = {"dose": lambda readings: 2.0}
    envelope = {**ENVELOPE, "max_dose": 7.0, "dose_key": "dose"}
    plan = optimize([bowl], motors, sobol(), max_points=50, derive=derive, envelope=envelope)
    result = RE(plan).plan_result
    assert result.stop_reason.startswith("budget: ")
    assert result.accepted == 4


def test_a_budget_of_points_ends_the_run(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    plan = optimize([bowl], motors, sobol(), max_points=50, envelope={**ENVELOPE, "max_points": 5})
    result = RE(plan).plan_result
    assert result.stop_reason.startswith("budget: ")
    assert result.accepted == 5


def test_refusals_are_recorded_and_told(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    agent = Scripted([at(0.1), at(9.0), {"mx": float("nan"), "my": 0.0}, {"mx": 0.1}, at(0.2)])
    result = RE(optimize([bowl], motors, agent, max_points=9, envelope=ENVELOPE)).plan_result
    assert (result.accepted, result.refused) == (2, 3)
    assert [gone["status"] for gone in docs.events["abandoned"]] == ["refused"] * 3
    assert "9" in docs.events["abandoned"][0]["reason"]
    assert max(abs(row["mx"]) for row in docs.events["primary"]) <= 0.2
    assert str([r["bowl"] for r in agent.told if r["mx"] == 9.0]) == "[nan]"


def test_an_agent_that_never_keeps_to_the_rules_ends_the_run(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    with pytest.raises(AgentError, match="25 proposals in a row were refused"):
        RE(optimize([bowl], motors, Scripted([at(9.0)] * 99), max_points=9, envelope=ENVELOPE))


def test_a_step_limit_holds_on_the_way_to_the_best_point_too(RE: RunEngine, bench: Any) -> None:
    bowl, motors = bench
    agent = Scripted([at(0.4), at(0.8), at(1.2), at(1.6)])
    moves: list[float] = []
    was = motors[0].set
    motors[0].set = lambda value, **kw: (moves.append(value - motors[0].position), was(value, **kw))[1]
    RE(optimize([bowl], motors, agent, max_points=4, envelope={**ENVELOPE, "max_step": {"mx": 0.41}}))
    assert motors[0].position == pytest.approx(0.4)
    assert max(map(abs, moves)) <= 0.41
    assert min(moves) < 0  # the motor moved back


@pytest.mark.integration
def test_blueskys_own_live_callbacks_show_the_run(RE: RunEngine, bench: Any) -> None:
    """Live plots and tables as IPython users have them; a callback that raises would end the run."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from bluesky.callbacks import LivePlot, LiveTable
    from bluesky.callbacks.best_effort import BestEffortCallback

    bowl, motors = bench
    lines: list[str] = []
    RE.subscribe(BestEffortCallback())
    plt.close("all")
    plot = LivePlot("width")
    derive = {"width": lambda readings: readings["bowl"] ** 0.5}
    live = [plot, LiveTable(["width", "mx", "proposal_id"], out=lines.append)]
    agent = Scripted([at(0.1), at(0.2), at(0.3)], vocs(observables=["width"]))
    RE(optimize([bowl], motors, agent, max_points=3, derive=derive, envelope=ENVELOPE), live)
    axes = [axes for number in plt.get_fignums() for axes in plt.figure(number).axes]
    drawn = {axes.get_ylabel(): len(line.get_xdata()) for axes in axes for line in axes.lines}
    assert drawn == {"mx": 3, "my": 3, "bowl": 3, "width": 3}
    assert len(plot.y_data) == 3
    assert sum("0000" in line for line in lines) == 3
    plt.close("all")
