"""Fixtures of the data tests: motors, a detector whose reading peaks along one of them, a client, and a folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ophyd.sim import SynAxis, SynGauss
from tiled.client import from_uri

from ebl_autonomy.data.server import EmbeddedServer


@pytest.fixture
def bench() -> tuple[SynGauss, list[SynAxis]]:
    motors = [SynAxis(name="mx"), SynAxis(name="my")]
    return SynGauss("det", motors[0], "mx", center=0.3, Imax=1.0), motors


@pytest.fixture
def client(tiled_server: EmbeddedServer) -> Iterator[Any]:
    client = from_uri(tiled_server.uri, api_key=tiled_server.api_key)
    yield client
    client.context.close()


@pytest.fixture
def folder(tiled_server: EmbeddedServer, tmp_path: Path) -> Path:
    """A folder that the server may read: below that of its own data."""
    folder = tiled_server.directory / "data" / tmp_path.name
    folder.mkdir(parents=True)
    return folder
