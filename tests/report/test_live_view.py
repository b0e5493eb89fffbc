"""The live view: from documents alone, with the agent's model, and whatever goes wrong in it."""

import logging
import math
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.callbacks.zmq import Publisher
from matplotlib.figure import Figure
from ophyd.sim import SynAxis, SynSignal

from ebl_autonomy.agents import BayesianAgent
from ebl_autonomy.plans import optimize
from ebl_autonomy.records import RunMetadata
from ebl_autonomy.report import LiveView
from ebl_autonomy.report.sofar import RunSoFar
from ebl_autonomy.sim_devices import Fault, SimBeamline
from ebl_autonomy.space import make_vocs, vocs_dict

pytestmark = pytest.mark.integration  # seconds: reports, fits of models, or many runs

matplotlib.use("Agg")

AREA = {"camera_spot_area": "MINIMIZE"}


def agent_of(motors: list[Any], **vocs: Any) -> BayesianAgent:
    return BayesianAgent({"variables": {m.name: list(m.limits) for m in motors}, "objectives": AREA, **vocs}, seed=0)


def texts(figure: Figure) -> str:
    """Every text that the figure shows."""
    return "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


def labelled(figure: Figure, label: str) -> list[Any]:
    return [line for axes in figure.axes for line in axes.lines if line.get_label() == label]


def measured(RE: RunEngine, bl: SimBeamline, motors: list[Any], view: LiveView, agent: Any, points: int) -> None:
    RE.subscribe(view)
    RE(optimize([bl.camera], motors, agent, max_points=points, finish="stay"))
    view.wait()


def test_one_motor_shows_every_reading_the_best_so_far_and_the_model_along_the_motor(RE: RunEngine) -> None:
    bl = SimBeamline(seed=0, faults=[Fault("nan", 3, 4)])
    agent = agent_of([bl.kbv.pitch])
    view = LiveView(agent, figure=Figure())
    measured(RE, bl, [bl.kbv.pitch], view, agent, 10)
    values = [result["camera_spot_area"] for result in agent.results]
    (best,) = labelled(view.figure, "best so far")
    np.testing.assert_array_equal(best.get_ydata(), np.fmin.accumulate(values))
    (invalid,) = labelled(view.figure, "invalid")
    np.testing.assert_array_equal(invalid.get_xdata(), [3, 4])
    (model,) = labelled(view.figure, "model")
    pitch = model.get_xdata()
    mean, std = agent.predict([{"kbv_pitch": value} for value in pitch])["camera_spot_area"]
    np.testing.assert_allclose(model.get_ydata(), mean)
    (band,) = view.figure.axes[1].collections
    assert band.get_datalim(view.figure.axes[1].transData).y1 == pytest.approx(np.max(mean + 2.0 * std))
    shown = texts(view.figure)
    assert "bayesian: 10 of 10 points, 2 invalid" in shown
    assert f"best camera_spot_area {np.nanmin(values):.4g} um^2 at kbv_pitch" in shown


def test_two_motors_are_a_map_of_the_model(RE: RunEngine) -> None:
    bl = SimBeamline(seed=0)
    motors = [bl.kbv.pitch, bl.kbv.bend_up]
    agent = agent_of(motors)
    view = LiveView(agent, figure=Figure())
    measured(RE, bl, motors, view, agent, 12)
    axes = view.figure.axes[1]
    (mesh,) = axes.collections
    corner = agent.predict([{"kbv_pitch": -120.0, "kbv_bend_up": -100.0}])["camera_spot_area"][0]
    assert mesh.get_array().ravel()[0] == pytest.approx(corner[0])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("kbv_pitch (urad)", "kbv_bend_up (um)")


