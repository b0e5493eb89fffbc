"""Writing events atomically: an event is complete or not emitted, despite pauses, suspenders and failures.

After a pause the RunEngine normally replays messages, which reads devices again without the plan's knowledge: the plan
would then give its agent other values than the recorded ones. Here nothing is replayed. The RunEngine notifies a tag
device of each interruption; the plan sees it, drops the open event and repeats the reading itself.
"""

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from bluesky.protocols import Readable
from bluesky.utils import Msg, MsgGenerator

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans.assets import AssetDocuments
from ebl_autonomy.plans.failures import blaming
from ebl_autonomy.plans.timely import timely
from ebl_autonomy.records import METADATA_KEY, PROPOSAL_ID
from ebl_autonomy.report import statusline

__all__ = ["EventPage", "EventTag", "EventWatch", "InterruptedReadingError", "save_event", "save_page"]

_DTYPES = {
    bool: {"dtype": "boolean"},
    int: {"dtype": "integer", "dtype_numpy": "<i8"},
    float: {"dtype": "number"},
    str: {"dtype": "string"},
}


_EMPTY = {bool: False, int: 0, float: math.nan, str: ""}


class InterruptedReadingError(Exception):
    """The RunEngine was paused or suspended while an event was being read; the event has been dropped."""


class EventTag:
    """A soft device that adds the plan's own values to an event, and counts interruptions.

    Parameters
    ----------
    name : str
        Device name in the descriptor.
    defaults : mapping of str to bool, int, float or str
        The keys; each default defines the type of its key. More keys may be added until the first event.
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
        """Set the values of the next event. A key without a value gets NaN, 0, False or an empty string.

        Raises
        ------
        BadInputError
            If there is a new key after the first event, which fixed the descriptor.
        """
        if self._described is not None and (late := set(values) - set(self._values)):
            raise BadInputError(
                f"{sorted(late)} came after the first row, whose keys are {sorted(self._values)}: give the same keys "
                "with each row"
            )
        empty = {key: _EMPTY[type(value)] for key, value in self._values.items()}
        self._values = {**empty, **{key: plain(value) for key, value in values.items()}}

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
        statusline.hide_all()  # the terminal belongs to the user's prompt now

    def resume(self) -> None:
        """Called by the RunEngine when it resumes."""


class EventPage:
    """A soft flyer that emits all rows of one proposal as one event page: all of them or none.

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
        BadInputError
            If a row has other keys than the first row, which defined the descriptor.
        """
        keys = self._described or rows[0]
        for row in rows:
            if differ := sorted(set(row) ^ set(keys)):
                raise BadInputError(
                    f"{differ} are not in every row; the keys of the first row were {sorted(keys)}: give the same keys "
                    "with each row"
                )
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
    """Counts the rows that the plan itself emits, by stream: the only proof that a `save` took effect.

    Preprocessors of the RunEngine, monitors and flyers add events of their own to the run, and a user's stub has runs
    of its own; these are not counted.

    Parameters
    ----------
    tags : collection of str
        Names of the plan's own devices, one of which is part of each of its events.
    """

    def __init__(self, tags: Collection[str]) -> None:
        self.assets = AssetDocuments()
        self._tags = frozenset(tags)
        self._streams: dict[str, str] = {}
        self._ours: set[str] = set()
        """Uids of the descriptors of the plan's own events."""
        self._run = ""
        self._others: dict[str, list[str]] = {}
        """The streams of the run that others write, with the names of the devices in them."""
        self._counts: dict[str, int] = {}
        self._proposals: dict[str, set[str]] = {}
        self._captured: list[tuple[str, Mapping[str, Any]]] | None = None

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        if name == "start" and METADATA_KEY in doc:
            self._run = self._run or doc["uid"]  # a stub may steer a run inside this one
        elif name == "descriptor":
            self._take_descriptor(doc)
        elif name in ("event", "event_page") and doc["descriptor"] in self._ours:
            stream = self.stream_of(doc)
            rows = 1 if name == "event" else len(doc["seq_num"])
            self._counts[stream] = self._counts.get(stream, 0) + rows
            ids = doc["data"].get(PROPOSAL_ID, ())
            self._proposals.setdefault(stream, set()).update([ids] if isinstance(ids, str) else ids)
        self.assets.note(name, doc)
        if self._captured is not None:
            self._captured.append((name, doc))

    def _take_descriptor(self, doc: Mapping[str, Any]) -> None:
        stream, devices = doc.get("name", ""), list(doc.get("object_keys") or ())
        self._streams[doc["uid"]] = stream
        if doc["run_start"] != self._run:
            return
        if self._tags.isdisjoint(devices):
            self._others[stream] = devices
        else:
            self._ours.add(doc["uid"])

    def is_taken(self, stream: str) -> bool:
        """Whether somebody else writes into a stream of this name in the run."""
        return stream in self._others

    def check_free(self, streams: Iterable[str]) -> None:
        """Check that nobody else writes into `streams`: all events of a stream have the same keys.

        Raises
        ------
        BadInputError
            If somebody does; the message names the stream, the devices and the remedy.
        """
        for stream in streams:
            if stream in self._others:
                raise BadInputError(
                    f"the stream {stream!r} is the run's own, but something else writes {self._others[stream]} into "
                    "it, for example one of RE.preprocessors: give that stream another name"
                )

    def count(self, stream: str) -> int:
        """Number of rows that the plan has emitted into `stream` so far."""
        return self._counts.get(stream, 0)

    def holds(self, stream: str, proposal_id: str) -> bool:
        """Whether a row of `stream` belongs to a proposal."""
        return proposal_id in self._proposals.get(stream, ())

    def stream_of(self, doc: Mapping[str, Any]) -> str:
        """Name of the stream that an event or event page belongs to."""
        return self._streams.get(doc["descriptor"], "")

    @contextmanager
    def capture(self) -> Iterator[list[tuple[str, Mapping[str, Any]]]]:
        """Collect all documents that are emitted within the block, as (name, document)."""
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
    check_read: Callable[[Any, Mapping[str, Any]], MsgGenerator[None]] | None = None,
) -> MsgGenerator[dict[str, Any]]:
    """Read `devices`, let `finish` add values, and emit all of it as one event of `stream`.

    Parameters
    ----------
    stream : str
    devices : sequence of Readable
    tag : EventTag
        Adds the return value of `finish` to the event.
    watch : EventWatch
        Subscribed to the RunEngine's documents.
    finish : callable
        Maps the readings (key to value) to the tag's values; called after all devices are read.
    check_read : callable, optional
        A plan stub that is run with each device and its reading.

    Returns
    -------
    dict
        Key to value of the whole event, exactly as it was emitted.

    Raises
    ------
    BadInputError
        If somebody else writes into a stream of this name.
    InterruptedReadingError
        If a pause or a suspender interrupted the reading; no event was emitted.
    DeviceFailedError, DeviceTimeoutError
        If a device raises an error while it is read, or does not answer in time; no event was emitted.
    """
    watch.check_free([stream])
    mark, before = tag.interruptions, watch.count(stream)
    values: dict[str, Any] = {}
    yield Msg("create", None, name=stream)
    try:
        for device in devices:
            with blaming(device, "it cannot be read"):
                reading = yield Msg("read", timely(device, watch.assets))
            if tag.interruptions != mark:
                raise InterruptedReadingError(stream)
            if check_read is not None:
                yield from check_read(device, reading)
            values.update({key: item["value"] for key, item in reading.items()})
        tag.put(finish(values))
        carried = yield Msg("read", tag)
        if tag.interruptions != mark:
            raise InterruptedReadingError(stream)
        values.update({key: item["value"] for key, item in carried.items()})
    except Exception:
        yield Msg("drop")
        raise
    # A pause from here on does not change the readings. Only if the save itself was cut short, and no event was
    # emitted, must the event be repeated.
    yield Msg("save")
    if watch.count(stream) == before:
        raise InterruptedReadingError(stream)
    return values


def save_page(stream: str, page: EventPage, watch: EventWatch, rows: Sequence[Mapping[str, Any]]) -> MsgGenerator[None]:
    """Emit `rows` as one event page of `stream`.

    Raises
    ------
    BadInputError
        If somebody else writes into a stream of this name.
    InterruptedReadingError
        If a pause interrupted the collection; no row was emitted.
    """
    watch.check_free([stream])
    before = watch.count(stream)
    page.put(rows)
    yield Msg("collect", page, stream=False, return_payload=False)
    if watch.count(stream) == before:
        raise InterruptedReadingError(stream)


def _describe(source: str, values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        key: {"source": f"ebl_autonomy:{source}", "shape": [], **_DTYPES[type(value)]} for key, value in values.items()
    }


def plain(value: Any) -> Any:
    """A numpy scalar as a Python scalar; any other value unchanged."""
    return value.item() if isinstance(value, np.generic) else value
