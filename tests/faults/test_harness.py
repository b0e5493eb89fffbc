"""The harness itself: a harness that sees nothing would be green."""

import io
import os
import re
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from .cases import THEMES, draw
from .equality import same
from .invariants import Naming, check_documents
from .motions import check_motions
from .proxy import Proxy, Rule
from .tape import Tape, TapeReader
from .truth import RunTruth, runs_of

NAN = float("nan")
START = {"uid": "a" * 36, "time": 1.0}
DESCRIPTOR = {"uid": "d", "run_start": START["uid"], "name": "primary", "data_keys": {"det": {}}}
EVENTS = [{"uid": f"e{n}", "descriptor": "d", "seq_num": n, "time": float(n), "data": {"det": n}} for n in (1, 2, 3)]
STOP = {"uid": "s", "run_start": START["uid"], "exit_status": "success", "num_events": {"primary": 3}}


def tape_of_a_run(taken: int = 99) -> list[dict[str, Any]]:
    documents = [("start", START), ("descriptor", DESCRIPTOR), *(("event", event) for event in EVENTS), ("stop", STOP)]
    entries: list[dict[str, Any]] = [{"kind": "plan", "plan": {"plan": "scan"}}]
    for i, (name, doc) in enumerate(documents[: taken + 1]):
        entries.append({"kind": "offered", "name": name, "doc": doc})
        entries += [{"kind": "taken", "name": name}] * (i < taken)
    return entries


def test_a_seed_draws_the_same_again_and_neighbours_cover_every_theme() -> None:
    assert [draw(seed) for seed in range(30)] == [draw(seed) for seed in range(30)]
    assert {draw(seed).theme for seed in range(40, 40 + len(THEMES))} == set(THEMES)


@pytest.mark.parametrize(
    ("stored", "emitted", "equal"),
    [
        (1.0, 1, True),
        (1.5, 1, False),
        (NAN, NAN, True),
        (NAN, None, True),
        (0.0, None, False),
        ([1, 2], (1, 2), True),
        ([1], (1, 2), False),
        ("[1, [2]]", [1, [2]], True),
        (str(2**70), 2**70, True),
        (np.zeros((2, 3)), np.ones((2, 3)), False),
        (np.ones((3, 2)), np.ones((2, 3)), False),
        ([[1, 1]], np.ones((1, 2)), True),
        ("2026-03-01", {"odd": ["date", ["2026-03-01"]]}, True),
        ("2026-03-02", {"odd": ["date", ["2026-03-01"]]}, False),
        ({"a": 1, "more": 2}, {"a": 1}, True),
        ({}, {"a": 1}, False),
    ],
)
def test_values_are_the_same_in_another_form_only(stored: Any, emitted: Any, equal: bool) -> None:
    assert same(stored, emitted) is equal


def test_a_tape_survives_its_writer_and_brings_arrays_back() -> None:
    reading, writing = os.pipe()
    tape = Tape(writing)
    image = np.arange(6, dtype="<u2").reshape(2, 3)
    tape.put("offered", name="event", doc={"image": image})
    os.write(writing, b'{"kind": "cut')  # a kill within an entry
    os.close(writing)
    with io.FileIO(reading) as raw, io.BufferedReader(raw) as stream:
        reader = TapeReader(stream)
        reader.join(60)
        (entry,) = reader.entries
    assert same(entry["doc"]["image"], image)


def test_only_the_document_that_the_kill_met_may_be_missing() -> None:
    (run,) = runs_of(tape_of_a_run(taken=4))
    assert [one.taken for one in run.documents] == [True] * 4 + [False]
    assert run.stop is None


class StoredRun(dict[str, Any]):
    """A run in memory, as a Tiled client would give it."""

    def __init__(self, stop: Any, rows: list[dict[str, Any]]) -> None:
        super().__init__(primary=self)
        self.metadata = {"start": START, "stop": stop}
        self.base = {"internal": self}
        self.item = {"attributes": {"structure_family": "table"}}
        self.rows = rows

    def read(self) -> dict[str, Any]:
        columns = {key: np.array([row[key] for row in self.rows]) for key in ("seq_num", "time")}
        return {**columns, "det": np.array([row["data"]["det"] for row in self.rows])}


