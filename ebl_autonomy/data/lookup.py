"""Which run is meant: by its uid or the first characters of it, by its scan id, or counted back from the latest.

The command line, `prior=` of the plans, and every function that reads a run take the same names, because all ask here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from numbers import Integral
from typing import Any

from ebl_autonomy.errors import BadInputError

__all__ = ["find_run", "is_name", "latest_runs", "start_of"]

LAST = "last"
"""A word for -1."""
_SHOWN = 5
"""Number of runs that a message about an ambiguous name lists."""


def is_name(run: Any) -> bool:
    """Whether a run is named, so that a client must look it up; otherwise it is the run itself."""
    return isinstance(run, str | Integral) and not isinstance(run, bool)


def find_run(run: Any, client: Any = None) -> Any:
    """The Tiled node of a run.

    Parameters
    ----------
    run : str, int or tiled run
        A uid or its first characters; a scan id, of which the newest run counts; -1 for the latest run, -2 for the one
        before it; or the run itself. Text may hold any of these. Runs are latest by the times of their starts.
    client : tiled container, optional
        Where a name is looked up.

    Raises
    ------
    BadInputError
        If a name is given without a client, or fits no run, or several; or if `run` is neither a name nor a run.
    """
    if not is_name(run):
        if not isinstance(getattr(run, "metadata", None), Mapping):
            raise BadInputError(
                f"{run!r} is no run: give its uid or the first characters of it, its scan id, -1 for the latest run, "
                "or the run out of Tiled as client[uid]"
            )
        return run
    if client is None:
        raise BadInputError(
            f"{run!r} is no run but names one: a uid, a scan id or -1 needs a client, for example connect(None).client"
        )
    text = run.strip() if isinstance(run, str) else str(int(run))
    if text == LAST:
        text = "-1"
    if re.fullmatch(r"-[0-9]{1,15}", text):
        return _counted_back(client, -int(text))
    node = _with_scan_id(client, int(text)) if re.fullmatch(r"[0-9]{1,15}", text) else None
    if node is None and isinstance(run, str):  # the first characters of a uid may all be digits
        node = _with_uid(client, text)
    if node is None:
        wrong = f"there is no run {run!r}" if isinstance(run, str) else f"{run} is no run's scan id"
        raise BadInputError(f"{wrong} in this server: 'ebl-autonomy runs' lists the latest")
    return node


def latest_runs(client: Any, limit: int) -> list[Any]:
    """The nodes of the latest runs in a container, newest first; what is no run, such as a folder, is left out."""
    from tiled.client.utils import ClientError

    try:
        found = list(_newest_first(client)[:limit])
    except ClientError:  # an archive that cannot search so: it keeps the order of time
        nodes = client.values()
        found = list(nodes[max(len(nodes) - limit, 0) :])
    return sorted((node for node in found if start_of(node)), key=_time, reverse=True)


def start_of(node: Any) -> dict[str, Any]:
    """The start document of a run; empty if the node is none."""
    return dict(node.metadata.get("start") or {})


def _newest_first(client: Any) -> Any:
    """The runs in a container, sorted by the server, of which a view reads no more than is asked for."""
    from tiled.queries import KeyPresent

    return client.search(KeyPresent("start.time")).sort(("start.time", -1)).values()


def _counted_back(client: Any, back: int) -> Any:
    from tiled.client.utils import ClientError

    try:
        nodes = _newest_first(client)
        if 0 < back <= len(nodes):
            return nodes[back - 1]
    except ClientError:  # see latest_runs
        nodes = client.values()
        if 0 < back <= len(nodes):
            return nodes[len(nodes) - back]
    if not len(nodes):
        raise BadInputError("there are no runs yet: create one with 'ebl-autonomy demo'")
    raise BadInputError(f"there is no run {-back}: the latest is -1, the first -{len(nodes)}")


def _with_scan_id(client: Any, scan_id: int) -> Any:
    from tiled.queries import Eq

    return next(iter(latest_runs(client.search(Eq("start.scan_id", scan_id)), 1)), None)


def _with_uid(client: Any, text: str) -> Any:
    """The run with a uid that is, or begins with, a text; None if there is none."""
    if not text:
        return None
    try:
        node = client[text]
        if start_of(node).get("uid") == text or _key(node) == text:
            return node
    except (KeyError, ValueError):  # ValueError: a client that takes parts of uids finds several, or the part short
        pass
    found = _beginning_with(client, text)
    if len(found) > 1:
        told = [_told(node) for node in found]
        raise BadInputError(
            f"run {text!r} is ambiguous, because several uids begin so: {', '.join(told[:_SHOWN])}"
            f"{' and others' if len(told) > _SHOWN else ''}. Give more characters"
        )
    return next(iter(found), None)


def _beginning_with(client: Any, text: str) -> list[Any]:
    from bluesky_tiled_plugins.queries import PartialUID
    from tiled.client.utils import ClientError
    from tiled.queries import Like

    for query in (Like("start.uid", f"{text}%"), PartialUID(text)):  # the second is for archives in MongoDB
        try:
            nodes = client.search(query).values().head(_SHOWN + 1)
        except ClientError:  # a server that does not know this query
            continue
        return [node for node in nodes if str(start_of(node).get("uid", "")).startswith(text)]
    keys = [key for key in client if key.startswith(text)]
    return [node for node in map(client.__getitem__, keys[: _SHOWN + 1]) if start_of(node)]


def _key(node: Any) -> str:
    return str(node.item["id"]) if hasattr(node, "item") else ""


def _told(node: Any) -> str:
    start = start_of(node)
    when = f" of {datetime.fromtimestamp(_time(node)):%Y-%m-%d %H:%M}" if math.isfinite(_time(node)) else ""
    return f"{start.get('uid', _key(node))} (scan id {start.get('scan_id', 'none')}{when})"


def _time(node: Any) -> float:
    try:
        return float(start_of(node).get("time", -math.inf))
    except (TypeError, ValueError):
        return -math.inf
