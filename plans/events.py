"""Writing one event that is whole or not there, whatever pauses, suspenders and failures come in between.

The RunEngine's own way to survive a pause is to replay messages, which re-reads devices behind the plan's back: the
plan then tells its agent values that are not the ones in the data. Here nothing is replayed. A tag that the RunEngine
notifies of each interruption lets the plan see it, drop the open event and take the reading again itself.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bluesky.protocols import Readable
from bluesky.utils import Msg, MsgGenerator

__all__ = ["EventTag", "EventWatch", "InterruptedReadingError", "save_event"]

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
            self._described = {
                key: {"source": f"ebl_autonomy:{self.name}", "shape": [], **_DTYPES[type(value)]}
                for key, value in self._values.items()
            }
        return self._described

    def pause(self) -> None:
        """Called by the RunEngine when it pauses or suspends."""
        self.interruptions += 1

    def resume(self) -> None:
        """Called by the RunEngine when it goes on."""


class EventWatch:
    """Counts the events that were really emitted, by stream: the only proof that a `save` went through."""

    def __init__(self) -> None:
        self._streams: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        if name == "descriptor":
            self._streams[doc["uid"]] = doc.get("name", "")
        elif name == "event":
            stream = self._streams.get(doc["descriptor"], "")
            self._counts[stream] = self._counts.get(stream, 0) + 1

    def count(self, stream: str) -> int:
        """Events of `stream` so far."""
        return self._counts.get(stream, 0)


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


def plain(value: Any) -> float:
    """A reading as a float; NaN if it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
