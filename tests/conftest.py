"""What all tests share: threads and caches of their own, a RunEngine that leaves nothing behind, one Tiled server."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
if _worker := os.environ.get("PYTEST_XDIST_WORKER"):
    # numba numbers the files of its cache without a lock: of two processes that compile two signatures of a kernel at
    # the same time, one may be given the other's code. So each worker has a cache of its own.
    _caches = os.environ.get("NUMBA_CACHE_DIR") or Path(__file__).parents[1] / ".pytest_cache" / "numba"
    os.environ["NUMBA_CACHE_DIR"] = str(Path(_caches) / _worker)

import pytest
from bluesky import RunEngine
from engines import run_engine
from hypothesis import HealthCheck, settings
from ophyd_race import close_race

from ebl_autonomy.data import Connection, connect
from ebl_autonomy.data.server import EmbeddedServer

close_race()

# How fast a busy machine makes examples says nothing about the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

IMPORT_BOTORCH = {
    "test_against_botorch.py",
    "test_botorch_surrogate.py",
    "test_foreign_generators.py",
    "test_hypervolume.py",
}
"""Modules whose tests are all marked as integration, because importing botorch takes seconds in each worker."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import these modules where their tests are deselected."""
    deselected = config.getoption("markexpr") == "not integration"
    return True if deselected and collection_path.name in IMPORT_BOTORCH else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Pause the garbage collector while tests are imported, which takes twice as long with it.

    Modules are no garbage, so that later collections pass over all that is there now.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where data go unless a test says otherwise: not into the user's own folder, and not into another worker's."""
    with pytest.MonkeyPatch.context() as patch:
        folder = Path(tmp_path_factory.mktemp("data"))
        patch.setenv("EBL_AUTONOMY_DATA", str(folder))
        yield folder


@pytest.fixture
def RE() -> Iterator[RunEngine]:
    with run_engine() as engine:
        yield engine


@pytest.fixture(scope="session")
def tiled_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """One Tiled server for all tests of a worker that do not harm it."""
    server = EmbeddedServer(Path(tmp_path_factory.mktemp("tiled")))
    server.start()
    yield server
    server.close()


@pytest.fixture
def tiled(RE: RunEngine, tiled_server: EmbeddedServer, tmp_path: Path) -> Iterator[Connection]:
    """The RunEngine connected to the common server, as to somebody else's."""
    with connect(RE, tiled_server.uri, tiled_server.api_key, tmp_path) as connection:
        yield connection
