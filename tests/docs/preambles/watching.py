"""A session that is about to align two motors."""

import matplotlib
from bluesky import RunEngine

from ebl_autonomy.agents import BayesianAgent
from ebl_autonomy.plans import optimize
from ebl_autonomy.sim_devices import SimBeamline

matplotlib.use("Agg")
RE = RunEngine({})
bl = SimBeamline(seed=0)
motors = [bl.kbv.pitch, bl.kbh.pitch]
agent = BayesianAgent(
    {"variables": {m.name: list(m.limits) for m in motors}, "objectives": {"camera_spot_area": "MINIMIZE"}}
)
optimize = optimize