@pytest.mark.parametrize("names", [["exposure"], ["exposure", "wheel"], ["exposure", "wheel", "x"]])
def test_motors_are_drawn_as_they_are_searched(names: list[str]) -> None:
    variables = {
        "exposure": {"type": "ContinuousVariable", "domain": [1e-3, 1e3], "log_scale": True},
        "wheel": {"type": "DiscreteVariable", "values": {1, 2, 4}},
        "x": [-1.0, 1.0],
    }
    agent = BayesianAgent(
        {"variables": {name: variables[name] for name in names}, "objectives": {"f": "MAXIMIZE"}}, seed=0
    )
    axes_of = {name: SynAxis(name=name, value=1) for name in names}

    def reading() -> float:
        at = {name: float(axis.position) for name, axis in axes_of.items()}
        return -((math.log10(at["exposure"]) - 1.0) ** 2) - (at.get("wheel", 2.0) - 2.0) ** 2 - at.get("x", 0.0) ** 2

    view = LiveView(agent, figure=Figure())
    RE = RunEngine({})
    RE.subscribe(view)
    RE(optimize([SynSignal(func=reading, name="f")], list(axes_of.values()), agent, max_points=12, finish="stay"))
    view.wait()
    found = {axes.get_xlabel(): axes for axes in view.figure.axes}
    assert found["exposure"].get_xscale() == "log"
    assert found["exposure"].get_xlim()[0] > 0.0
    if len(names) == 2:  # a map
        assert found["exposure"].get_yticks().tolist() == [1, 2, 4]
        low, high = found["exposure"].get_ylim()
        assert low < 1 < 4 < high  # fields of the first and the last value are whole
    elif len(names) == 3:
        assert found["wheel"].get_xticks().tolist() == [1, 2, 4]
        assert found["x"].get_xscale() == "linear"


def test_two_objectives_have_their_front(RE: RunEngine) -> None:
    bl = SimBeamline(seed=0)
    motors = [bl.kbv.pitch, bl.kbv.bend_up, bl.slits.v_gap]
    agent = agent_of(motors, objectives={**AREA, "camera_total": "MAXIMIZE"})
    view = LiveView(agent, figure=Figure())
    measured(RE, bl, motors, view, agent, 14)
    front = agent.front()
    (line,) = labelled(view.figure, f"front: {len(front)} points")
    assert sorted(line.get_xdata()) == sorted(one.outcome["camera_spot_area"] for one in front)
    assert len(labelled(view.figure, "model")) == 3


def test_while_no_point_holds_the_constraints_the_view_says_so(RE: RunEngine) -> None:
    bl = SimBeamline(seed=0)
    agent = agent_of([bl.kbv.pitch], constraints={"camera_total": ["GREATER_THAN", 1e12]})
    view = LiveView(agent, figure=Figure())
    measured(RE, bl, [bl.kbv.pitch], view, agent, 4)
    assert "no point holds the constraints yet" in texts(view.figure)
    (broken,) = labelled(view.figure, "breaks a constraint")
    assert len(broken.get_xdata()) == 4
    assert not labelled(view.figure, "best so far")


def test_documents_alone_show_all_but_the_model(RE: RunEngine) -> None:
    bl, documents = SimBeamline(seed=0), []
    RE.subscribe(lambda name, doc: documents.append((name, doc)))
    RE(optimize([bl.camera], [bl.kbv.pitch, bl.kbv.bend_up], agent_of([bl.kbv.pitch, bl.kbv.bend_up]), max_points=6))
    view = LiveView(figure=Figure())
    for name, doc in documents:  # as they come from a message bus
        view(name, doc)
    view.wait()
    assert "6 of 6 points" in texts(view.figure)
    (readings,) = view.figure.axes[1].collections
    assert len(readings.get_offsets()) == 6


def test_rows_of_an_earlier_attempt_at_a_proposal_do_not_count() -> None:
    vocs = {"variables": {"x": [0.0, 1.0]}, "objectives": {"f": "MINIMIZE"}}
    metadata = RunMetadata(
        package_version="0", agent={"agent": "sobol", "vocs": vocs_dict(make_vocs(vocs))}, motors=["x"],
        outcomes=["f"], max_points=9, batch=1, finish="stay", positions_from_rows=["x"],
    )  # fmt: skip
    run = RunSoFar({"uid": "1", "ebl_autonomy": metadata.model_dump(mode="json")})
    run.take("descriptor", {"uid": "d", "run_start": "1", "name": "primary"})
    for proposal, attempt, f in [("a", 1, 3.0), ("b", 1, 0.5), ("b", 1, math.nan), ("b", 2, 2.0), ("c", 1, math.nan)]:
        row = {"proposal_id": proposal, "attempt": attempt, "x": 0.1 * f, "f": f}
        assert run.take("event", {"descriptor": "d", "data": row}) == "primary"
    assert run.rows.values[:2] == [3.0, 2.0]
    assert (len(run.rows), run.rows.invalid, run.rows.best_row, run.rows.best_values) == (3, 1, 1, [3.0, 2.0, 2.0])
    assert run.best_in_words() == "best f 2"
    assert run.best_point_in_words() == "x 0.2"


