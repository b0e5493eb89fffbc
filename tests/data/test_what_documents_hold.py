"""What documents hold reaches Tiled, of whatever kind: metadata, readings, names, images that a callback alters."""

import datetime
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plans import count, list_scan
from documents import key, run_of
from ophyd.sim import SynSignal
from processes import PATIENCE_S

from ebl_autonomy.data import Connection, stored_events

pytestmark = [
    pytest.mark.integration,
    # Of the Tiled client, when an image stream has two dimensions of the same size.
    pytest.mark.filterwarnings("ignore:.*dimension.*:UserWarning"),
]


class Stage:
    """A device that can be copied, as the RunEngine does with metadata."""

    name = "stage"

    def read(self) -> dict[str, Any]:
        return {}


def test_metadata_of_any_kind_arrive(RE: RunEngine, tiled: Connection, bench: Any) -> None:
    det, motors = bench
    RE.md["since"] = datetime.date(2026, 1, 2)
    md = {
        "path": Path("/data"),
        "z": 1j,
        "stage": Stage(),
        "set": {2, 1},
        "array": np.arange(3),
        "f": np.sin,
    }
    (uid,) = RE(list_scan([det], motors[0], [0.0], md=md)).run_start_uids
    assert tiled.flush(PATIENCE_S)
    start = tiled.client[uid].metadata["start"]
    assert (start["since"], start["stage"], start["path"], start["z"]) == ("2026-01-02", "stage", "/data", "1j")
    assert (start["set"], list(start["array"])) == ([1, 2], [0, 1, 2])


def nested(depth: int) -> Any:
    return {"in": nested(depth - 1)} if depth else 1


@pytest.mark.parametrize(
    "value",
    [
        nested(300),
        {"__ndarray__": [1]},
        {"__array__": 3},
        np.array([(1, b"x")], dtype=[("a", "i4"), ("b", "S3")]),
        np.array(["2026-01-02"], dtype="M8[D]"),
        types.MappingProxyType({"a.b/c": 1, "": 2, 0.5: 3}),  # bluesky looks into dicts only
    ],
    ids=lambda value: type(value).__name__ + str(value)[:20],
)
def test_metadata_and_readings_of_odd_kinds_arrive(value: Any, tiled: Connection) -> None:
    """Emitted as they are: bluesky itself refuses some of them, in some versions."""
    documents = run_of({"primary": ({"x": key(), "y": key()}, [{"x": value, "y": 1.0}, {"x": 2, "y": None}])})
    documents[0][1]["given"] = value
    assert tiled._writer is not None
    for name, doc in documents:
        tiled._writer(name, doc)
    uid = documents[0][1]["uid"]
    assert tiled.flush(PATIENCE_S)
    assert (dict(tiled.refused), dict(tiled.incomplete)) == ({}, {})
    assert "given" in tiled.client[uid].metadata["start"]
    assert [event["data"]["y"] for event in stored_events(tiled.client[uid], "primary")] == [1.0, None]


def test_a_stream_is_read_by_a_name_that_is_no_unicode(tiled: Connection) -> None:
    documents = run_of({"half \ud800": ({"x": key()}, [{"x": 1.0}])})
    assert tiled._writer is not None
    for name, doc in documents:
        tiled._writer(name, doc)
    assert tiled.flush(PATIENCE_S)
    (event,) = stored_events(tiled.client[documents[0][1]["uid"]], "half \ud800")
    assert event["data"] == {"x": 1.0}


def test_integers_of_any_size_arrive_beside_empty_cells(tiled: Connection) -> None:
    values = [2**63 - 1, -(2**63), None, 2**53 + 1, 2**63 - 512]
    documents = run_of({"primary": ({"n": key()}, [{"n": value} for value in values])})
    assert tiled._writer is not None
    for name, doc in documents:
        tiled._writer(name, doc)
    assert tiled.flush(PATIENCE_S)
    assert [e["data"]["n"] for e in stored_events(tiled.client[documents[0][1]["uid"]], "primary")] == values


def test_what_a_callback_does_to_an_image_is_not_stored(RE: RunEngine, tiled: Connection) -> None:
    image = SynSignal(name="image", func=lambda: np.full((60, 50), 7.0))

    def spoil(name: str, doc: Any) -> None:
        doc["data"]["image"] *= 0.0

    RE.subscribe(spoil, "event")
    (uid,) = RE(count([image], 5)).run_start_uids
    assert tiled.flush(PATIENCE_S)
    stored = tiled.client[uid]["primary"].base["image"].read()
    assert stored.shape == (5, 60, 50)
    assert (stored.min(), stored.max()) == (7.0, 7.0)
