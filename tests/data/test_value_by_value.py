"""What Tiled holds equals what the RunEngine emitted, value by value, over random runs.

`EBL_EXAMPLES` sets the number of runs; the default takes seconds.
"""

import copy
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from bluesky import Msg, RunEngine
from bluesky import plan_stubs as bps
from bluesky.preprocessors import run_decorator
from documents import assert_same_events, same
from engines import run_engine
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ebl_autonomy.data import Connection, connect, stored_events
from ebl_autonomy.data.forms import as_metadata
from ebl_autonomy.data.names import stored_stream_name
from ebl_autonomy.data.server import EmbeddedServer

pytestmark = [
    pytest.mark.integration,
    # Of bluesky, which looks into the values of the metadata and of the readings.
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

EXAMPLES = int(os.environ.get("EBL_EXAMPLES", "8"))

names = st.one_of(
    st.sampled_from(
        ["x", "X", "time", "seq_num", "ts_x", "_lead", "7th", "internal", "internal_0", "ebl_exact", "k" * 70]
    ),
    st.text(
        st.characters(codec="utf-8", exclude_characters="./", exclude_categories=["Cc", "Cn", "Co", "Zl", "Zp"]),
        min_size=1,
        max_size=12,
    ),
)
texts = st.text(max_size=20)
metadata_keys = st.text(st.characters(codec="utf-8", exclude_characters="./"), min_size=1, max_size=8)
integers = st.one_of(
    st.integers(-9, 9), st.integers(-(2**70), 2**70), st.sampled_from([2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1])
)
numbers = st.one_of(st.floats(), integers)
shapes = npst.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)
dtypes = st.one_of(
    npst.boolean_dtypes(),
    npst.integer_dtypes(endianness="="),
    npst.unsigned_integer_dtypes(endianness="="),
    npst.floating_dtypes(endianness="=", sizes=(32, 64)),
    npst.complex_number_dtypes(endianness="=", sizes=(64, 128)),
)
arrays = st.tuples(dtypes, shapes).flatmap(lambda made: npst.arrays(*made))
ragged = st.lists(st.lists(st.floats(allow_nan=False), max_size=3), max_size=3)
anything = st.one_of(
    numbers,
    st.booleans(),
    texts,
    st.none(),
    arrays,
    ragged,
    st.lists(texts, max_size=3),
    st.dictionaries(texts, numbers),
)
metadata = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(metadata_keys, inner, max_size=3)),
    max_leaves=6,
)


@st.composite
def columns(draw: st.DrawFn, rows: int) -> tuple[dict[str, Any], list[Any]]:
    """The description of a key, true or not, and its values."""
    shape = draw(shapes)
    dtype = draw(dtypes)
    kinds = [
        ("number", [], numbers),
        ("number", [], st.floats()),
        ("integer", [], st.integers(-100, 100)),
        ("integer", [], integers),
        ("boolean", [], st.booleans()),
        ("string", [], texts),
        ("integer", [], texts),  # an enum that is described by its index
        ("string", [], numbers),
        ("array", list(shape), npst.arrays(dtype, shape)),
        ("array", list(shape), npst.arrays(np.dtype(float), shape).map(np.ndarray.tolist)),
        ("array", [None], st.lists(st.floats(), max_size=4)),
        ("array", [3], arrays),
        ("array", [2], st.lists(texts, min_size=2, max_size=2)),
        ("array", [2], ragged),
        ("string", [], st.dictionaries(texts, numbers, max_size=2)),
        ("number", [], anything),
    ]
    described, described_shape, values = draw(st.sampled_from(kinds))
    description = {"source": "test", "dtype": described, "shape": described_shape}
    if described == "integer" and draw(st.booleans()):
        description["dtype_numpy"] = draw(st.sampled_from(["<i8", "<u8", "<i4"]))
    if described == "array" and draw(st.booleans()):
        description["dtype_numpy"] = np.dtype(dtype).str
    rarely_nothing = st.one_of(values, values, values, st.none())
    return description, draw(st.lists(rarely_nothing, min_size=rows, max_size=rows))


@st.composite
def streams(draw: st.DrawFn) -> dict[str, tuple[int, dict[str, tuple[dict[str, Any], list[Any]]]]]:
    """Streams of a run: the number of events of each, and its keys."""
    made = {}
    for name in draw(st.lists(names, min_size=1, max_size=2, unique=True)):
        rows = draw(st.integers(1, 5))
        made[name] = (rows, draw(st.dictionaries(names, columns(rows), min_size=1, max_size=6)))
    return made


