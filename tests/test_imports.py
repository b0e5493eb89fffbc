"""Imports are fast: heavy modules are loaded where they are used."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration

IMAGES = ("skimage", "sklearn", "skfuzzy")
HEAVY = (
    *("torch", "botorch", "gpytorch", "tiled.server", "matplotlib"),
    *("caproto", "epics", "ophyd_async", "databroker"),
    *IMAGES,
)


def loaded(statement: str) -> set[str]:
    """The heavy modules that a fresh process has loaded after `statement`."""
    code = f"{statement}\nimport sys\nprint(*[m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    return set(done.stdout.split())


def test_the_package_loads_nothing_heavy() -> None:
    assert loaded("import ebl_autonomy") == set()


@pytest.mark.parametrize(
    "statement",
    [
        "from ebl_autonomy import VOCS, Envelope",
        "import ebl_autonomy.agents",
        "from ebl_autonomy.agents import SobolAgent, GridAgent, CoordinateScanAgent",
        "import ebl_autonomy.plans",
        "from ebl_autonomy.plans import optimize",
        "import ebl_autonomy.testing",
        "from ebl_autonomy.agents import ROIAgent",
        "from ebl_autonomy.analysis.regions import Maps, find_regions",
    ],
)
def test_deciding_and_planning_load_no_torch_server_or_figures(statement: str) -> None:
    assert loaded(statement) & {"torch", "botorch", "gpytorch", "tiled.server", "matplotlib", *IMAGES} == set()


@pytest.mark.parametrize(
    "statement", ["import ebl_autonomy.sim_devices", "from ebl_autonomy.sim_devices import SimBeamline"]
)
def test_the_simulated_beamline_loads_no_torch_server_or_channel_access(statement: str) -> None:
    # ophyd itself loads pyepics where it is installed.
    assert loaded(statement) & {"torch", "tiled.server", "matplotlib", "caproto", "ophyd_async"} == set()


def test_the_check_sees_what_is_loaded() -> None:
    assert loaded("import ebl_autonomy.surrogates.botorch_surrogate") >= {"torch", "botorch"}
