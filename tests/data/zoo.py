"""What the zoo of devices is put through: five steered points, read back from Tiled value by value."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plans import list_scan
from documents import assert_same_events, same

from ebl_autonomy import VOCS, read_run
from ebl_autonomy.agents import SobolAgent
from ebl_autonomy.data import Connection, stored_events
from ebl_autonomy.plans import optimize
from ebl_autonomy.records import to_float
from ebl_autonomy.testing import check_device

POINTS = 5
RANGE = (-2.0, 3.0)

Readings = Mapping[str, Any]


@dataclass
class Case:
    """What is steered, and what measures.

    Attributes
    ----------
    motors : sequence of motors
    detectors : sequence of detectors
    goal : str
        A reading, or ``"goal"`` for what `derive` gives.
    derive : callable, optional
        By default the sum of the squared positions, if `goal` is ``"goal"``.
    files : callable, optional
        What is in the detector's files after the run: arrays of shape (points, ...) by key.
    """

    motors: Sequence[Any]
    detectors: Sequence[Any] = ()
    goal: str = "goal"
    derive: Callable[[Readings], float] | None = None
    files: Callable[[], dict[str, np.ndarray]] | None = None
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def derivations(self) -> dict[str, Any]:
        names = [motor.name for motor in self.motors]
        if self.goal != "goal":
            return {}
        return {"goal": self.derive or (lambda readings: sum(readings[name] ** 2 for name in names))}

    @property
    def vocs(self) -> VOCS:
        return VOCS(
            variables={motor.name: self.ranges.get(motor.name, RANGE) for motor in self.motors},
            objectives={self.goal: "MINIMIZE"},
        )


def steer_and_read_back(RE: RunEngine, tiled: Connection, make: Callable[[], Case]) -> None:
    """Steer, and compare what was emitted with what is stored and with what the agent knows."""
    case = make()
    documents: list[tuple[str, dict[str, Any]]] = []
    token = RE.subscribe(lambda name, doc: documents.append((name, copy.deepcopy(dict(doc)))))
    agent = SobolAgent(case.vocs, seed=1)
    plan = optimize(case.detectors, case.motors, agent, max_points=POINTS, derive=case.derivations)
    result = RE(plan).plan_result
    RE.unsubscribe(token)
    assert (result.accepted, result.rows, result.stop_reason.split(":")[0]) == (POINTS, POINTS, "max_points")
    assert tiled.flush(60.0)
    assert_stored(documents, tiled.client[result.uid], case)

    record = read_run(result.uid, tiled.client)
    assert record.results == agent.results
    rows = [event["data"] for event in _events(documents, "primary")]
    for proposal, told, row in zip(record.proposals, record.results, rows, strict=True):
        for motor in case.motors:
            assert to_float(row[motor.name]) == told[motor.name]
            assert told[motor.name] == pytest.approx(to_float(proposal.point[motor.name]), abs=0.02)
        assert to_float(row[case.goal]) == told[case.goal]
        assert math.isfinite(told[case.goal])


def check_contract(RE: RunEngine, case: Case) -> None:
    """Bluesky scans with the devices, so that we must steer them, and each on its own keeps the contract of devices."""
    low, high = case.ranges.get(case.motors[0].name, RANGE)
    RE(list_scan(list(case.detectors), case.motors[0], [low, high]))
    for motor in case.motors:
        low, high = case.ranges.get(motor.name, RANGE)
        check_device(motor, RE, positions=[0.75 * low + 0.25 * high, 0.4 * low + 0.6 * high], tolerance=0.02)
    for detector in case.detectors:
        check_device(detector, RE)


def assert_stored(documents: list[tuple[str, dict[str, Any]]], run: Any, case: Case) -> None:
    """All streams hold what was emitted, and files are read through Tiled as they are on the disk."""
    streams = [doc["name"] for name, doc in documents if name == "descriptor"]
    assert "event_page" not in {name for name, _ in documents}
    in_files = {key for name, doc in documents if name == "descriptor" for key in _external(doc)}
    for stream in streams:
        emitted = list(_events(documents, stream))
        for event in emitted:
            for part in ("data", "timestamps"):
                event[part] = {key: value for key, value in event[part].items() if key not in in_files}
        assert_same_events(emitted, stored_events(run, stream))
    expected = case.files() if case.files is not None else {}
    assert set(expected) == in_files
    for key, values in expected.items():
        stored = np.asarray(run["primary"][key].read())
        assert same(values.reshape(-1).tolist(), stored.reshape(-1).tolist()), key
        assert len(stored) == POINTS, key


def _events(documents: list[tuple[str, dict[str, Any]]], stream: str) -> Iterator[dict[str, Any]]:
    uids = {doc["uid"] for name, doc in documents if name == "descriptor" and doc["name"] == stream}
    return (doc for name, doc in documents if name == "event" and doc["descriptor"] in uids)


def _external(descriptor: Mapping[str, Any]) -> set[str]:
    return {key for key, spec in descriptor["data_keys"].items() if "external" in spec}