class Emitter:
    """A device that reads as it is told, and that can be configured."""

    parent = None

    def __init__(self, name: str, keys: dict[str, tuple[dict[str, Any], list[Any]]]) -> None:
        self.name = name
        self.row = 0
        self._keys = keys
        self._setting = 0.0

    def describe(self) -> dict[str, Any]:
        return {key: copy.deepcopy(description) for key, (description, _) in self._keys.items()}

    def read(self) -> dict[str, Any]:
        return {
            key: {"value": values[self.row], "timestamp": 1e9 + self.row / 7} for key, (_, values) in self._keys.items()
        }

    def describe_configuration(self) -> dict[str, Any]:
        return {"setting": {"source": "test", "dtype": "number", "shape": []}}

    def read_configuration(self) -> dict[str, Any]:
        return {"setting": {"value": self._setting, "timestamp": 1e9}}

    def configure(self, setting: float) -> tuple[dict[str, Any], dict[str, Any]]:
        old = self.read_configuration()
        self._setting = setting
        return old, self.read_configuration()


@pytest.fixture(scope="module")
def connected(
    tiled_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunEngine, Connection]]:
    folder = tmp_path_factory.mktemp("values")
    with run_engine() as RE, connect(RE, tiled_server.uri, tiled_server.api_key, folder) as connection:
        yield RE, connection


@settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES == 8,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each example takes a run: shrinking would take minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
@given(made=streams(), md=st.dictionaries(metadata_keys, metadata, max_size=3), data=st.data())
def test_what_is_stored_is_what_was_emitted(
    connected: tuple[RunEngine, Connection], made: Any, md: dict[str, Any], data: st.DataObject
) -> None:
    RE, tiled = connected
    documents: list[tuple[str, Any]] = []
    token = RE.subscribe(lambda name, doc: documents.append((name, copy.deepcopy(doc))))
    reconfigured = data.draw(st.sets(st.integers(0, 5), max_size=2), "configured before events")

    @run_decorator(md={"given": md})
    def plan() -> Any:
        for stream, (rows, keys) in made.items():
            device = Emitter(f"device of {stream}".replace(".", ""), keys)
            for row in range(rows):
                device.row = row
                if row in reconfigured:
                    yield Msg("configure", device, row + 0.5)
                yield from bps.create(name=stream)
                yield from bps.read(device)
                yield from bps.save()

    try:
        (uid,) = RE(plan()).run_start_uids
    finally:
        RE.unsubscribe(token)
    assert tiled.flush(60.0)
    run = tiled.client[uid]
    assert same(as_metadata(md), run.metadata["start"]["given"])
    descriptors = {doc["uid"]: doc for name, doc in documents if name == "descriptor"}
    assert {doc["name"] for doc in descriptors.values()} == set(made)
    for stream in made:
        events = [d for name, d in documents if name == "event" and descriptors[d["descriptor"]]["name"] == stream]
        assert_same_events(events, stored_events(run, stream))
        node = run.base[stored_stream_name(stream)]
        emitted = [_settings(doc["configuration"]) for doc in descriptors.values() if doc["name"] == stream]
        updates = [_settings(update["configuration"]) for update in node.metadata.get("_config_updates", [])]
        assert [_settings(node.metadata["configuration"]), *updates] == emitted
        assert_plain_columns_are_read(node, events)


def assert_plain_columns_are_read(node: Any, events: list[Any]) -> None:
    """Clients that know nothing of us read numbers and regular arrays as they are, in rows of the same order."""
    stored = node.read()
    assert set(stored.sizes.values()) >= {len(events)}
    for key in events[0]["data"]:
        values = [event["data"][key] for event in events]
        if key in stored and (all(isinstance(v, float) for v in values) or _is_regular(values)):
            assert same(values, stored[key].values.tolist()), key


def _is_regular(values: list[Any]) -> bool:
    return all(isinstance(v, np.ndarray) for v in values) and len({(v.dtype, v.shape) for v in values}) == 1


def _settings(configuration: Any) -> dict[str, Any]:
    return {device: held["data"] for device, held in configuration.items()}
