"""I4: no commanded motion leaves the envelope, judged from where the motors truly were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .devices import ENCODER_NOISE
from .scenarios import BOX, LIMIT, MAX_STEP
from .tape import Entry

__all__ = ["check_motions"]

SLACK = 3 * ENCODER_NOISE
"""What a session cannot see: it reads positions with the encoder's noise."""


def check_motions(tape: Iterable[Entry], more: Mapping[str, Any]) -> Iterator[str]:
    """Follow the motors of one session along its tape; only moves of steered plans are judged.

    A move of several motors may run anywhere in the box around where they stand and where they go, so that box must be
    clear of the forbidden region. Moves by hand are nobody's fault.
    """
    true: dict[str, float] = {}
    flying: dict[str, float] = {}
    plan: Mapping[str, Any] = {}
    for entry in tape:
        kind = entry["kind"]
        if kind == "plan":
            plan = entry["plan"]
        elif kind == "push":
            true[entry["motor"]] = entry["end"]
        elif kind == "moved":
            flying.pop(entry["motor"], None)
            true[entry["motor"]] = entry["end"]
        elif kind == "move":
            true[entry["motor"]] = entry["start"]
            flying[entry["motor"]] = entry["target"]
            if "finish" in plan:
                yield from _judge(entry, plan, more, true, flying)


def _judge(
    entry: Entry,
    plan: Mapping[str, Any],
    more: Mapping[str, Any],
    true: Mapping[str, float],
    flying: Mapping[str, float],
) -> Iterator[str]:
    motor, start, target = entry["motor"], entry["start"], entry["target"]
    where = f"I4 {plan['plan']}: {motor} from {start:.4f} to {target:.4f}"
    if more.get("one_sided") and target > LIMIT and target > start + SLACK:
        yield f"{where}: beyond its limit {LIMIT}"
    if plan["plan"] == "walk" and abs(target - start) > MAX_STEP + SLACK:
        yield f"{where}: longer than the largest step {MAX_STEP}"
    if more.get("region"):
        named = [f"m{i}" for i in range(1, min(plan["motors"], 2) + 1)]
        spans = [sorted((true.get(name, 0.0), flying.get(name, true.get(name, 0.0)))) for name in named]
        if all(low < BOX[1] - SLACK and high > BOX[0] + SLACK for low, high in spans):
            yield f"{where}: its way crosses the forbidden region"
