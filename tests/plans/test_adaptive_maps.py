"""Maps of points and fly lines in one run: each row is bound to its proposal, wherever it was flown or measured."""

import threading
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from microprobes import STEP, area, microprobe
from scripted import Scripted
from simple import Documents

from ebl_autonomy import VOCS
from ebl_autonomy.agents import SobolAgent, make_agent
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans import adaptive_map
from ebl_autonomy.testing import check_plan, check_plan_signature

CHANNELS = ["xrf_Fe", "xrf_Cr"]
MAPPING = {
    "agent": "mapping",
    "vocs": {"variables": area(), "observables": CHANNELS},
    "options": {"step": STEP, "counts": True},
}


def lines_vocs(**more: Any) -> VOCS:
    variables = {**area(), "line_length": [-12.0, 12.0], **more}
    return VOCS(variables=variables, observables=CHANNELS)


def at(x: float, y: float, length: float = 0.0) -> dict[str, float]:
    return {"sample_x": x, "sample_y": y, "line_length": length}


def positions_of(rows: list[dict[str, Any]]) -> list[tuple[float, float]]:
    return [(row["sample_x"], row["sample_y"]) for row in rows]


def test_every_pixel_of_a_small_map_is_measured_once(RE: RunEngine, docs: Documents) -> None:
    probe = microprobe()
    home = probe.x.position, probe.y.position
    result = RE(adaptive_map([probe.xrf], probe.x, probe.y, MAPPING, max_points=1000)).plan_result
    rows = docs.events["primary"]
    assert result.stop_reason.startswith("agent: ")
    assert "all 96 pixels" in result.stop_reason
    assert sorted(positions_of(rows)) == pytest.approx(
        np.array([(x + 0.5, y + 0.5) for x in range(12) for y in range(8)])
    )
    assert len({row["proposal_id"] for row in rows}) == 96
    assert (probe.x.position, probe.y.position) == home
    assert docs.start["plan_name"] == "adaptive_map"


def test_points_and_lines_go_into_one_stream_and_each_row_tells_where_it_was(RE: RunEngine, docs: Documents) -> None:
    probe = microprobe()
    agent = Scripted([at(0.5, 1.5), at(2.0, 6.5, 4.0), at(12.0, 0.5, -12.0), at(3.5, 3.5)], lines_vocs())
    result = RE(
        adaptive_map(
            [probe.xrf, probe.i0], probe.x, probe.y, agent, max_points=18, batch=1, flyers=[probe.flyer], step=STEP,
            dwell_s=0.01,
        )
    ).plan_result  # fmt: skip
    assert (result.accepted, result.rows) == (4, 18)
    expected = [(0.5, 1.5), *((x + 0.5, 6.5) for x in range(2, 6)), *((11.5 - x, 0.5) for x in range(12)), (3.5, 3.5)]
    assert positions_of(docs.events["primary"]) == pytest.approx(np.array(expected), abs=2e-3)
    asked = [row["proposal_id"] for row in docs.events["decisions"]]
    owners = [row["proposal_id"] for row in docs.events["primary"]]
    assert owners == [asked[0], *[asked[1]] * 4, *[asked[2]] * 12, asked[3]]
    told = [(one["sample_x"], one["sample_y"], one["xrf_Fe"]) for one in agent.told]
    assert told == [(row["sample_x"], row["sample_y"], row["xrf_Fe"]) for row in docs.events["primary"]]
    bright = [row["xrf_Fe"] for row in docs.events["primary"] if row["sample_y"] == 6.5]
    assert len(bright) == 4


def test_a_line_may_reach_exactly_to_the_edge_of_the_map(RE: RunEngine, docs: Documents) -> None:
    probe = microprobe()
    vocs = VOCS(
        variables={"sample_x": [0.1, 0.7], "sample_y": [0.0, 8.0], "line_length": [-1.0, 1.0]}, observables=CHANNELS
    )
    agent = Scripted([at(0.1, 1.0, 0.7 - 0.1), at(0.7, 2.0, 0.1 - 0.7)], vocs)
    result = RE(
        adaptive_map([probe.xrf], probe.x, probe.y, agent, max_points=12, flyers=[probe.flyer], step=0.1, batch=1)
    ).plan_result
    assert (result.accepted, result.refused, result.rows) == (2, 0, 12)


