"""Documents of runs, for tests that write them without a RunEngine, and a comparison with what is read back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from event_model import compose_run

from ebl_autonomy.data.runwriter import ResumableRun

Document = tuple[str, dict[str, Any]]


def key(dtype: str = "number", shape: Sequence[int | None] = (), **more: Any) -> dict[str, Any]:
    """The description of a key."""
    return {"source": "test", "dtype": dtype, "shape": list(shape), **more}


def run_of(
    streams: Mapping[str, tuple[Mapping[str, Any], Iterable[Mapping[str, Any]]]], **metadata: Any
) -> list[Document]:
    """The documents of a run: of each stream, the descriptions of its keys and the data of its events."""
    run = compose_run(metadata=metadata)
    documents: list[Document] = [("start", run.start_doc)]
    for name, (keys, rows) in streams.items():
        bundle = run.compose_descriptor(
            name=name, data_keys=dict(keys), hints={}, configuration={}, object_keys={}, validate=False
        )
        documents.append(("descriptor", dict(bundle.descriptor_doc)))
        documents += [
            (
                "event",
                {
                    "uid": f"{bundle.descriptor_doc['uid']}-{number}",
                    "descriptor": bundle.descriptor_doc["uid"],
                    "seq_num": number,
                    "time": 1e9 + number / 3,
                    "data": dict(row),
                    "timestamps": dict.fromkeys(row, 1e9 + number / 7),
                    "filled": {},
                },
            )
            for number, row in enumerate(rows, start=1)
        ]
    documents.append(("stop", run.compose_stop()))
    return documents


def write(client: Any, documents: list[Document], group: int = 2) -> None:
    """Write a run in appends of `group` rows."""
    run = ResumableRun(client)
    rows = 0
    for name, doc in documents:
        run.give(name, dict(doc))
        rows += name == "event"
        if run.holds_rows and rows % group == 0:
            run.flush()
    run.flush()
    if documents[-1][0] == "stop":
        run.close()


def emitted(documents: list[Document], stream: str) -> list[dict[str, Any]]:
    """The events of a stream."""
    (uid,) = [doc["uid"] for name, doc in documents if name == "descriptor" and doc["name"] == stream]
    return [doc for name, doc in documents if name == "event" and doc["descriptor"] == uid]


def same(emitted: Any, stored: Any) -> bool:
    """Whether a stored value is the emitted one; an array may come as a list, and a whole number as a float."""
    if isinstance(emitted, np.generic) or (isinstance(emitted, np.ndarray) and emitted.ndim == 0):
        emitted = emitted.item()
    if isinstance(emitted, np.ndarray):
        return np.shape(stored) == emitted.shape and same(emitted.tolist(), np.asarray(stored).tolist())
    if isinstance(emitted, (list, tuple)):
        values = stored.tolist() if isinstance(stored, np.ndarray) else stored
        return isinstance(values, list) and len(values) == len(emitted) and all(map(same, emitted, values))
    if isinstance(emitted, dict):
        return (
            isinstance(stored, dict)
            and emitted.keys() == stored.keys()
            and all(same(value, stored[name]) for name, value in emitted.items())
        )
    if isinstance(emitted, float) and math.isnan(emitted):
        return isinstance(stored, float) and math.isnan(stored)
    if emitted is None or isinstance(emitted, (bool, str)):
        return type(stored) is type(emitted) and stored == emitted
    return not isinstance(stored, (bool, str)) and bool(stored == emitted)


def assert_same_events(emitted: Iterable[Mapping[str, Any]], stored: Iterable[Mapping[str, Any]]) -> None:
    """Fail with the first key that differs."""
    for event, found in zip(emitted, stored, strict=True):
        assert (event["seq_num"], event["time"]) == (found["seq_num"], found["time"])
        assert event["data"].keys() == found["data"].keys()
        for name, value in event["data"].items():
            assert same(value, found["data"][name]), (name, value, found["data"][name])
        assert event["timestamps"] == found["timestamps"]
