"""What the scripts of these tests keep of the documents of a run; they run in this folder, in their own processes."""

from typing import Any

from bluesky import RunEngine


def keep(RE: RunEngine) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """The rows and the abandoned proposals of all runs to come, and the metadata of the latest: they fill meanwhile."""
    rows: list[dict[str, Any]] = []
    gone: list[dict[str, Any]] = []
    start: dict[str, Any] = {}
    streams: dict[str, str] = {}

    def take(name: str, doc: dict[str, Any]) -> None:
        if name == "start":
            start.update(doc["ebl_autonomy"])
        elif name == "descriptor":
            streams[doc["uid"]] = doc["name"]
        elif name == "event":
            {"primary": rows, "abandoned": gone}.get(streams[doc["descriptor"]], []).append(doc["data"])

    RE.subscribe(take)
    return rows, gone, start
