"""An attenuation over decades and a filter wheel in a run: searched on their scales, recorded in motor units."""

import json
import math
from typing import Any

import pytest
from bluesky import RunEngine
from ophyd.sim import SynAxis
from scripted import Scripted
from simple import Bowl, Documents

from ebl_autonomy import VOCS
from ebl_autonomy.data import Connection, read_run
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans import optimize
from ebl_autonomy.steering import restore_session

pytestmark = pytest.mark.integration

ENVELOPE: dict[str, Any] = {"limits": {"slit": (1e-8, 1.0), "wheel": (1, 4)}}
AGENT: dict[str, Any] = {
    "agent": "bayesian",
    "vocs": {
        "variables": {
            "slit": {"type": "ContinuousVariable", "domain": (1e-8, 1.0), "log_scale": True},
            "wheel": {"type": "DiscreteVariable", "values": range(1, 5)},
        },
        "objectives": {"bad": "MINIMIZE"},
    },
}


def badness(reading: Any) -> float:
    return (math.log10(float(reading["slit"]) / 3e-5)) ** 2 + (float(reading["wheel"]) - 3.0) ** 2


def bench() -> list[SynAxis]:
    slit, wheel = SynAxis(name="slit"), SynAxis(name="wheel")
    slit.set(1e-2)
    wheel.set(1)
    return [slit, wheel]


def run(RE: RunEngine, points: int, **more: Any) -> Any:
    motors = bench()
    return RE(
        optimize([], motors, AGENT, max_points=points, derive={"bad": badness}, envelope=ENVELOPE, **more)
    ).plan_result


def test_a_run_over_decades_is_in_motor_units_and_can_be_restored(
    RE: RunEngine, docs: Documents, tiled: Connection
) -> None:
    result = run(RE, 22)
    variables = docs.start["ebl_autonomy"]["agent"]["vocs"]["variables"]
    assert variables["slit"]["log_scale"] is True
    assert variables["slit"]["domain"] == [1e-8, 1.0]
    json.dumps(docs.start, allow_nan=False)
    rows = docs.events["primary"]
    assert (rows[0]["slit"], rows[0]["wheel"]) == (pytest.approx(1e-2), 1.0)
    assert all(1e-8 <= row["slit"] <= 1.0 for row in rows)
    assert result.recommended.point["slit"] == pytest.approx(3e-5, rel=0.5)
    assert result.recommended.point["wheel"] == 3.0
    uid = docs.start["uid"]
    session = restore_session(read_run(uid, tiled.client), max_points=23)
    assert session.space.logarithmic.tolist() == [True, False]
    (proposal,) = session.ask()
    assert 1e-8 <= proposal.answer["slit"] <= 1.0
    again = run(RE, 3, prior=[uid])
    assert again.recommended.point["slit"] == pytest.approx(3e-5, rel=0.5)
    assert again.recommended.point["wheel"] == 3.0


def test_an_unknown_key_is_refused_before_anything_moves(RE: RunEngine, docs: Documents) -> None:
    wrong = {"type": "ContinuousVariable", "domian": [1e-8, 1.0]}
    agent = {**AGENT, "vocs": {**AGENT["vocs"], "variables": {**AGENT["vocs"]["variables"], "slit": wrong}}}
    with pytest.raises(BadInputError, match=r"slit\.domian: unknown, did you mean 'domain'"):
        RE(optimize([], bench(), agent, max_points=3, derive={"bad": badness}, envelope=ENVELOPE))
    assert not docs.events


class Imprecise(SynAxis):
    """A motor that stands beside its target by a share of it."""

    def __init__(self, share: float) -> None:
        super().__init__(name="flux", value=1e-8)
        self.share = share

    def set(self, value: float, **kwargs: Any) -> Any:
        return super().set(value * (1.0 + self.share), **kwargs)


@pytest.mark.parametrize(("share", "accepted"), [(0.02, 4), (-0.05, 4), (0.5, 0), (-0.6, 0), (30.0, 0)])
def test_the_default_tolerance_over_decades_is_a_share_of_each_target(
    RE: RunEngine, docs: Documents, share: float, accepted: int
) -> None:
    motor = Imprecise(share)
    known = VOCS(
        variables={"flux": {"type": "ContinuousVariable", "domain": [1e-8, 1.0], "log_scale": True}},
        objectives={"bowl": "MINIMIZE"},
    )
    points = [{"flux": value} for value in (3e-8, 1e-6, 1e-4, 0.01)]
    plan = optimize(
        [Bowl(motor, motor)], [motor], Scripted(points, known), max_points=4, retries=0, finish="stay",
        envelope={"limits": {"flux": [1e-9, 1.5]}},
    )  # fmt: skip
    RE(plan)
    assert len(docs.events["primary"]) == accepted
    assert sum("further off than its tolerance" in lost["reason"] for lost in docs.events["abandoned"]) == 4 - accepted
    ours = docs.start["ebl_autonomy"]
    assert ours["position_tolerance"] == {}
    assert ours["position_share"]["flux"] == pytest.approx(10**0.08 - 1.0)  # 1 % of eight decades
