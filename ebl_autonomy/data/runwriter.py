"""Writing one run to Tiled, resumable after an interruption.

A run has the layout of bluesky-tiled-plugins, whose clients read it. A run that is partly stored is resumed: existing
nodes are taken up, and stored rows are not sent again. A document may therefore be passed any number of times and is
stored once. Rows are buffered until the caller flushes them.

Documents of older schemas, and those of external files, are converted by the normalizer of bluesky-tiled-plugins. The
attributes of it that this module uses are checked at import, so that an incompatible version fails before anything is
measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from bluesky_tiled_plugins.writing import tiled_writer
from event_model import DocumentNames, DocumentRouter, unpack_event_page
from tiled.structures.core import Spec

from ebl_autonomy.data.externalfiles import ExternalFiles
from ebl_autonomy.data.forms import as_metadata
from ebl_autonomy.data.names import METADATA, StoredNames, stored_stream_name
from ebl_autonomy.data.streamwriter import StreamWriter, get_or_create
from ebl_autonomy.errors import BadInputError

__all__ = ["ResumableRun"]

_CONFIGURATION = ("uid", "time", "configuration")


def _require(thing: Any, *names: str) -> None:
    """Raise ImportError if `thing`, from the installed bluesky-tiled-plugins, lacks one of the attributes `names`."""
    if missing := [name for name in names if not hasattr(thing, name)]:
        raise ImportError(
            f"bluesky-tiled-plugins {version('bluesky-tiled-plugins')} cannot write resumable runs: its run writer "
            f"lacks {missing}. Install a version that ebl-autonomy was tested with: pip install --upgrade ebl-autonomy"
        )


_require(tiled_writer, "RunNormalizer")
_require(tiled_writer.RunNormalizer(), "_desc_name_by_uid", "_ext_keys", "_int_keys", "dispatcher", "patches")


class ResumableRun:
    """One run that is being written to Tiled.

    Parameters
    ----------
    client : tiled container
        The container of the runs.
    """

    def __init__(self, client: Any) -> None:
        self._names: dict[str, StoredNames] = {}  # of the keys of each stream
        self._stream_names: dict[str, str] = {}  # by the uid of a descriptor
        self._writer = _Writer(client.include_data_sources(), self._names)
        # Converts documents of older schemas, and external assets, to the current schema.
        self._normalizer = _Normalizer()
        self._normalizer.subscribe(self._writer)

    @property
    def holds_rows(self) -> bool:
        """Whether rows, or references to files, are buffered."""
        return self._writer.holds_rows

    @property
    def buffered_bytes(self) -> int:
        """Size of the arrays and lists in the buffered rows; a caller that flushes at a bound bounds the memory."""
        return self._writer.buffered_bytes

    def give(self, name: str, doc: dict[str, Any]) -> None:
        """Take one document. Rows are buffered; everything else is written at once.

        Raises
        ------
        tiled.client.utils.ClientError
            If the server refuses the document.
        httpx.HTTPError
            If the server cannot be reached, or fails.
        BadInputError
            If another writer has begun the run in a layout that cannot be continued, or ``tiled_specs`` are no specs.
        """
        if name == "event_page":
            for event in unpack_event_page(doc):  # type: ignore[arg-type]
                self.give("event", event)
            return
        if name == "descriptor":
            names = self._names.setdefault(doc["name"], StoredNames())
            names.add(doc.get("data_keys", {}))
            self._stream_names[doc["uid"]] = doc["name"]
            doc = _with_float_scalars(_renamed_descriptor(doc, names))
        elif name == "event" and (names := self._names[self._stream_names[doc["descriptor"]]]).changed:
            parts = ("data", "timestamps", "filled")
            doc = {**doc, **{part: names.renamed(doc[part]) for part in parts if part in doc}}
        self._normalizer(name, doc)
        if name == "event":
            self._writer.settle(doc["descriptor"])

    def flush(self) -> None:
        """Write the buffered rows with one append per table."""
        self._writer.flush()

    def close(self) -> None:
        """Tell those who follow the run live that nothing more will come; call it after the stop document."""
        self._writer.close()


class _Normalizer(tiled_writer.RunNormalizer):
    """Knows for each stream which keys are external; upstream, one set of keys serves all streams of a run.

    A fly line needs that: the detector's file is referenced in the stream of the flyer, while `primary` holds the value
    of each row under the same key.
    """

    def __init__(self) -> None:
        super().__init__(patches={"resource": _with_npy_template, "datum": _with_npy_indices})
        self._keys: dict[str, tuple[set[str], set[str]]] = {}

    def start(self, doc: Any) -> None:
        # Not validated again. What bluesky has let through may have got keys meanwhile that its schema does not allow:
        # those of an object that it does not look into, for example "a.b", or 0.5 as text.
        self.dispatcher.process(DocumentNames.start, doc)

    def descriptor(self, doc: Any) -> None:
        self._take_keys(doc["name"])
        super().descriptor(doc)

    def event(self, doc: Any) -> None:
        self._take_keys(self._desc_name_by_uid[doc["descriptor"]])
        if not (self._ext_keys or doc.get("filled")):
            # Nothing to convert. Copying and validating an event upstream costs more time than writing it.
            event = {key: value for key, value in doc.items() if key != "filled"}
            self.dispatcher.process(DocumentNames.event, event)
            return
        super().event(doc)

    def _take_keys(self, stream: str) -> None:
        self._int_keys, self._ext_keys = self._keys.setdefault(stream, (set(), set()))


class _Writer(DocumentRouter):
    """Writes the documents of one run, in the current schema and with stored names of keys."""

    def __init__(self, client: Any, names: Mapping[str, StoredNames]) -> None:
        super().__init__()
        self._client = client
        self._names = names
        self._tags: list[str] | None = None
        self._run: Any = None
        self._streams: dict[str, StreamWriter] = {}
        self._streams_by_descriptor: dict[str, StreamWriter] = {}
        self._updates: dict[str, list[dict[str, Any]]] = {}
        self._files = ExternalFiles(None)

    @property
    def holds_rows(self) -> bool:
        return self._files.waits or any(stream.holds_rows for stream in self._streams.values())

    @property
    def buffered_bytes(self) -> int:
        return sum(stream.buffered_bytes for stream in self._streams.values())

    def flush(self) -> None:
        for stream in self._streams.values():
            stream.flush()
        self._files.flush()

    def settle(self, descriptor: str) -> None:
        """An event has been taken, with all that refers to its files."""
        self._files.settle(self._streams_by_descriptor[descriptor])

    def start(self, doc: Any) -> None:
        metadata = dict(doc)
        self._tags = metadata.pop("tiled_access_tags", None)
        specs = _specs(metadata.pop("tiled_specs", None) or [])
        run, _ = get_or_create(
            self._client,
            doc["uid"],
            lambda key: self._client.create_container(
                key=key,
                metadata={"start": as_metadata(metadata)},
                specs=[*specs, Spec("BlueskyRun", version="3.0")],
                access_tags=self._tags,
            ),
        )
        # The base: children of the node itself would have the layout that client.v2 sets for every client of a process.
        self._run = run.base
        self._files = ExternalFiles(self._tags)

    def descriptor(self, doc: Any) -> None:
        name = doc["name"]
        if name not in self._streams:
            self._streams[name] = self._open_stream(name, doc)
        else:
            self._update_stream(name, doc)
        self._streams[name].describe(doc["data_keys"])
        self._streams_by_descriptor[doc["uid"]] = self._streams[name]

    def event(self, doc: Any) -> Any:
        self._streams_by_descriptor[doc["descriptor"]].add(doc)
        return doc

    def stream_resource(self, doc: Any) -> None:
        self._files.add_resource(doc)

    def stream_datum(self, doc: Any) -> None:
        self._files.add_datum(doc, self._streams_by_descriptor[doc["descriptor"]])

    def stop(self, doc: Any) -> None:
        self.flush()
        self._files.finish()
        metadata = dict(doc)
        notes = list(dict.fromkeys([*metadata.pop("_run_normalizer_notes", []), *self._files.notes]))
        update = {"stop": as_metadata(metadata), **({"notes": notes} if notes else {})}
        self._run.update_metadata(metadata=update, drop_revision=True)

    def close(self) -> None:
        """Tell those who follow the run live that nothing more will come."""
        streams = self._streams.values()
        leaves = [node for stream in streams for node in stream.nodes]
        for node in (*leaves, *self._files.nodes, *(stream.node for stream in streams), self._run):
            node.close_stream()

    def _open_stream(self, name: str, doc: Mapping[str, Any]) -> StreamWriter:
        metadata = {key: value for key, value in doc.items() if key not in {"name", "object_keys", "run_start"}}
        key = stored_stream_name(name)
        if key != name:
            metadata["stream_name"] = name
        if changed := self._names[name].changed:
            metadata[METADATA] = {"names": changed}
        node, is_new = get_or_create(
            self._run,
            key,
            lambda key: self._run.create_container(
                key=key,
                metadata=as_metadata(metadata),
                specs=[Spec("BlueskyEventStream", version="3.0"), Spec("composite")],
                access_tags=self._tags,
            ),
        )
        return StreamWriter(node.base, self._names[name], is_new, self._tags)

    def _update_stream(self, name: str, doc: Mapping[str, Any]) -> None:
        """Note a further descriptor of a stream, which says what has changed in the configuration."""
        updates = self._updates.setdefault(name, [])
        updates.append(as_metadata({key: doc[key] for key in _CONFIGURATION if key in doc}))
        stream = self._streams[name]
        if len(stream.node.metadata.get("_config_updates", [])) >= len(updates):
            return  # noted by a writer that was interrupted
        new = {key: value for key, value in doc["data_keys"].items() if key not in stream.descriptions}
        metadata = {"_config_updates": updates, "data_keys": as_metadata(new)}
        if changed := self._names[name].changed:
            metadata[METADATA] = {"names": as_metadata(changed)}
        stream.node.update_metadata(metadata=metadata, drop_revision=True)


def _specs(given: Any) -> list[Spec]:
    try:
        if isinstance(given, (str, Mapping)):
            raise TypeError("not a list")
        return [Spec(spec) if isinstance(spec, str) else Spec(**spec) for spec in given]
    except TypeError as error:
        raise BadInputError(
            f"the run's metadata have tiled_specs={given!r} ({error}): give a list of names, or of mappings with a "
            "name and a version"
        ) from error


def _renamed_descriptor(doc: dict[str, Any], names: StoredNames) -> dict[str, Any]:
    """The descriptor with the stored names of its keys."""
    if not names.changed:
        return doc
    hints = {
        device: {**hint, "fields": [names.of(key) for key in hint["fields"]]} if "fields" in hint else hint
        for device, hint in doc.get("hints", {}).items()
    }
    object_keys = {device: [names.of(key) for key in keys] for device, keys in doc.get("object_keys", {}).items()}
    return {**doc, "data_keys": names.renamed(doc["data_keys"]), "hints": hints, "object_keys": object_keys}


def _with_float_scalars(descriptor: dict[str, Any]) -> dict[str, Any]:
    """The descriptor with integers described as floats, unless the device gives a ``dtype_numpy``.

    The type of a column is fixed, and simulated devices describe a position as an integer while it is at 0.
    """
    keys = {
        key: {**spec, "dtype": "number"} if spec["dtype"] == "integer" and "dtype_numpy" not in spec else spec
        for key, spec in descriptor.get("data_keys", {}).items()
    }
    return {**descriptor, "data_keys": keys}


def _with_npy_template(resource: dict[str, Any]) -> dict[str, Any]:
    """Says how the files of a NPY_SEQ resource are named, which its documents do not."""
    if resource.get("spec") == "NPY_SEQ":
        resource["resource_kwargs"] = {"template": "_%d.npy", **resource.get("resource_kwargs", {})}
    return resource


def _with_npy_indices(datum: dict[str, Any]) -> dict[str, Any]:
    arguments = datum["datum_kwargs"]
    if arguments.get("_resource_spec") == "NPY_SEQ" and "index" in arguments:
        index = arguments.pop("index")
        arguments["indices"] = {"start": index, "stop": index + 1}
    return datum
