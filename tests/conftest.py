"""What all tests share: one thread each, a RunEngine that leaves nothing behind, one Tiled server."""

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from collections.abc import Iterator
from pathlib import Path

import pytest
from bluesky import RunEngine

from ebl_autonomy.data import Connection, connect
from ebl_autonomy.data.server import EmbeddedServer


@pytest.fixture
def RE() -> Iterator[RunEngine]:
    engine = RunEngine({}, call_returns_result=True)
    yield engine
    if engine.state != "idle":
        engine.halt()
    engine.loop.call_soon_threadsafe(engine.loop.stop)
    engine._th.join(timeout=5)
    engine.loop.close()


@pytest.fixture(scope="session")
def tiled_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """One Tiled server for all tests that do not harm it."""
    server = EmbeddedServer(Path(tmp_path_factory.mktemp("tiled")))
    server.start()
    yield server
    server.close()


@pytest.fixture
def tiled(RE: RunEngine, tiled_server: EmbeddedServer, tmp_path: Path) -> Iterator[Connection]:
    """The RunEngine connected to the common server, as to somebody else's."""
    with connect(RE, tiled_server.uri, tiled_server.api_key, tmp_path) as connection:
        yield connection