def test_runs_of_others_and_nested_runs_leave_the_view_alone() -> None:
    view = LiveView(figure=Figure())
    for name, doc in [
        ("start", {"uid": "1", "time": 0.0}),
        ("descriptor", {"uid": "d", "run_start": "1", "name": "primary"}),
        ("event", {"descriptor": "d", "data": {"f": 1.0}}),
        ("stop", {"run_start": "1"}),
    ]:
        view(name, doc)
    assert not view.figure.axes


def test_two_runs_after_each_other_are_shown_each_by_itself(RE: RunEngine) -> None:
    bl = SimBeamline(seed=0)
    view = LiveView(figure=Figure())
    RE.subscribe(view)
    for points in (4, 3):
        RE(optimize([bl.camera], [bl.kbv.pitch], agent_of([bl.kbv.pitch]), max_points=points))
        view.wait()
        assert f"{points} of {points} points" in texts(view.figure)


class FailingAgent(BayesianAgent):
    """An agent whose model answers the plan and fails when it is asked about many points."""

    def predict(self, points: Any) -> Any:
        if len(points) > 50:
            raise RuntimeError("no answer for so many points")
        return super().predict(points)


def test_a_model_that_fails_is_logged_once_and_the_rest_is_shown(
    RE: RunEngine, caplog: pytest.LogCaptureFixture
) -> None:
    bl = SimBeamline(seed=0)
    agent = FailingAgent({"variables": {"kbv_pitch": [-120.0, 120.0]}, "objectives": AREA})
    view = LiveView(agent, figure=Figure())
    with caplog.at_level(logging.ERROR):
        measured(RE, bl, [bl.kbv.pitch], view, agent, 8)
    assert len(agent.results) == 8
    assert "8 of 8 points" in texts(view.figure)
    assert [r.message for r in caplog.records if r.name == "ebl_autonomy.report.live"] == [
        "the agent's model cannot be shown, and is not asked any more in this run"
    ]


def test_a_figure_that_is_saved_after_a_run_has_the_end_of_the_run(RE: RunEngine, tmp_path: Path) -> None:
    bl = SimBeamline(seed=0)
    agent = agent_of([bl.kbv.pitch])
    view = LiveView(agent, figure=Figure(), every_s=2.0)  # so that the first drawing is old when the run ends
    RE.subscribe(view)
    RE(optimize([bl.camera], [bl.kbv.pitch], agent, max_points=5, finish="stay"))
    view.save(tmp_path / "run.png")
    assert "5 of 5 points" in texts(view.figure)


class BrokenFigure(Figure):
    """A window that was closed."""

    def suptitle(self, t: str, **kwargs: Any) -> Any:
        raise RuntimeError("the window was closed")


def test_a_figure_that_cannot_be_drawn_is_logged_once_and_does_not_reach_the_run(
    RE: RunEngine, caplog: pytest.LogCaptureFixture
) -> None:
    bl = SimBeamline(seed=0)
    agent = agent_of([bl.kbv.pitch])
    view = LiveView(agent, figure=BrokenFigure())
    with caplog.at_level(logging.ERROR):
        measured(RE, bl, [bl.kbv.pitch], view, agent, 8)
    assert len(agent.results) == 8
    assert len([r for r in caplog.records if r.name == "ebl_autonomy.report.live"]) == 1


