"""Start-up script of a bluesky-queueserver environment: simulated devices, Tiled, and the plans to queue."""

from bluesky import RunEngine
from bluesky.callbacks.best_effort import BestEffortCallback

from ebl_autonomy import connect
from ebl_autonomy.plans import adaptive_map, adaptive_spectrum, characterise, go_to_best, optimize, roi_survey
from ebl_autonomy.sim_devices import AsyncMicroprobe, SimBeamline, SimMicroprobe, SimSample

__all__ = [
    "RE",
    "adaptive_map",
    "adaptive_spectrum",
    "camera",
    "characterise",
    "clock",
    "go_to_best",
    "optimize",
    "roi_survey",
    "tiled",
]

RE = RunEngine({})
tiled = connect(RE)  # an embedded server; for a running one: connect(RE, "http://…", api_key=…)

table = BestEffortCallback()  # one line per point, for qserver-console-monitor
table.disable_plots()  # a worker has no screen
RE.subscribe(table)

bl = SimBeamline(seed=0, tier="A", speed=20.0)  # twenty times as fast as mirrors of metal
camera, clock = bl.camera, bl.clock
# The queue server identifies devices by the names of the variables that hold them.
globals().update({motor.name: motor for motor in bl.motors()})

# A scanning microprobe: stage, monochromator, exposure time, detectors, and what flies lines.
probe = SimMicroprobe(SimSample.cells(seed=0, shape=(60, 60)), seed=0, speed=20.0)
stage = [probe.x, probe.y, probe.energy, probe.dwell, *probe.detectors, probe.flyer]
globals().update({device.name: device for device in stage})
async_line = AsyncMicroprobe(probe).flyer  # the same flights by an ophyd-async device
