"""A run in the embedded Tiled server, steered by an agent that knew an earlier one: `uid`, and its RunEngine."""

from bluesky import RunEngine

from ebl_autonomy import VOCS, connect
from ebl_autonomy.agents import BayesianAgent
from ebl_autonomy.plans import optimize
from ebl_autonomy.sim_devices import SimBeamline

RE = RunEngine({})
_bl = SimBeamline(seed=0, tier="A")
_vocs = VOCS(variables={m.name: list(m.limits) for m in _bl.motors()}, objectives={"camera_spot_area": "MINIMIZE"})
with connect(RE):
    (_past,) = RE(optimize([_bl.camera], _bl.motors(), BayesianAgent(_vocs), max_points=6))
    (uid,) = RE(optimize([_bl.camera], _bl.motors(), BayesianAgent(_vocs), max_points=6, prior=[_past]))
