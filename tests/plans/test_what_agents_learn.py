"""What `optimize` and an agent exchange besides points and results: how motors move, and the agent's explanation."""

from typing import Any

import pytest
from bluesky import RunEngine
from ophyd.sim import SynAxis, SynGauss
from simple import ENVELOPE, Documents, sobol, vocs

from ebl_autonomy import read_run
from ebl_autonomy.agents import BayesianAgent
from ebl_autonomy.data import Connection
from ebl_autonomy.plans import optimize
from ebl_autonomy.sim_devices import SimBeamline


def beamline_vocs(beamline: SimBeamline) -> dict[str, Any]:
    return {
        "variables": {motor.name: list(motor.limits) for motor in beamline.motors()},
        "objectives": {"camera_spot_area": "MINIMIZE"},
    }


def test_agents_are_told_how_motors_move_and_how_long_an_exposure_is(RE: RunEngine, docs: Documents) -> None:
    beamline = SimBeamline(seed=0, tier="A")
    beamline.camera.exposure = 0.25
    agent = BayesianAgent(beamline_vocs(beamline), seed=0)
    RE(optimize([beamline.camera], beamline.motors(), agent, max_points=2))
    options = docs.start["ebl_autonomy"]["agent"]["options"]
    assert options["measure_s"] == 0.25
    assert options["travel"]["kbv_pitch"] == {
        "velocity": 20.0,
        "acceleration_s": beamline.kbv.pitch.acceleration,
        "settle_s": beamline.kbv.pitch.settle_time,
        "backlash": 0.2,
    }


def test_motors_that_do_not_say_how_they_move_cost_nothing(RE: RunEngine, docs: Documents) -> None:
    class Mute(SynAxis):  # type: ignore[misc]
        velocity = None

    motors = [Mute(name=name) for name in ("mx", "my")]
    bowl = SynGauss("bowl", motors[0], "mx", center=0.0, Imax=1.0)
    RE(optimize([bowl], motors, BayesianAgent(vocs(), seed=0), max_points=2, envelope=ENVELOPE))
    assert docs.start["ebl_autonomy"]["agent"]["options"]["travel"] == {}


@pytest.mark.integration
def test_what_the_agent_believes_is_in_the_run(RE: RunEngine, tiled: Connection) -> None:
    beamline = SimBeamline(seed=0, tier="A")
    vocs = {**beamline_vocs(beamline), "observables": ["camera_total"]}
    agent = BayesianAgent(vocs, seed=0, hard={"camera_total": ["GREATER_THAN", 1e5]})
    (uid,) = RE(optimize([beamline.camera], beamline.motors(), agent, max_points=14)).run_start_uids
    record = read_run(uid, tiled.client)
    assert record.explanation == str(agent.explain())
    assert "camera_spot_area" in record.explanation
    assert "hard limits were broken" in record.explanation
    again = BayesianAgent.from_config(record.metadata.agent)
    again.ingest(list(record.results))
    assert again.suggest(1) == agent.suggest(1)


def test_agents_without_beliefs_write_none(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    RE(optimize([bowl], motors, sobol(), max_points=3, envelope=ENVELOPE))
    assert "explanation" not in docs.events


def test_an_agent_that_has_no_model_yet_says_so(RE: RunEngine, docs: Documents, bench: Any) -> None:
    bowl, motors = bench
    RE(optimize([bowl], motors, BayesianAgent(vocs(), seed=0), max_points=1, envelope=ENVELOPE))
    assert docs.stop["exit_status"] == "success"
    assert "no model yet" in docs.events["explanation"][0]["explanation"]