WRONG = {**EVENTS[1], "data": {"det": 7}}


@pytest.mark.parametrize(
    ("stop", "rows", "found"),
    [
        (STOP, EVENTS, []),
        (None, EVENTS, ["I2"]),
        (STOP, EVENTS[:2], ["I1", "I2"]),
        (STOP, [*EVENTS, EVENTS[2]], ["I1"]),
        (STOP, [EVENTS[1], EVENTS[0], EVENTS[2]], ["I1"]),
        (STOP, [EVENTS[0], WRONG, EVENTS[2]], ["I1"]),
        ({**STOP, "exit_status": "fail", "reason": "1 event is missing"}, EVENTS[:2], []),
    ],
)
def test_what_is_stored_otherwise_is_seen(stop: Any, rows: list[dict[str, Any]], found: list[str]) -> None:
    (truth,) = runs_of(tape_of_a_run())
    client = {truth.uid: StoredRun(stop, rows)}
    violations = check_documents(truth, client, Naming({}, "", 0))
    assert [violation.split()[0] for violation in violations] == found


def test_a_run_that_is_nowhere_must_be_named() -> None:
    (truth,) = runs_of(tape_of_a_run())
    assert violations(truth, Naming({}, "", 0)) == [f"I1 run {truth.uid[:8]} is not in Tiled, and nothing says so"]
    assert violations(truth, Naming({truth.uid: "too odd"}, "", 1)) == []
    assert violations(truth, Naming({}, f"ERROR run {truth.uid} cannot be written to Tiled", 0)) == []


def violations(truth: RunTruth, naming: Naming) -> list[str]:
    return list(check_documents(truth, {}, naming))


def move(motor: str, start: float, target: float) -> list[dict[str, Any]]:
    return [
        {"kind": "move", "motor": motor, "start": start, "target": target},
        {"kind": "moved", "motor": motor, "end": target},
    ]


def push(motor: str, end: float) -> list[dict[str, Any]]:
    return [{"kind": "push", "motor": motor, "start": 0.0, "end": end}]


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        (move("m1", 0.0, 0.3), []),
        (move("m1", 0.0, 0.4), ["longer"]),
        (move("m1", 0.7, 0.9), ["limit"]),
        (push("m2", 0.5) + move("m1", 0.3, 0.4), ["region"]),
        (push("m2", 0.5) + move("m1", 0.0, 0.3), []),
        (push("m1", 0.9), []),
        (move("m2", 0.2, 0.5) + move("m1", 0.2, 0.5), ["region"]),
    ],
)
def test_moves_outside_the_envelope_are_seen(entries: list[dict[str, Any]], found: list[str]) -> None:
    plan = {"kind": "plan", "plan": {"plan": "walk", "motors": 2, "finish": "stay"}}
    seen = list(check_motions([plan, *entries], {"one_sided": True, "region": True}))
    assert len(seen) == len(found)
    assert all(re.search(word, violation) for word, violation in zip(found, seen, strict=True))


@pytest.fixture
def echo() -> Iterator[tuple[Proxy, list[str]]]:
    """A proxy in front of a server that notes what reaches it."""
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    arrived: list[str] = []

    class Echo(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            arrived.append(f"{self.path} {body.decode()}")
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        proxy = Proxy(server.server_address[1], lambda: arrived.append("killed"))
        yield proxy, arrived
        proxy.close()
        server.shutdown()
        thread.join()


def test_the_proxy_does_to_drawn_requests_what_is_drawn(echo: tuple[Proxy, list[str]]) -> None:
    proxy, arrived = echo
    rules = [("503", 2), ("drop", 3), ("drop before", 4), ("kill before", 5)]
    proxy.rules = [Rule(do, re.compile("POST /x"), first, 1) for do, first in rules]
    answers: list[Any] = []
    for count in range(1, 7):
        try:
            answer = httpx.post(f"{proxy.uri}/x", content=str(count), trust_env=False)
            answers.append(answer.text if answer.status_code == 200 else answer.status_code)
        except httpx.RemoteProtocolError:
            answers.append("dropped")
    assert answers == ["1", 503, "dropped", "dropped", "dropped", "6"]
    assert arrived == ["/x 1", "/x 3", "killed", "/x 6"]
    assert len(proxy.heal()) == 4
