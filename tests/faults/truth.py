"""What was emitted, according to the tapes of the sessions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .tape import Entry

__all__ = ["Emitted", "RunTruth", "runs_of"]


@dataclass(frozen=True)
class Emitted:
    """A document. It was `taken` if the package's callback returned before the session died.

    The one document that a kill met before that may be stored or not; all others must be.
    """

    name: str
    doc: dict[str, Any]
    taken: bool


@dataclass
class RunTruth:
    """The documents of one run, and what its agent was told.

    Attributes
    ----------
    documents : list of Emitted
        In order.
    plan : dict
        What the case drew.
    told : list of dict
        Results that the agent ingested.
    """

    plan: dict[str, Any]
    documents: list[Emitted] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)

    @property
    def start(self) -> Emitted:
        return self.documents[0]

    @property
    def uid(self) -> str:
        return str(self.start.doc["uid"])

    @property
    def stop(self) -> Emitted | None:
        """The stop document; None if the session died before it."""
        return next((one for one in self.documents if one.name == "stop"), None)

    @property
    def descriptors(self) -> dict[str, dict[str, Any]]:
        """The descriptors by uid."""
        return {one.doc["uid"]: one.doc for one in self.documents if one.name == "descriptor"}

    @property
    def events(self) -> dict[str, list[Emitted]]:
        """The events of each stream, in order; event pages are not expected."""
        streams: dict[str, list[Emitted]] = {doc["name"]: [] for doc in self.descriptors.values()}
        for one in self.documents:
            if one.name == "event":
                streams[self.descriptors[one.doc["descriptor"]]["name"]].append(one)
        return streams

    @property
    def external(self) -> dict[tuple[str, str], tuple[dict[str, Any], int]]:
        """For each stream and external key: its `stream_resource`, and the number of frames that were emitted."""
        resources = {one.doc["uid"]: one.doc for one in self.documents if one.name == "stream_resource"}
        found: dict[tuple[str, str], tuple[dict[str, Any], int]] = {}
        for one in self.documents:
            if one.name == "stream_datum":
                resource = resources[one.doc["stream_resource"]]
                key = self.descriptors[one.doc["descriptor"]]["name"], resource["data_key"]
                found[key] = resource, max(one.doc["indices"]["stop"], found.get(key, ({}, 0))[1])
        return found


def runs_of(tape: Iterable[Entry]) -> list[RunTruth]:
    """The runs of one session."""
    offered: list[tuple[str, dict[str, Any], dict[str, Any], int]] = []
    taken, plan = 0, {}
    told: dict[int, list[dict[str, Any]]] = {}
    starts = 0
    for entry in tape:
        if entry["kind"] == "plan":
            plan = entry["plan"]
        elif entry["kind"] == "offered":
            starts += entry["name"] == "start"
            offered.append((entry["name"], entry["doc"], plan, starts))
        elif entry["kind"] == "taken":
            taken += 1
        elif entry["kind"] == "told":
            told.setdefault(starts, []).extend(entry["results"])
    runs: dict[int, RunTruth] = {}
    for i, (name, doc, of_plan, number) in enumerate(offered):
        run = runs.setdefault(number, RunTruth(of_plan, told=told.get(number, [])))
        run.documents.append(Emitted(name, doc, i < taken))
    return list(runs.values())
