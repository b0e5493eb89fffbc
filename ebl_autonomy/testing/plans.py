"""The contract of a plan: it can be run from IPython, queued in a queueserver, paused and ended at any time."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from bluesky import RunEngine
from bluesky.utils import Msg, RunEngineInterrupted
from event_model import DocumentNames, schema_validators

__all__ = ["check_plan", "check_plan_signature"]


def check_plan(make: Callable[[], Any], RE: RunEngine, *, function: Callable[..., Any] | None = None) -> None:
    """Hold a plan to what users of a beamline rely on, inside a real RunEngine.

    It opens and closes exactly one run, of documents that event-model accepts; it has checkpoints, so that it can be
    paused and resumed with no row lost or repeated; an abort closes its run as aborted and leaves nothing staged. Its
    `function`, if given, has a signature that bluesky-queueserver and blueapi take.

    Parameters
    ----------
    make : callable
        Makes a fresh plan.
    RE : RunEngine
    function : callable, optional
        The plan's function.

    Raises
    ------
    AssertionError
        Says which rule was broken.
    """
    if function is not None:
        check_plan_signature(function)
    rows = _check_run(make, RE)
    _check_pause(make, RE, rows)
    _check_abort(make, RE)


class _Documents:
    def __init__(self) -> None:
        self.all: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        self.all.append((name, doc))

    def named(self, name: str) -> list[dict[str, Any]]:
        return [doc for kind, doc in self.all if kind == name]


def _run(plan: Any, RE: RunEngine) -> _Documents:
    documents = _Documents()
    token = RE.subscribe(documents)
    try:
        RE(plan)
    finally:
        RE.unsubscribe(token)
    return documents


def _check_run(make: Callable[[], Any], RE: RunEngine) -> int:
    documents = _run(make(), RE)
    starts, stops = documents.named("start"), documents.named("stop")
    assert len(starts) == 1, f"the plan opened {len(starts)} runs, not one"
    assert len(stops) == 1, f"the plan closed {len(stops)} runs, not one"
    assert stops[0]["exit_status"] == "success", f"the run ended as {stops[0]['exit_status']}: {stops[0].get('reason')}"
    for name, doc in documents.all:
        schema_validators[DocumentNames[name]].validate(doc)
    assert not RE._staged, f"the plan left {RE._staged} staged"
    return len(documents.named("event"))


def _check_pause(make: Callable[[], Any], RE: RunEngine, rows: int) -> None:
    documents, seen = _Documents(), {"checkpoints": 0}
    token = RE.subscribe(documents)

    def hook(message: Msg) -> None:
        if message.command == "checkpoint":
            seen["checkpoints"] += 1
            if seen["checkpoints"] == 2:
                RE.loop.call_soon(lambda: RE.loop.create_task(RE._request_pause_coro(defer=False)))

    setattr(RE, "msg_hook", hook)  # noqa: B010 - bluesky declares it as None
    try:
        try:
            RE(make())
        except RunEngineInterrupted:
            assert RE.state == "paused", f"the plan did not pause: the RunEngine is {RE.state}"
            RE.resume()
        else:
            assert seen["checkpoints"] < 2, "a pause was asked for and did not come"
    finally:
        RE.msg_hook = None
        RE.unsubscribe(token)
    assert seen["checkpoints"], "the plan has no checkpoint: a pause would repeat it from its beginning"
    assert len(documents.named("stop")) == 1, "the run was not closed after a pause"
    events = len(documents.named("event"))
    assert events == rows, f"{events} events after a pause, {rows} without: rows were lost or repeated"


def _check_abort(make: Callable[[], Any], RE: RunEngine) -> None:
    documents, seen = _Documents(), {"saved": 0}
    token = RE.subscribe(documents)

    def hook(message: Msg) -> None:
        seen["saved"] += message.command == "save"
        if message.command == "save" and seen["saved"] == 2:
            RE.loop.call_soon(lambda: RE.loop.create_task(RE._request_pause_coro(defer=False)))

    setattr(RE, "msg_hook", hook)  # noqa: B010 - bluesky declares it as None
    try:
        RE(make())
    except RunEngineInterrupted:
        RE.abort()
    finally:
        RE.msg_hook = None
        RE.unsubscribe(token)
    stops = documents.named("stop")
    assert len(stops) == 1, "an aborted plan did not close its run"
    if seen["saved"] >= 2:
        assert stops[0]["exit_status"] == "abort", f"an aborted run says {stops[0]['exit_status']!r}"
    assert not RE._staged, f"an aborted plan left {RE._staged} staged"
    assert RE.state == "idle", f"the RunEngine is {RE.state} after an abort"


def check_plan_signature(function: Callable[..., Any]) -> None:
    name = getattr(function, "__name__", repr(function))
    signature = inspect.signature(function)
    for parameter in signature.parameters.values():
        assert parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD), f"{name} takes {parameter}"
        assert parameter.annotation is not parameter.empty, f"{name}: {parameter.name} has no annotation"
        quoted = isinstance(parameter.annotation, str)
        assert not quoted, f"{name}: the annotation of {parameter.name} is text (quoted, or from __future__)"
        plain = parameter.default is parameter.empty or isinstance(
            parameter.default, (type(None), str, int, float, tuple)
        )
        assert plain, f"{name}: the default of {parameter.name} is a {type(parameter.default).__name__}"
    assert "MsgGenerator" in str(signature.return_annotation) or "Generator" in str(signature.return_annotation), (
        f"{name} returns {signature.return_annotation}: annotate it as MsgGenerator"
    )
