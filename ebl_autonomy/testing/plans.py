"""The contract of a plan: it runs from IPython and from a queueserver, and can be paused and ended at any time."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, get_origin

from bluesky import RunEngine
from bluesky.utils import Msg, RunEngineInterrupted
from event_model import DocumentNames, schema_validators

from ebl_autonomy.guard import AdmittedMove, watch_admissions
from ebl_autonomy.plans.rewriting import StandIn

__all__ = ["check_plan", "check_plan_signature"]


def check_plan(
    make: Callable[[], Any], RE: RunEngine, *, function: Callable[..., Any] | None = None, gated: bool = False
) -> None:
    """Check in a real RunEngine that a plan keeps the contract that beamline users rely on.

    The plan opens and closes exactly one run, whose documents are consistent and valid by event-model. It has
    checkpoints, so that it can be paused and resumed without lost or repeated rows. An abort closes its run as aborted.
    The plan always unstages all devices that it staged. A motor that a gate has judged moves only to admitted
    positions. The `function`, if given, has a signature that bluesky-queueserver and blueapi accept.

    The RunEngine itself closes runs and unstages devices that a plan left, so the check inspects the plan's messages.

    Parameters
    ----------
    make : callable
        Makes a new plan; called three times.
    RE : RunEngine
        An idle RunEngine. Its ``msg_hook`` is replaced during the check.
    function : callable, optional
        The plan's function.
    gated : bool
        Whether every device that the plan sets must pass a gate; by default, only devices that a gate has judged.

    Raises
    ------
    AssertionError
        If the plan breaks a rule, which the message names.
    """
    assert RE.state == "idle", f"the RunEngine is {RE.state}: pass an idle one"
    if function is not None:
        check_plan_signature(function)
    rows = _check_run(make, RE, gated)
    _check_pause(make, RE, rows)
    _check_abort(make, RE)
    assert RE.state == "idle", f"the RunEngine is {RE.state} after an abort"


def check_plan_signature(function: Callable[..., Any]) -> None:
    """Check that a plan function keeps the rules of bluesky-queueserver and blueapi.

    Every parameter is annotated with a type, not with a string, so the module has no ``from __future__ import
    annotations``. No parameter is ``*args`` or ``**kwargs``. Every default is a plain value, not a device or another
    object. The function returns a ``MsgGenerator``.

    Raises
    ------
    AssertionError
        If the function breaks a rule; the message names the parameter and the rule.
    """
    name = getattr(function, "__name__", repr(function))
    signature = inspect.signature(function)
    for parameter in signature.parameters.values():
        assert parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD), f"{name} takes {parameter}"
        assert parameter.annotation is not parameter.empty, f"{name}: {parameter.name} has no annotation"
        quoted = isinstance(parameter.annotation, str)
        assert not quoted, f"{name}: the annotation of {parameter.name} is a string (quoted, or from __future__)"
        default = parameter.default
        assert default is parameter.empty or _is_plain(default), (
            f"{name}: the default of {parameter.name} is a {type(default).__name__}: use None or a plain value"
        )
    returned = signature.return_annotation
    assert get_origin(returned) is Generator or returned is Generator, (
        f"{name} returns {returned}: annotate it as MsgGenerator"
    )


class _Watch:
    """The documents and messages of one execution of a plan."""

    def __init__(self, RE: RunEngine, pause_at: str = "", pause_after: int = 0) -> None:
        self.RE = RE
        self.documents: list[tuple[str, dict[str, Any]]] = []
        self.commands: Counter[str] = Counter()
        self.staged: Counter[Any] = Counter()
        self.moves: list[tuple[str, dict[str, Any]]] = []
        """Admitted targets (``"admitted"``) and set values (``"set"``), in order, by device name."""
        self._pause_at, self._pause_after = pause_at, pause_after

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        self.documents.append((name, doc))

    def hook(self, message: Msg) -> None:
        self.commands[message.command] += 1
        stands_in = isinstance(message.obj, StandIn) and not message.obj.released
        if message.command == "set" and message.args and not stands_in:
            self.moves.append(("set", {str(getattr(message.obj, "name", message.obj)): message.args[0]}))
        if message.command in ("stage", "unstage"):
            self.staged[getattr(message.obj, "name", message.obj)] += 1 if message.command == "stage" else -1
        if message.command == self._pause_at and self.commands[self._pause_at] == self._pause_after:
            loop = self.RE.loop
            # Like Ctrl-C while the plan runs; RE.request_pause runs the same coroutine.
            loop.call_soon(lambda: loop.create_task(self.RE._request_pause_coro(defer=False)))

    def admitted(self, move: AdmittedMove) -> None:
        """Record a move that a gate admitted."""
        self.moves.append(("admitted", dict(move.target)))

    def ungated(self, everything: bool) -> None:
        judged = {name for kind, values in self.moves if kind == "admitted" for name in values}
        allowed: dict[str, Any] = {}
        for kind, values in self.moves:
            if kind == "admitted":
                allowed.update(values)
                continue
            for name, value in values.items():
                if name in judged or everything:
                    assert name in allowed, f"the plan set {name} to {value!r} without a gate: use move_motors"
                    assert allowed[name] == value, (
                        f"the plan set {name} to {value!r}, the gate let it go to {allowed[name]!r}: use move_motors"
                    )

    def named(self, name: str) -> list[dict[str, Any]]:
        return [doc for kind, doc in self.documents if kind == name]

    def unstaged(self) -> None:
        left = sorted(str(name) for name, count in self.staged.items() if count > 0)
        assert not left, f"the plan left {left} staged: use stage_decorator or a finally"

    def stop(self) -> dict[str, Any]:
        starts, stops = self.named("start"), self.named("stop")
        assert len(starts) == 1, f"the plan opened {len(starts)} runs, not one"
        assert len(stops) == 1, f"the run was closed {len(stops)} times, not once"
        return stops[0]

    def rows(self) -> dict[str, int]:
        """Number of events of each stream."""
        streams = {doc["uid"]: doc["name"] for doc in self.named("descriptor")}
        rows = Counter(streams[doc["descriptor"]] for doc in self.named("event"))
        for page in self.named("event_page"):
            rows[streams[page["descriptor"]]] += len(page["seq_num"])
        return dict(rows)


@contextmanager
def _watching(watch: _Watch) -> Iterator[None]:
    RE, hook = watch.RE, watch.RE.msg_hook
    token = RE.subscribe(watch)
    setattr(RE, "msg_hook", watch.hook)  # noqa: B010 - bluesky annotates it as None
    try:
        yield
    finally:
        RE.msg_hook = hook
        RE.unsubscribe(token)


def _check_run(make: Callable[[], Any], RE: RunEngine, gated: bool) -> dict[str, int]:
    watch = _Watch(RE)
    with _watching(watch), watch_admissions(watch.admitted):
        RE(make())
    stop = watch.stop()
    assert watch.commands["close_run"], "the plan left its run open: use run_decorator, or close_run"
    assert stop["exit_status"] == "success", f"the run ended as {stop['exit_status']}: {stop.get('reason')}"
    for name, doc in watch.documents:
        try:
            schema_validators[DocumentNames[name]].validate(doc)
        except Exception as error:
            raise AssertionError(f"event-model rejects a {name} document: {error}") from error
    _check_belonging(watch)
    watch.unstaged()
    watch.ungated(gated)
    assert watch.commands["checkpoint"], "the plan has no checkpoint: after a pause it would restart from the beginning"
    return watch.rows()


def _check_belonging(watch: _Watch) -> None:
    (start,) = watch.named("start")
    assert watch.documents[0][0] == "start", "the first document is not the start"
    assert watch.documents[-1][0] == "stop", "the last document is not the stop"
    descriptors = {doc["uid"]: doc for doc in watch.named("descriptor")}
    for doc in (*descriptors.values(), *watch.named("stop")):
        assert doc["run_start"] == start["uid"], f"a document belongs to run {doc['run_start']}, not {start['uid']}"
    seen: Counter[tuple[str, int]] = Counter()
    for event in watch.named("event"):
        descriptor = descriptors.get(event["descriptor"])
        assert descriptor is not None, f"event {event['seq_num']} belongs to no descriptor of the run"
        assert set(event["data"]) == set(descriptor["data_keys"]), (
            f"an event of {descriptor['name']!r} has the keys {sorted(event['data'])}, "
            f"its descriptor has {sorted(descriptor['data_keys'])}"
        )
        seen[descriptor["name"], event["seq_num"]] += 1
    twice = [key for key, count in seen.items() if count > 1]
    assert not twice, f"without a pause, the rows {twice} were written twice"


def _check_pause(make: Callable[[], Any], RE: RunEngine, rows: dict[str, int]) -> None:
    watch = _Watch(RE, "checkpoint", 2)
    with _watching(watch):
        _run_into_pause(make, RE)
        if RE.state == "paused":
            RE.resume()
    stop = watch.stop()
    assert stop["exit_status"] == "success", f"the run ended as {stop['exit_status']} after a pause and resume"
    watch.unstaged()
    now = watch.rows()
    assert now == rows, f"{now} events after a pause, {rows} without: rows were lost or repeated"


def _check_abort(make: Callable[[], Any], RE: RunEngine) -> None:
    watch = _Watch(RE, "save", 1)
    with _watching(watch):
        _run_into_pause(make, RE)
        if RE.state != "paused":
            return  # the plan ended before the pause
        RE.abort(reason="check_plan")
    stop = watch.stop()
    assert stop["exit_status"] == "abort", (
        f"an aborted run has exit_status {stop['exit_status']!r}: re-raise the exception"
    )
    watch.unstaged()


def _run_into_pause(make: Callable[[], Any], RE: RunEngine) -> None:
    try:
        RE(make())
    except RunEngineInterrupted:
        assert RE.state == "paused", f"the plan did not pause: the RunEngine is {RE.state}"


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return value is None or isinstance(value, (str, int, float))
