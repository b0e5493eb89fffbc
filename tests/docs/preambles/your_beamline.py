"""An EPICS beamline with motors and an areaDetector, and its address in the environment."""

import atexit
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "epics"))

from area_detector import area_detector

_ioc = area_detector()
_ioc.__enter__()
atexit.register(_ioc.__exit__, None, None, None)
