"""An IOC of the simulated beamline, as ``ebl-autonomy serve ioc`` starts one, and its address in the environment."""

import atexit

from ebl_autonomy.sim_devices.ioc import ioc_process

_ioc = ioc_process(tier="B", speed=200.0)
_ioc.__enter__()
atexit.register(_ioc.__exit__, None, None, None)
