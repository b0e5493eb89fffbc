"""One seed, start to end: processes and faults, the recovery, the invariants; everything is cleaned up afterwards."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tiled.client import from_uri

from .access import check_access, check_secrecy
from .cases import STEERED, Case, draw
from .disk import SmallDisk
from .hits import pid_in
from .invariants import Naming, check_documents, check_positions
from .motions import check_motions
from .processes import PATIENCE_S, Process, Server
from .proxy import Proxy, Rule
from .tape import Entry
from .truth import RunTruth, runs_of

__all__ = ["Outcome", "run_seed"]

I6_WAIT_S = 60.0
"""How long the runs beside one that cannot be written may take, s."""


@dataclass
class Outcome:
    """What a seed showed.

    Attributes
    ----------
    case : Case
    violations : list of str
        Each begins with its invariant.
    notes : list of str
        What the faults hit, and what the session refused to run.
    seconds : float
        Wall time.
    """

    case: Case
    violations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        verdict = "ok" if not self.violations else f"{len(self.violations)} violations"
        lines = [f"seed {self.case.seed:4d} {self.seconds:5.1f} s {verdict:14s} {self.case}"]
        return "\n".join([*lines, *(f"     - {violation}" for violation in self.violations)])


def run_seed(seed: int, keep: Path | None = None) -> Outcome:
    """Run the case of a seed and check the invariants.

    Parameters
    ----------
    seed : int
    keep : Path, optional
        Folder to work in, which is emptied first and kept; by default a temporary folder, which is removed.
    """
    began = time.monotonic()
    outcome = Outcome(draw(seed))
    folder = Path(tempfile.mkdtemp(prefix=f"faults-{seed}-")) if keep is None else keep
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with ExitStack() as stack:
            _Seed(outcome, folder, stack).run()
    except Exception as error:  # noqa: BLE001 - a harness that fails is a failed seed, and the others go on
        outcome.violations.append(f"harness: {type(error).__name__}: {error}")
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    outcome.seconds = time.monotonic() - began
    return outcome


class _Seed:
    """The processes and faults of one seed. `stack` ends them all, in whichever state they are."""

    def __init__(self, outcome: Outcome, folder: Path, stack: ExitStack) -> None:
        self.case, self.outcome, self.folder, self.stack = outcome.case, outcome, folder, stack
        self.directory = folder / "session"
        self.disk: SmallDisk | None = None
        self.server: Server | None = None
        self.proxy: Proxy | None = None
        self._starts = 0
        if "full_at" in self.case.more:
            self.disk = SmallDisk(self.directory, "2m" if self.case.server == "remote" else "6m")
            stack.callback(self.disk.remove)
        if self.case.server == "remote":
            self.server = Server(folder / "server", folder / "server.log")
            stack.callback(self.server.close)
            self.proxy = Proxy(self.server.port, self.server.kill_and_restart)
            stack.callback(self.proxy.close)
        self.sessions = [self._process(f"session-{i}", self._saw if i == 0 else None) for i in range(self._count)]
        self.recovery = self._process("recovery", None)

    @property
    def _count(self) -> int:
        return len(self.case.sessions)

    def run(self) -> None:
        """The sessions with their faults, the recovery, the invariants."""
        self._run_sessions()
        if "damage" in self.case.more:
            self._damage_a_journal()
        recovered, connected = self._recover()
        truths = [truth for session in self.sessions for truth in runs_of(session.tape.entries)]
        uri, key = connected["uri"], connected["api_key"]
        if self.server is not None:
            uri, key = self.server.uri, self.server.api_key
        client = from_uri(uri, api_key=key)
        try:
            self.outcome.violations += self._check(truths, client, recovered)
            self.outcome.violations += check_access(uri, key, client, truths)
        finally:
            client.context.http_client.close()
        self._end_recovery(uri)
        said = " ".join(entry.get("says", "") for process in self._processes for entry in process.tape.entries)
        self.outcome.violations += check_secrecy(self.folder, key, said)

    # -- the sessions -------------------------------------------------------------------------------------------------

    def _process(self, name: str, on_entry: Any) -> Process:
        process = Process(self.folder / f"{name}.log", on_entry)
        self.stack.callback(process.kill)
        return process

    def _orders(self, index: int) -> dict[str, Any]:
        return {
            "role": "session",
            "index": index,
            "case": self.case.as_dict(),
            "plans": self.case.sessions[index] if index < self._count else (),
            "hold_before": 1 if index == 1 else None,
            "small_disk": self.disk is None or self.disk.is_small,
            **self._address,
        }

    @property
    def _address(self) -> dict[str, Any]:
        uri = self.proxy.uri if self.proxy is not None else None
        key = self.server.api_key if self.server is not None else None
        if self.case.more.get("key_in_address"):
            uri, key = f"{uri}?api_key={key}", None
        holder = self.server.directory if self.server is not None else self.directory
        files = holder / "data" / "files"  # where the server may read
        return {"uri": uri, "api_key": key, "directory": str(self.directory), "files": str(files)}

    def _run_sessions(self) -> None:
        if self.server is not None:
            self.server.wait_until_up()
        first, *others = self.sessions
        first.order(self._orders(0))
        self._connected(first)
        for i, session in enumerate(others, 1):
            session.order(self._orders(i))
            self._connected(session)
            session.go()
        self._arm()
        first.go()
        flushed = self._flushed(first)
        if self.case.theme == "poisoned" and flushed is not None:
            self._check_others_arrive(first, flushed)
            first.kill()
        self._heal()
        if flushed is None or self.case.more.get("owner_ends") == "kill":
            first.kill()
        elif self.case.theme != "poisoned":
            self._close(first)
        for session in others:
            session.tape.wait_for("holding", PATIENCE_S)
            session.go()
            self._flushed(session)
            self._close(session)

    def _connected(self, process: Process) -> Entry:
        connected = process.tape.wait_for("connected", PATIENCE_S)
        if connected is None:
            raise RuntimeError(f"a session could not connect: see {process.log}\n{_tail(process.log)}")
        return connected

    def _flushed(self, session: Process) -> Entry | None:
        """Wait until a session has flushed; None if it has died. I7: what a user reads with is alive."""
        flushed = session.tape.wait_for("flushed", PATIENCE_S)
        if flushed is not None:
            self.outcome.violations += [f"I7 a user's client is dead: {dead}" for dead in flushed["dead"]]
        return flushed

    def _close(self, process: Process) -> None:
        if code := process.close():
            self.outcome.violations.append(f"I0 a session ended with exit code {code}: {_tail(process.log)}")

    def _arm(self) -> None:
        if self.proxy is not None:
            self.proxy.rules = [Rule.of(drawn) for drawn in self.case.proxy if drawn["at"] != "run"]

    def _heal(self) -> None:
        if self.disk is not None:
            self.disk.free()
        if self.proxy is not None:
            self.outcome.notes += self.proxy.heal()

    def _saw(self, entry: Entry) -> None:
        """Faults that strike at a document of the first session; called as its tape is read."""
        if entry["kind"] in ("strike", "refused", "hand", "push"):
            self.outcome.notes.append(str({key: value for key, value in entry.items() if key != "kind"}))
        if entry["kind"] == "stop":
            self._at_stop(entry["event"])
        if entry["kind"] == "offered" and entry["name"] == "start":
            if self.proxy is not None and self._starts == self.case.more.get("poisoned"):
                self.proxy.rules = [Rule.of(drawn, entry["doc"]["uid"]) for drawn in self.case.proxy]
            self._starts += 1

    def _at_stop(self, event: int) -> None:
        """What happens at an event at which the first session waits."""
        more = self.case.more
        if event in more.get("sigint_at", ()):
            self.sessions[0].press_ctrl_c()
        if event == more.get("full_at") and self.disk is not None:
            self.disk.fill()
            if more["away"] and self.proxy is not None:
                self.proxy.rules = [Rule.of({"do": "503", "at": "everything", "first": 1, "times": 10**9})]
        if event == more.get("free_at"):
            self._heal()
        self.sessions[0].go()

    def _damage_a_journal(self) -> None:
        rng = random.Random(self.case.seed)
        journals = sorted((self.directory / "spool").glob("*.jsonl"))
        if not journals:
            return
        path = rng.choice(journals)
        lines = path.read_bytes().splitlines(keepends=True)
        if not lines:
            return
        i = int(self.case.more["where"] * len(lines))
        kind = self.case.more["damage"]
        if kind == "garbage":
            middle = len(lines[i]) // 2
            lines[i] = lines[i][:middle] + rng.randbytes(12).replace(b"\n", b"?") + b"\n"
        elif kind == "cut line":
            lines[i] = lines[i][: len(lines[i]) // 3] + b"\n"
        else:
            lines = lines[: max(i, 1)]
            lines[-1] = lines[-1][: len(lines[-1]) // 2]
        path.write_bytes(b"".join(lines))
        self.outcome.notes.append(f"{kind} in line {i + 1} of {len(lines)} of {path.name}")

    # -- afterwards ---------------------------------------------------------------------------------------------------

    def _check_others_arrive(self, session: Process, flushed: Entry) -> None:
        """I6: one run that cannot be written delays no other."""
        assert self.server is not None
        runs = runs_of(session.tape.entries)
        poisoned = runs[self.case.more["poisoned"]] if self.case.more["poisoned"] < len(runs) else None
        others = [run for run in runs if run is not poisoned]
        client = from_uri(self.server.uri, api_key=self.server.api_key)
        try:
            deadline = time.monotonic() + I6_WAIT_S
            while late := [run for run in others if not _is_closed(client, run.uid)]:
                if time.monotonic() > deadline:
                    names = ", ".join(f"{run.uid[:8]} ({run.plan['plan']})" for run in late)
                    self.outcome.violations.append(f"I6 behind a run that cannot be written, others wait: {names}")
                    return
                time.sleep(0.1)
        finally:
            client.context.http_client.close()
        if poisoned is not None and flushed["flushed"]:
            self.outcome.violations.append("I6 flush() says True while a run is not in Tiled")

    def _recover(self) -> tuple[Entry, Entry]:
        self.recovery.order({"role": "recovery", **self._address})
        connected = self._connected(self.recovery)
        recovered = self.recovery.tape.wait_for("recovered", PATIENCE_S)
        if recovered is None:
            raise RuntimeError(f"the recovery died: {_tail(self.recovery.log)}")
        if not recovered["settled"]:
            self.outcome.violations.append(f"I1 the recovery came to no end: {recovered['pending']} runs pending")
        return recovered, connected

    def _check(self, truths: list[RunTruth], client: Any, recovered: Entry) -> Iterator[str]:
        naming = Naming(recovered["refused"], self._log(), recovered["pending"])
        for truth in truths:
            yield from check_documents(truth, client, naming)
            if truth.plan["plan"] in STEERED and _is_closed(client, truth.uid):
                yield from check_positions(truth, client, naming)
        known = {truth.uid for truth in truths}
        if strangers := [uid for uid in client if uid not in known]:
            yield f"I1 nodes that no session emitted: {strangers}"
        for session in self.sessions:
            yield from check_motions(session.tape.entries, self.case.more)
        for truth in truths:
            if truth.plan["plan"] != "odd" and self.case.theme != "poisoned" and truth.uid in naming.refused:
                yield f"I1 an ordinary run was refused for ever: {naming.refused[truth.uid]}"

    def _end_recovery(self, uri: str) -> None:
        self._close(self.recovery)
        if self.case.server == "remote":
            return
        deadline = time.monotonic() + 60.0
        while _answers(uri) and time.monotonic() < deadline:
            time.sleep(0.1)
        if _answers(uri):
            self.outcome.violations.append("I0 the embedded server outlives its last session")
            if (pid := pid_in(self.directory)) is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    @property
    def _processes(self) -> list[Process]:
        return [*self.sessions, self.recovery]

    def _log(self) -> str:
        return "\n".join(process.log.read_text(errors="replace") for process in self._processes)


def _is_closed(client: Any, uid: str) -> bool:
    try:
        return bool(dict(client[uid].metadata).get("stop"))
    except KeyError:
        return False


def _answers(uri: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{uri}/healthz", timeout=2, trust_env=False).status_code == 200
    return False


def _tail(log: Path, lines: int = 3) -> str:
    return " / ".join(log.read_text(errors="replace").strip().splitlines()[-lines:])[-400:]
