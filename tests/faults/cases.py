"""What one seed draws: plans, server and faults. A case is plain data, so that it can be printed and sent."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["THEMES", "Case", "draw"]

WRITES = "(POST|PUT|PATCH) "
"""Requests that write."""
STAGES = {
    "node": "POST .*/(metadata|register)/",
    "array": "(PUT|PATCH) .*/array/",
    "table": "(PUT|PATCH) .*/table/",
    "metadata": "(PUT|PATCH) .*/metadata/",
    "source": "PUT .*/data_source/",
    "any": WRITES,
}
"""Named points of writing a run, as patterns of the request's method and path."""


@dataclass(frozen=True)
class Case:
    """One seed's draw.

    Attributes
    ----------
    seed : int
    theme : str
        The kind of fault; one of `THEMES`.
    server : {"embedded", "remote"}
        A server of the session's own, or one that the parent starts and that is reached through the proxy.
    sessions : tuple of tuple of dict
        For each session, its plans: ``{"plan": kind, ...}`` (see `scenarios`).
    hits : tuple of dict
        Faults inside the first session at its n-th request or document (see `hits`).
    proxy : tuple of dict
        Faults of the proxy (see `proxy.Rule`).
    hands : tuple of dict
        What people do to motors (see `hand`).
    more : dict
        What else the theme needs.
    """

    seed: int
    theme: str
    server: str
    sessions: tuple[tuple[dict[str, Any], ...], ...]
    hits: tuple[dict[str, Any], ...] = ()
    proxy: tuple[dict[str, Any], ...] = ()
    hands: tuple[dict[str, Any], ...] = ()
    more: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The case as JSON types."""
        return asdict(self)

    def __str__(self) -> str:
        plans = " | ".join("+".join(plan["plan"] for plan in plans) for plans in self.sessions)
        faults = [
            *(f"{hit['do']} {hit['when']} {hit['at']} #{hit['count']}" for hit in self.hits),
            *(f"proxy {rule['do']} {rule['at']} #{rule['first']}x{rule['times']}" for rule in self.proxy),
            *(f"hand {hand['when']} #{hand['count']}" for hand in self.hands),
            *(f"{key}={value}" for key, value in self.more.items()),
        ]
        return f"{self.theme}: {self.server}, {plans}; {', '.join(faults) or 'no fault'}"


def draw(seed: int) -> Case:
    """The case of a seed. Neighbouring seeds have different themes, so a short range covers them all."""
    theme = list(THEMES)[seed % len(THEMES)]
    return THEMES[theme](seed, random.Random(f"faults-{seed}"))


# -- plans -----------------------------------------------------------------------------------------------------------


def _written(rng: random.Random, count: int | None = None) -> tuple[dict[str, Any], ...]:
    """Plans that are about what is written."""
    kinds = ["scan", "images", "sobol", "files"]
    return tuple(_plan(rng, rng.choice(kinds)) for _ in range(count or rng.randint(1, 3)))


def _written_for(rng: random.Random, *stages: str) -> tuple[dict[str, Any], ...]:
    """Plans of which the first ones pass the stages."""
    kinds = {"array": "images", "source": "files"}
    needed = [kinds[stage] for stage in dict.fromkeys(stages) if stage in kinds]
    plans = _written(rng)
    return (*(_plan(rng, kind) for kind in needed), *plans[len(needed) :])


def _count(rng: random.Random, stage: str) -> int:
    """Which of the requests of a stage is hit: a plan makes a few of each."""
    return rng.randint(1, 20 if stage == "any" else 4)


def _plan(rng: random.Random, kind: str) -> dict[str, Any]:
    drawn = {"plan": kind, "points": rng.randint(6, 16), "motors": rng.randint(1, 3), "seed": rng.randrange(1000)}
    drawn["pace_s"] = rng.choice([0.0, 0.02, 0.08])
    if kind == "images":
        drawn["shape"] = [rng.randint(1, 40), rng.randint(1, 40)]
        drawn["dtype"] = rng.choice(["<u2", "|u1", "<f4", "<i4"])
    if kind == "odd":
        drawn["keys"] = rng.sample(ODD_KEYS, rng.randint(2, 5))
        drawn["md"] = rng.sample(ODD_MD, rng.randint(0, 4))
    if kind in STEERED:
        drawn["finish"] = rng.choice(["best", "stay", "return"])
        drawn["batch"] = rng.choice([1, 1, 2, 3])
    return drawn


STEERED = ("sobol", "grid", "bayesian", "walk")
RANGE = {"save": 30, "mid move": 20}
"""How many messages of a kind a steered plan surely sends."""
ODD_KEYS = (
    "short_array", "ragged", "texts", "enum", "int_then_float", "uint64", "long_name", "case", "digit", "underscore",
    "not_ascii", "space", "boolean", "table", "none", "empty", "nan",
)  # fmt: skip
ODD_MD = ("date", "timedelta", "path", "uuid", "enum", "complex", "big", "nested", "set", "nan")


# -- themes ----------------------------------------------------------------------------------------------------------


def _kill_session(seed: int, rng: random.Random) -> Case:
    stage = rng.choice(list(STAGES))
    hit = {"do": "kill", "when": rng.choice(["before", "after"]), "at": stage, "count": _count(rng, stage)}
    if rng.random() < 0.25:  # at any time, or exactly around the journal's append
        hit = {"do": "kill", "when": rng.choice(["before", "after", "soon after"]), "at": "document"}
        hit["count"] = rng.randint(1, 30)
    return Case(seed, "kill_session", _server(rng), (_written_for(rng, stage),), hits=(hit,))


def _kill_server(seed: int, rng: random.Random) -> Case:
    server = _server(rng)
    stage = rng.choice(list(STAGES))
    plans, count = _written_for(rng, stage), _count(rng, stage)
    if server == "embedded":
        hit = {"do": "kill server", "when": rng.choice(["before", "after"]), "at": stage, "count": count}
        return Case(seed, "kill_server", server, (plans,), hits=(hit,))
    rule = {"do": rng.choice(["kill before", "kill after"]), "at": stage, "first": count, "times": 1}
    return Case(seed, "kill_server", server, (plans,), proxy=(rule,))


def _proxy(seed: int, rng: random.Random) -> Case:
    actions = ["500", "401", "503", "late", "drop", "drop before"]
    rules = tuple(
        {
            "do": (action := rng.choice(actions)),
            "at": (stage := rng.choice(list(STAGES))),
            "first": _count(rng, stage),
            "times": 1 if action == "late" else rng.choice([1, 1, 2, 7]),
        }
        for _ in range(rng.randint(1, 3))
    )
    plans = _written_for(rng, *(rule["at"] for rule in rules))
    return Case(seed, "proxy", "remote", (plans,), proxy=rules, more={"key_in_address": rng.random() < 0.4})


def _poisoned(seed: int, rng: random.Random) -> Case:
    """Of several runs, one cannot be written: the server answers 500 to all that is about it."""
    plans = tuple(_plan(rng, rng.choice(["scan", "images", "sobol"])) for _ in range(3))
    rule = {"do": rng.choice(["500", "400", "422"]), "at": "run", "first": 1, "times": 10**6}
    return Case(seed, "poisoned", "remote", (plans,), proxy=(rule,), more={"poisoned": rng.randrange(3)})


def _full_disk(seed: int, rng: random.Random) -> Case:
    first = rng.randint(2, 10)
    more: dict[str, Any] = {"full_at": first, "free_at": first + rng.randint(2, 12), "away": rng.random() < 0.7}
    plans = (_plan(rng, rng.choice(["images", "wide"])), *_written(rng, 1))
    return Case(seed, "full_disk", "remote" if more["away"] else _server(rng), (plans,), more=more)


def _hand(seed: int, rng: random.Random) -> Case:
    kinds = ["sobol", "grid", "grid", "walk", "walk", "bayesian"]
    # Of one motor alone nothing is remembered: it is sent to every point anew.
    plans = tuple({**_plan(rng, rng.choice(kinds)), "motors": rng.randint(2, 3)} for _ in range(rng.randint(1, 2)))
    moments = ["save", "trigger", "think", "pause", "mid move", "suspend"]
    hands = tuple(
        {
            "when": (when := rng.choice(moments)),
            "count": rng.randint(1, RANGE.get(when, 14)),
            "seed": rng.randrange(1000),
        }
        for _ in range(rng.randint(2, 6))
    )
    more = {"one_sided": rng.random() < 0.3, "region": rng.random() < 0.6}
    return Case(seed, "hand", "embedded", (plans,), hands=hands, more=more)


def _ctrl_c(seed: int, rng: random.Random) -> Case:
    more = {"sigint_at": sorted(rng.randint(1, 12) for _ in range(rng.randint(1, 2)))}
    return Case(seed, "ctrl_c", "embedded", (_written(rng, 2),), more=more)


def _damage(seed: int, rng: random.Random) -> Case:
    stage = rng.choice(["table", "node", "any"])
    hit = {"do": "kill", "when": "before", "at": stage, "count": _count(rng, stage)}
    more = {"damage": rng.choice(["garbage", "cut line", "truncate"]), "where": round(rng.random(), 3)}
    return Case(seed, "damage", _server(rng), (_written(rng),), hits=(hit,), more=more)


def _two_sessions(seed: int, rng: random.Random) -> Case:
    more = {"owner_ends": rng.choice(["close", "kill"])}
    return Case(seed, "two_sessions", "embedded", (_written(rng, 1), _written(rng, 2)), more=more)


def _odd(seed: int, rng: random.Random) -> Case:
    plans = (_plan(rng, "odd"), _plan(rng, rng.choice(["scan", "odd", "wide"])))
    return Case(seed, "odd", _server(rng), (plans,))


def _server(rng: random.Random) -> str:
    return rng.choice(["embedded", "remote"])


THEMES: dict[str, Callable[[int, random.Random], Case]] = {
    "kill_session": _kill_session,
    "hand": _hand,
    "proxy": _proxy,
    "odd": _odd,
    "kill_server": _kill_server,
    "full_disk": _full_disk,
    "poisoned": _poisoned,
    "ctrl_c": _ctrl_c,
    "damage": _damage,
    "two_sessions": _two_sessions,
}
