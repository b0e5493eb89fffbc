"""Start-up script of a bluesky-queueserver environment: the simulated beamline, Tiled, and the plan to queue."""

from bluesky import RunEngine
from bluesky.callbacks.best_effort import BestEffortCallback

from ebl_autonomy import connect
from ebl_autonomy.plans import optimize
from ebl_autonomy.sim_devices import SimBeamline

__all__ = ["RE", "camera", "clock", "optimize", "tiled"]

RE = RunEngine({})
tiled = connect(RE)  # an embedded server; for a running one: connect(RE, "http://…", api_key=…)

table = BestEffortCallback()  # one line per point, for qserver-console-monitor
table.disable_plots()  # a worker has no screen
RE.subscribe(table)

bl = SimBeamline(seed=0, tier="A", speed=20.0)  # twenty times as fast as mirrors of metal
camera, clock = bl.camera, bl.clock
# The queue server identifies devices by the names of the variables that hold them.
globals().update({motor.name: motor for motor in bl.motors()})
