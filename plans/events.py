"""Writing one event that is whole or not there, whatever pauses, suspenders and failures come in between.

The RunEngine's own way to survive a pause is to replay messages, which re-reads devices behind the plan's back: the
plan then tells its agent values that are not the ones in the data. Here nothing is replayed. A tag that the RunEngine
notifies of each interruption lets the plan see it, drop the open event and take the reading again itself.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bluesky.protocols import Readable
from bluesky.utils import Msg, MsgGenerator

__all__ = ["EventPage", "EventTag", "EventWatch", "InterruptedReadingError", "save_event", "save_page"]

_DTYPES = {
    bool: {"dtype": "boolean"},
    int: {"dtype": "integer", "dtype_numpy": "<i8"},
    float: {"dtype": "number"},
    str: {"dtype": "string"},
}


class InterruptedReadingError(Exception):
    """An event was being taken when the RunEngine was paused or suspended; it has been dropped."""


class EventTag:
    """A soft device that carries values of the plan's own into an event, and counts interruptions.

    Parameters
    ----------
    name : str
        Device name in the descriptor.
    defaults : mapping of str to bool, int, float or str
        The keys and, by their defaults, the types. More keys may be added until the first event.
    hints : sequence of str
        Keys that live plots and tables show.
    """

    parent = None

    def __init__(self, name: str, defaults: Mapping[str, Any], hints: Sequence[str] = ()) -> None:
        self.name = name
        self.interruptions = 0
        self.hints: dict[str, list[str]] = {"fields": list(hints)}
        self._values = dict(defaults)
        self._described: dict[str, dict[str, Any]] | None = None

    def put(self, values: Mapping[str, Any]) -> None:
        """Set values for the next event. A key that the first event did not have is an error.

        Raises
        ------
        KeyError
            If a new key comes after the first event: the descriptor is written by then.
        """
        if self._described is not None and (late := set(values) - set(self._values)):
            raise KeyError(f"{sorted(late)} came after the first event; its keys are {sorted(self._values)}")
        self._values.update(values)

    def read(self) -> dict[str, dict[str, Any]]:
        now = time.time()
        return {key: {"value": value, "timestamp": now} for key, value in self._values.items()}

    def describe(self) -> dict[str, dict[str, Any]]:
        if self._described is None:
            self._described = _describe(self.name, self._values)
        return self._described

    def pause(self) -> None:
        """Called by the RunEngine when it pauses or suspends."""
        self.interruptions += 1

    def resume(self) -> None:
        """Called by the RunEngine when it goes on."""


class EventPage:
    """A soft flyer that carries all rows of one proposal into a stream, as one event page: all of them or none.

    Parameters
    ----------
    name : str
        Device name in the descriptor.
    stream : str
    hints : sequence of str
        Keys that live plots and tables show.
    """

    parent = None

    def __init__(self, name: str, stream: str, hints: Sequence[str] = ()) -> None:
        self.name = name
        self.hints: dict[str, list[str]] = {"fields": list(hints)}
        self._stream = stream
        self._rows: list[dict[str, Any]] = []
        self._described: dict[str, dict[str, Any]] = {}

    def put(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Set the rows of the next page.

        Raises
        ------
        KeyError
            If a row has other keys than the very first one, which the descriptor was made from.
        """
        keys = self._described or rows[0]
        for row in rows:
            if differ := sorted(set(row) ^ set(keys)):
                raise KeyError(f"a row has or lacks {differ}; the keys of the first row were {sorted(keys)}")
        self._rows = [dict(row) for row in rows]
        if not self._described:
            self._described = _describe(self.name, self._rows[0])

    def describe_collect(self) -> dict[str, dict[str, dict[str, Any]]]:
        return {self._stream: self._described}

    def collect_pages(self) -> Iterator[dict[str, Any]]:
        now = time.time()
        yield {
            "time": [now] * len(self._rows),
            "data": {key: [row[key] for row in self._rows] for key in self._described},
            "timestamps": {key: [now] * len(self._rows) for key in self._described},
        }


class EventWatch:
    """Counts the rows that were really emitted, by stream: the only proof that a `save` went through."""

    def __init__(self) -> None:
        self._streams: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._captured: list[tuple[str, Mapping[str, Any]]] | None = None

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        if name == "descriptor":
            self._streams[doc["uid"]] = doc.get("name", "")
        elif name in ("event", "event_page"):
            stream = self.stream_of(doc)
            rows = 1 if name == "event" else len(doc["seq_num"])
            self._counts[stream] = self._counts.get(stream, 0) + rows
        if self._captured is not None:
            self._captured.append((name, doc))

    def count(self, stream: str) -> int:
        """Rows of `stream` so far."""
        return self._counts.get(stream, 0)

    def stream_of(self, doc: Mapping[str, Any]) -> str:
        """The stream that a document with a descriptor belongs to."""
        return self._streams.get(doc["descriptor"], "")

    @contextmanager
    def capture(self) -> Iterator[list[tuple[str, Mapping[str, Any]]]]:
        """All documents that are emitted within the block, as (name, document)."""
        captured: list[tuple[str, Mapping[str, Any]]] = []
        self._captured = captured
        try:
            yield captured
        finally:
            self._captured = None


def save_event(
    stream: str,
    devices: Sequence[Readable[Any]],
    tag: EventTag,
    watch: EventWatch,
    finish: Callable[[dict[str, Any]], Mapping[str, Any]],
) -> MsgGenerator[dict[str, Any]]:
    """Read `devices`, let `finish` add values, and emit all of it as one event of `stream`.

    Parameters
    ----------
    stream : str
    devices : sequence of Readable
    tag : EventTag
        Carries what `finish` returns into the event.
    watch : EventWatch
        Subscribed to the RunEngine's documents.
    finish : callable
        From the readings (key to value) to the tag's values; called once all devices are read.

    Returns
    -------
    dict
        Key to value of the whole event, exactly as it was emitted.

    Raises
    ------
    InterruptedReadingError
        If a pause or a suspender fell into it; no event was emitted. Whatever a device raised while being read
        is raised too, and no event was emitted then either.
    """
    mark, before = tag.interruptions, watch.count(stream)
    values: dict[str, Any] = {}
    yield Msg("create", None, name=stream)
    try:
        for device in devices:
            reading = yield Msg("read", device)
            if tag.interruptions != mark:
                raise InterruptedReadingError(stream)
            values.update({key: item["value"] for key, item in reading.items()})
        tag.put(finish(values))
        carried = yield Msg("read", tag)
        if tag.interruptions != mark:
            raise InterruptedReadingError(stream)
        values.update({key: item["value"] for key, item in carried.items()})
    except Exception:
        yield Msg("drop")
        raise
    # A pause between here and the end of the save leaves the readings as they are: only a save that was cut
    # short, which emits nothing, must be taken again.
    yield Msg("save")
    if watch.count(stream) == before:
        raise InterruptedReadingError(stream)
    return values


def save_page(stream: str, page: EventPage, watch: EventWatch, rows: Sequence[Mapping[str, Any]]) -> MsgGenerator[None]:
    """Emit `rows` as one event page of `stream`.

    Raises
    ------
    InterruptedReadingError
        If a pause came in between; no row was emitted.
    """
    before = watch.count(stream)
    page.put(rows)
    yield Msg("collect", page, stream=False, return_payload=False)
    if watch.count(stream) == before:
        raise InterruptedReadingError(stream)


def _describe(source: str, values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        key: {"source": f"ebl_autonomy:{source}", "shape": [], **_DTYPES[type(value)]} for key, value in values.items()
    }
