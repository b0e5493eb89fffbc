"""Documents about the files that detectors write: none is lost with an event that was dropped."""

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from bluesky.utils import iterate_maybe_async

__all__ = ["AssetDocuments"]


class AssetDocuments:
    """Keeps what detectors tell of their files until the RunEngine has emitted it.

    A detector tells of its file once, and of each frame once. The RunEngine forgets both if the event is dropped, for
    example after a pause, and then can emit no later frame of that file. And a detector that was triggered again tells
    of two frames at once, which the RunEngine refuses for one event. So each frame has a document of its own: those
    without a row come before the one that belongs to the event, with the same sequence number.
    """

    def __init__(self) -> None:
        self._emitted: set[str] = set()
        self._told: dict[int, list[tuple[str, dict[str, Any]]]] = {}
        """The documents of each detector that were not emitted yet."""

    def note(self, name: str, doc: Mapping[str, Any]) -> None:
        """Note a document that was emitted."""
        if name in ("resource", "datum", "stream_resource", "stream_datum"):
            self._emitted.add(_uid(doc))

    async def collect(self, device: Any, *args: Any) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """What `device` tells, after what it told for events that were dropped."""
        left = [(name, doc) for name, doc in self._told.get(id(device), ()) if _uid(doc) not in self._emitted]
        async for name, doc in iterate_maybe_async(device.collect_asset_docs(*args)):
            left += [(name, one) for one in (_frames(doc) if name == "stream_datum" else [doc])]
        self._told[id(device)] = left
        for name, doc in left:
            yield name, dict(doc)  # the RunEngine adds to it


def _uid(doc: Mapping[str, Any]) -> str:
    return str(doc["datum_id"] if "datum_id" in doc else doc["uid"])


def _frames(doc: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A ``stream_datum`` document for each of its frames."""
    first, stop = doc["indices"]["start"], doc["indices"]["stop"]
    for index in range(first, stop):
        uid = doc["uid"] if index == stop - 1 else f"{doc['uid']}-{index}"
        yield {**doc, "uid": uid, "indices": {"start": index, "stop": index + 1}}