def test_the_agent_chooses_the_dwell_of_points_and_of_lines(RE: RunEngine, docs: Documents) -> None:
    probe = microprobe()
    agent = Scripted(
        [{**at(0.5, 1.5), "dwell": 0.5}, {**at(0.0, 1.5, 4.0), "dwell": 0.25}], lines_vocs(dwell=[0.001, 1.0])
    )
    plan = adaptive_map(
        [probe.xrf], probe.x, probe.y, agent, max_points=5, batch=1, dwell=probe.dwell, flyers=[probe.flyer], step=STEP
    )
    RE(plan)
    real = [row["xrf_real_time"] for row in docs.events["primary"]]
    assert real == pytest.approx([0.5, 0.25, 0.25, 0.25, 0.25])
    assert probe.dwell.position == 0.02  # as before the run


@pytest.mark.integration
def test_a_pause_in_a_line_loses_and_repeats_nothing(RE: RunEngine, docs: Documents) -> None:
    probe = microprobe(speed=2.0)
    agent = Scripted([at(0.0, y + 0.5, 12.0) if y != 1 else at(0.5, 1.5) for y in range(4)], lines_vocs())
    kickoff, flights = probe.flyer.kickoff, []

    def pausing() -> Any:
        flights.append(1)
        if len(flights) == 2:
            # It takes effect when the line is over. This is the RunEngine's own thread, which must not wait for itself.
            threading.Thread(target=RE.request_pause, kwargs={"defer": True}).start()
        return kickoff()

    probe.flyer.kickoff = pausing  # type: ignore[method-assign]
    plan = adaptive_map(
        [probe.xrf], probe.x, probe.y, agent, max_points=37, batch=2, flyers=[probe.flyer], step=STEP, dwell_s=0.01
    )
    with pytest.raises(RunEngineInterrupted):
        RE(plan)
    RE.resume()
    rows = docs.events["primary"]
    assert len(rows) == len(set(positions_of(rows))) == 37
    assert docs.events["abandoned"] == []
    assert docs.stop["exit_status"] == "success"


def test_budgets_of_dose_and_points_end_a_map(RE: RunEngine) -> None:
    probe = microprobe()
    envelope = {"max_dose": 10.5 * 0.02, "dose_key": "xrf_real_time"}
    plan = adaptive_map([probe.xrf], probe.x, probe.y, MAPPING, max_points=1000, batch=1, envelope=envelope)
    result = RE(plan).plan_result
    assert result.rows == 11
    assert result.stop_reason.startswith("budget: the dose")
    assert result.dose == pytest.approx(11 * 0.02)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"flyers": True}, r"flyers= are given.*line_length.*option 'line'"),
        ({"vocs": lines_vocs()}, r"\['line_length'\] are not motors of the map.*flyers="),
        ({"vocs": lines_vocs(), "flyers": True}, r"SobolAgent has no pixels: give step="),
        ({"vocs": lines_vocs(), "flyers": True, "step": -1.0}, r"step=-1.0: give a positive length"),
        ({"dwell_s": 0.0}, r"dwell_s=0.0: give a positive number of seconds"),
        ({"flyers": "line"}, r"flyers: no such device 'line'"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_moves(RE: RunEngine, given: dict[str, Any], said: str) -> None:
    probe = microprobe()
    home = probe.x.position, probe.y.position
    vocs = given.pop("vocs", VOCS(variables=area(), observables=CHANNELS))
    if given.get("flyers") is True:
        given["flyers"] = [probe.flyer]
    with pytest.raises(BadInputError, match=said):
        RE(adaptive_map([probe.xrf], probe.x, probe.y, SobolAgent(vocs), max_points=3, **given))
    assert (probe.x.position, probe.y.position) == home


def test_the_plan_keeps_the_contract(RE: RunEngine) -> None:
    probe = microprobe()

    def make() -> Any:
        return adaptive_map([probe.xrf], probe.x, probe.y, MAPPING, max_points=5)

    check_plan(make, RE, gated=True)
    check_plan_signature(adaptive_map)


def test_a_sample_that_drifts_is_mapped_to_the_end_where_the_stage_was(RE: RunEngine, docs: Documents) -> None:
    probe = microprobe(drift_um_per_hour=(400.0, 0.0))  # about two pixels during the map
    agent = make_agent(MAPPING)
    result = RE(adaptive_map([probe.xrf, probe.clock], probe.x, probe.y, agent, max_points=96)).plan_result
    assert (result.rows, docs.stop["exit_status"]) == (96, "success")
    rows = docs.events["primary"]
    assert len(set(positions_of(rows))) == 96
    moved = probe.drift_um(rows[-1]["clock"])[0]
    assert 1.0 < moved < 4.0
    mean, std = agent.map()["xrf_Fe"]
    assert np.isfinite(mean).all()
    assert np.isfinite(std).all()
    assert all(np.isfinite(error) for error in agent.predicted_error().values())