def test_the_view_draws_in_a_thread_of_its_own_that_ends_with_the_run_and_saves_to_a_file(
    RE: RunEngine, tmp_path: Path
) -> None:
    threads: set[str] = set()

    class Watched(Figure):
        def suptitle(self, t: str, **kwargs: Any) -> Any:
            threads.add(threading.current_thread().name)
            return super().suptitle(t, **kwargs)

    bl = SimBeamline(seed=0)
    agent = agent_of([bl.kbv.pitch])
    view = LiveView(agent, figure=Watched())
    measured(RE, bl, [bl.kbv.pitch], view, agent, 5)
    assert threads == {"ebl-autonomy-live"}
    assert "ebl-autonomy-live" not in {thread.name for thread in threading.enumerate()}
    view.save(tmp_path / "view.png")
    assert (tmp_path / "view.png").stat().st_size > 1000


def test_a_document_that_cannot_be_read_is_logged_and_does_not_reach_the_run(caplog: pytest.LogCaptureFixture) -> None:
    view = LiveView(figure=Figure())
    with caplog.at_level(logging.ERROR):
        view("start", {"uid": "1", "time": 0.0, "ebl_autonomy": {"schema_version": "99.0"}})
        view("stop", {"run_start": "1"})
    assert [r.message for r in caplog.records] == ["the live view failed, and does not follow this run any more"]


def test_an_agent_asks_the_same_with_a_view_and_without(RE: RunEngine) -> None:
    asked = []
    for watched in (False, True):
        bl = SimBeamline(seed=0)
        agent = agent_of([bl.kbv.pitch, bl.kbh.pitch])
        token = RE.subscribe(LiveView(agent, figure=Figure(), every_s=0.0)) if watched else None
        RE(optimize([bl.camera], [bl.kbv.pitch, bl.kbh.pitch], agent, max_points=12))
        asked.append([{name: result[name] for name in ("kbv_pitch", "kbh_pitch")} for result in agent.results])
        if token is not None:
            RE.unsubscribe(token)
    assert asked[0] == asked[1]
    assert all(math.isfinite(value) for point in asked[0] for value in point.values())


PROXY = """
from bluesky.callbacks.zmq import Proxy
proxy = Proxy("tcp://127.0.0.1:*", "tcp://127.0.0.1:*")
print(str(proxy.in_port).rpartition(":")[2], str(proxy.out_port).rpartition(":")[2], flush=True)
proxy.start()
"""
WATCHER = """
import os, sys
import matplotlib; matplotlib.use("Agg")
from bluesky.callbacks.zmq import RemoteDispatcher
from ebl_autonomy.report import LiveView, ProgressBar

dispatcher, view = RemoteDispatcher(("127.0.0.1", int(sys.argv[1]))), LiveView()
heard = []

def tell(name, doc):
    if not heard:
        print("listening", flush=True)
    heard.append(name)
    if name == "stop":
        view.wait()
        print(view.figure.get_suptitle(), flush=True)
        os._exit(0)

for callback in (ProgressBar(), view, tell):
    dispatcher.subscribe(callback)
dispatcher.start()
"""


def test_documents_over_a_message_bus_are_followed_by_the_line_and_by_the_view(RE: RunEngine) -> None:
    """As from a queueserver, whose documents come over 0MQ into another process."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", PROXY], **pipes) as proxy:
        ports = proxy.stdout.readline().split()
        with subprocess.Popen([sys.executable, "-c", WATCHER, ports[1]], **pipes) as watcher:
            publisher, listening = Publisher(("127.0.0.1", int(ports[0]))), threading.Event()
            waiting = threading.Thread(target=lambda: (watcher.stdout.readline(), listening.set()))
            waiting.start()
            while not listening.wait(0.1):  # what is published before somebody listens is lost
                assert watcher.poll() is None, watcher.stderr.read()
                publisher("start", {"uid": "of another", "time": 0.0})
            RE.subscribe(publisher)
            bl = SimBeamline(seed=0)
            RE(optimize([bl.camera], [bl.kbv.pitch], agent_of([bl.kbv.pitch]), max_points=5))
            title, line = watcher.communicate(timeout=60.0)
            publisher.close()
        proxy.kill()
    assert "bayesian: 5 of 5 points" in title
    assert "best camera_spot_area" in title
    assert "5/5" in line  # of a log: one line, without a terminal
    assert "recommended camera_spot_area" in line
