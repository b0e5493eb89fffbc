"""Registering the files that detectors write, from the documents that refer to them.

What is registered follows from all the documents of a run alone, never from what the server has: a writer that starts
again registers the same. Each row has its own frame: those that were exposed for no row, because an exposure was
repeated or cut, are left out.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bluesky_tiled_plugins.writing.consolidators import Patch, consolidator_factory
from tiled.client.utils import ClientError, handle_error, retry_context
from tiled.utils import safe_json_dump

from ebl_autonomy.data.frames import FrameRanges, frame_slice
from ebl_autonomy.data.streamwriter import StreamWriter, get_or_create

__all__ = ["ExternalFiles"]

logger = logging.getLogger(__name__)

_UNACCEPTABLE = (400, 415, 422)
"""Answers of a server that cannot read such files."""


class ExternalFiles:
    """The files of one run.

    Parameters
    ----------
    access_tags : list of str, optional
        For every node that is created.
    """

    def __init__(self, access_tags: list[str] | None = None) -> None:
        self.notes: list[str] = []
        self._tags = access_tags
        self._resources: dict[str, Mapping[str, Any]] = {}
        self._sources: dict[tuple[str, str], _Source] = {}

    @property
    def waits(self) -> bool:
        """Whether something has to be registered."""
        return any(source.datums for source in self._sources.values())

    @property
    def nodes(self) -> list[Any]:
        """The nodes of the files."""
        return [source.node for source in self._sources.values() if source.node is not None]

    def add_resource(self, doc: Mapping[str, Any]) -> None:
        """Take a ``stream_resource`` document."""
        self._resources[doc["uid"]] = doc

    def add_datum(self, doc: Mapping[str, Any], stream: StreamWriter) -> None:
        """Take a ``stream_datum`` document of a stream; nothing happens if it was taken before.

        Raises
        ------
        KeyError
            If its ``stream_resource`` has not been taken.
        """
        resource = self._resources[doc["stream_resource"]]
        key = stream.names.of(resource["data_key"])
        source = self._sources.setdefault((stream.node.uri, key), _Source(stream, key))
        if doc["uid"] not in source.seen:
            source.seen.add(doc["uid"])
            source.take(doc)

    def settle(self, stream: StreamWriter) -> None:
        """An event of a stream has been taken: what was told last belongs to its row."""
        for source in self._sources.values():
            if source.stream is stream:
                source.settle()

    def flush(self) -> None:
        """Register what belongs to rows."""
        for source in self._sources.values():
            if source.datums and not source.refused:
                try:
                    self._register(source)
                except (KeyError, NotImplementedError, ValueError, ClientError) as error:
                    if isinstance(error, ClientError) and error.response.status_code not in _UNACCEPTABLE:
                        raise
                    self._refuse(source, error)
            source.datums = []

    def finish(self) -> None:
        """Write the metadata of the files' nodes, and see that their shapes are those of all documents."""
        for source in self._sources.values():
            source.settle()
        self.flush()
        for source in self._sources.values():
            if source.node is None:
                continue
            data_source = source.data_source
            held = source.stream.node[source.key].data_sources()[0]
            # A registration that was given up may have been delivered after the one that followed it.
            shapes = [tuple(getattr(one.structure, "shape", ())) for one in (held, data_source)]
            if shapes[0] != shapes[1] or held.parameters.get("slice") != data_source.parameters.get("slice"):
                self._put(source, data_source, {})
            if source.consolidator.metadata:
                source.node.update_metadata(metadata=source.consolidator.metadata, drop_revision=True)

    def _refuse(self, source: _Source, error: Exception) -> None:
        # The rest of the run is worth more than a reference that nobody could read.
        uri = self._resources[source.datums[0]["stream_resource"]]["uri"]
        self.notes.append(
            f"The files of {source.key!r} at {uri} are not registered in Tiled, which cannot read them: {error!r}"
        )
        logger.warning("%s. Open the files themselves.", self.notes[-1])
        source.refused = True

    def _register(self, source: _Source) -> None:
        patch = Patch.combine_patches([self._consume(source, doc) for doc in source.datums])
        data_source = source.data_source
        if source.node is None:
            stream = source.stream.node
            source.node, _ = get_or_create(
                stream,
                source.key,
                lambda key: stream.new(data_source.structure_family, [data_source], key=key, access_tags=self._tags),
            )
        # The node may be one that an interrupted writer has left in another state.
        where = {"patch_shape": ",".join(map(str, patch.shape)), "patch_offset": ",".join(map(str, patch.offset))}
        self._put(source, data_source, where)

    def _put(self, source: _Source, data_source: Any, where: Mapping[str, str]) -> None:
        """Register what the files of a node hold now, and say where the latest part of it is."""
        node = source.node
        data_source.id = node.data_sources()[0].id
        for attempt in retry_context():
            with attempt:
                handle_error(
                    node.context.http_client.put(
                        node.uri.replace("/metadata/", "/data_source/", 1),
                        content=safe_json_dump({"data_source": data_source}),
                        params=dict(where),
                    )
                )

    def _consume(self, source: _Source, doc: Mapping[str, Any]) -> Patch:
        resource = self._resources[doc["stream_resource"]]
        # A further descriptor of a stream, after a change of the configuration, refers to the same file anew.
        file = {name: copy.deepcopy(resource[name]) for name in ("mimetype", "parameters", "uri")}
        if source.consolidator is None:
            source.consolidator = consolidator_factory(
                copy.deepcopy({**resource, "data_key": source.key}), {"data_keys": source.stream.descriptions}
            )
        elif file not in source.files:
            source.consolidator.update_from_stream_resource(resource)
        if file not in source.files:
            source.files.append(file)
        source.frames.add(doc["indices"]["start"], doc["indices"]["stop"])
        return source.consolidator.consume_stream_datum(doc)


@dataclass
class _Source:
    """The files of one key of one stream."""

    stream: StreamWriter
    key: str
    node: Any = None
    consolidator: Any = None
    files: list[Mapping[str, Any]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    last: Mapping[str, Any] | None = None
    """The latest document of one frame, until it is known whether the frame belongs to the row."""
    datums: list[Mapping[str, Any]] = field(default_factory=list)
    """What belongs to rows and is not registered yet."""
    frames: FrameRanges = field(default_factory=FrameRanges)
    refused: bool = False

    def take(self, doc: Mapping[str, Any]) -> None:
        """Take a ``stream_datum``: of two frames with one sequence number, the row has the later one."""
        numbers = doc["seq_nums"]
        if self.last is not None and self.last["seq_nums"] != numbers:
            self.settle()
        self.last = doc
        if numbers["stop"] - numbers["start"] != 1:
            self.settle()  # those of a flyer, which has many rows and repeats none

    def settle(self) -> None:
        """What was told last belongs to its row."""
        if self.last is not None:
            self.datums.append(self.last)
            self.last = None

    @property
    def data_source(self) -> Any:
        """What is registered: the files and, of an HDF5 file, the frames in it that belong to rows."""
        data_source = self.consolidator.get_data_source()
        if len(self.files) == 1 and (chosen := frame_slice(self.consolidator, self.frames)) is not None:
            data_source.parameters = {**data_source.parameters, "slice": chosen}
        return data_source
