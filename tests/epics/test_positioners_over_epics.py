"""Positioners that a beamline builds on its motor records: slits, renamed and omitted readbacks, put completion."""

import pytest
from clients import client

from ebl_autonomy.sim_devices.ioc import ioc_process

pytestmark = pytest.mark.integration

SCRIPT = """
import json
from bluesky import RunEngine
from gest_api.generator import Generator
from ophyd import Component, EpicsMotor, EpicsSignal, EpicsSignalRO, PVPositionerPC, PseudoPositioner, PseudoSingle
from ophyd.pseudopos import pseudo_position_argument, real_position_argument
from ebl_autonomy import VOCS
from ebl_autonomy.plans import optimize

class Slits(PseudoPositioner):
    gap = Component(PseudoSingle, limits=(-50.0, 50.0), egu="urad")
    centre = Component(PseudoSingle)
    left = Component(EpicsMotor, "EBL:kbv_pitch")
    right = Component(EpicsMotor, "EBL:kbh_pitch")

    @pseudo_position_argument
    def forward(self, pseudo):
        return self.RealPosition(pseudo.centre - 0.5 * pseudo.gap, pseudo.centre + 0.5 * pseudo.gap)

    @real_position_argument
    def inverse(self, real):
        return self.PseudoPosition(round(real.right - real.left, 3), round(0.5 * (real.left + real.right), 3))

class Put(PVPositionerPC):
    setpoint = Component(EpicsSignal, ".VAL")
    readback = Component(EpicsSignalRO, ".RBV")

class Listed(Generator):
    def __init__(self, points, low=-60.0, high=60.0):
        self.vocs = VOCS(variables={name: [low, high] for name in points[0]}, objectives={"dip": "MINIMIZE"})
        self.points, self.told = list(points), []
    def _validate_vocs(self, vocs):
        pass
    def suggest(self, num_points=None):
        return [self.points.pop(0)] if self.points else []
    def ingest(self, results):
        self.told += results

class Dip:
    name, parent = "dip", None
    def read(self):
        return {"dip": {"value": 1.0, "timestamp": 0.0}}
    def describe(self):
        return {"dip": {"source": "test", "dtype": "number", "shape": []}}

RE = RunEngine({}, call_returns_result=True)
from recording import keep
rows, gone, start = keep(RE)

def run(motors, points, **more):
    rows.clear(), gone.clear()
    agent = Listed(points)
    result = RE(optimize([Dip()], motors, agent, max_points=9, retries=0, finish="return", **more)).plan_result
    return {
        "rows": [[row[name] for name in points[0]] for row in rows], "gone": [[g["rule"], g["reason"]] for g in gone],
        "left": [result.left_at[name] for name in points[0]], "where": result.left_where,
        "units": start["units"], "limits": start["limits"],
    }

seen = {}
slits = Slits("", name="slits")
slits.wait_for_connection(timeout=100)
seen["slits"] = run([slits.gap, slits.centre], [
    {"slits_gap": 10.0, "slits_centre": 5.0}, {"slits_gap": 10.0, "slits_centre": -20.0},
    {"slits_gap": 55.0, "slits_centre": 0.0}, {"slits_gap": -30.0, "slits_centre": -20.0},
])
seen["reals"] = run([slits.left, slits.right], [{"slits_left": 10.0, "slits_right": -5.0}])
beyond = Listed([{"slits_gap": 20.0, "slits_centre": 115.0}], -50.0, 130.0)
rows.clear(), gone.clear()
RE(optimize([Dip()], [slits.gap, slits.centre], beyond, max_points=1, finish="stay"))
seen["beyond"] = [[g["rule"], g["reason"]] for g in gone]
for kind in ("renamed", "omitted"):
    motor = EpicsMotor("EBL:kbv_pitch", name="m")
    motor.wait_for_connection(timeout=100)
    if kind == "renamed":
        motor.user_readback.name = "m_encoder"
    else:
        motor.user_readback.kind = "omitted"
    for name in ("m", "m_encoder") if kind == "renamed" else ("m",):
        seen[kind + " as " + name] = run([motor], [{name: 3.0}, {name: -4.0}])
put = Put("EBL:kbv_pitch", name="put")
put.wait_for_connection(timeout=100)
for name in ("put", "put_readback"):
    seen["put completion as " + name] = run([put], [{name: 3.0}, {name: -4.0}])
print(json.dumps(seen))
"""


def test_positioners_built_on_motor_records() -> None:
    with ioc_process(seed=0, tier="A", speed=200.0, set_environment=False) as ioc:
        seen = client(ioc, SCRIPT)
    near = 0.05
    slits = seen.pop("slits")
    assert [pytest.approx(row, abs=near) for row in slits["rows"]] == [[10.0, 5.0], [10.0, -20.0], [-30.0, -20.0]]
    assert [rule for rule, _ in slits["gone"]] == ["limits"]
    assert slits["units"]["slits_gap"] == "urad"
    assert slits["limits"]["slits_centre"] == [-60.0, 60.0]  # an axis without limits: the domain's
    assert slits["where"] == "are back where they were before"
    ((rule, reason),) = seen.pop("beyond")
    assert rule == "limits"
    assert "motor 'slits_centre' itself refuses 115.0" in reason  # the right blade would go to 125, beyond its 120
    reals = seen.pop("reals")
    assert reals["rows"] == [pytest.approx([10.0, -5.0], abs=near)]
    assert set(seen) == {
        "renamed as m", "renamed as m_encoder", "omitted as m", "put completion as put",
        "put completion as put_readback",
    }  # fmt: skip
    for kind, answer in seen.items():
        assert [pytest.approx(row, abs=near) for row in answer["rows"]] == [[3.0], [-4.0]], kind
        assert answer["gone"] == [], kind
        assert next(iter(answer["limits"].values())) == [-120.0, 120.0], kind
        assert list(answer["units"].values()) == ["urad"], kind
        assert answer["where"] == "are back where they were before", kind
