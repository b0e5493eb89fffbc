"""Start-up script of a bluesky-queueserver environment: the simulated beamline, Tiled, and the plan to queue.

    start-re-manager --startup-script examples/queueserver/startup.py \
        --user-group-permissions examples/queueserver/user_group_permissions.yaml \
        --existing-plans-devices existing_plans_and_devices.yaml --update-existing-plans-devices ENVIRONMENT_OPEN
"""

from bluesky import RunEngine

from ebl_autonomy import connect
from ebl_autonomy.plans import go_to_best, optimize
from ebl_autonomy.sim_devices import SimBeamline

__all__ = ["RE", "camera", "clock", "go_to_best", "optimize", "tiled"]

RE = RunEngine({})
tiled = connect(RE)  # an embedded server; for a running one: connect(RE, "http://…", api_key=…)

bl = SimBeamline(seed=0, tier="A")
camera, clock = bl.camera, bl.clock
# The queue server identifies devices by the names of the variables that hold them.
globals().update({motor.name: motor for motor in bl.motors()})
