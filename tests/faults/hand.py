"""People who move motors while a plan runs: without a pause, in one, while an agent thinks, in a suspension.

A hand never acts between the reading of the positions and the start of a move: no software on the session's side could
see that. It moves a motor far enough to matter, and never into the forbidden region.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Mapping
from typing import Any

from bluesky import RunEngine
from bluesky.utils import Msg

from .devices import DOMAIN
from .scenarios import BOX, LIMIT, Bench
from .tape import Tape

__all__ = ["Hands"]

LEAST = 0.08
"""Shortest way that a hand moves a motor, in motor units: four times the default tolerance of a position."""
COMMANDS = {"save": "save", "trigger": "trigger", "pause": "checkpoint", "mid move": "set", "suspend": "checkpoint"}


class Hands:
    """Arms the hands of a case.

    Parameters
    ----------
    RE : RunEngine
    bench : Bench
    hands : list of mapping
        Each has ``when``, ``count`` (acts at the n-th message, or thought) and ``seed``.
    tape : Tape
    """

    def __init__(self, RE: RunEngine, bench: Bench, hands: list[Mapping[str, Any]], tape: Tape) -> None:
        self._RE, self._bench, self._tape = RE, bench, tape
        self._armed = [{**hand, "left": hand["count"], "rng": random.Random(hand["seed"])} for hand in hands]
        self._in_pause: list[dict[str, Any]] = []
        if hands:
            RE.msg_hook = self._see
            bench.think = self._see_thought

    def act_in_pause(self) -> None:
        """What the hands do that waited for a pause."""
        while self._in_pause:
            self._push(self._in_pause.pop(), "pause")

    def _see(self, msg: Msg) -> None:
        for hand in self._armed:
            if COMMANDS.get(hand["when"]) == msg.command and self._counts(msg, hand["when"]):
                hand["left"] -= 1
                if hand["left"] == 0:
                    self._act(hand, msg)

    def _see_thought(self) -> None:
        for hand in self._armed:
            if hand["when"] == "think":
                hand["left"] -= 1
                if hand["left"] == 0:
                    self._push(hand, "think")

    def _counts(self, msg: Msg, when: str) -> bool:
        if when == "mid move":
            return msg.obj in self._bench.motors
        return when != "trigger" or msg.obj is self._bench.detector

    def _act(self, hand: dict[str, Any], msg: Msg) -> None:
        when = hand["when"]
        if when == "mid move":
            share = hand["rng"].uniform(0.1, 0.7)
            self._tape.put("hand", when=when, share=share)
            msg.obj.stop_next_move(share)  # the move of this message
        elif when == "pause":
            self._in_pause.append(hand)
            # The loop's own thread, which called us, must not wait for itself.
            threading.Thread(target=self._RE.request_pause, args=(True,), daemon=True).start()
        elif when == "suspend":
            threading.Thread(target=self._suspend, args=(hand,), daemon=True).start()
        else:
            self._push(hand, when)

    def _suspend(self, hand: dict[str, Any]) -> None:
        over: asyncio.Future[None] = asyncio.run_coroutine_threadsafe(_future(), self._RE.loop).result()

        def before() -> Any:
            self._push(hand, "suspend")
            self._RE.loop.call_soon(over.set_result, None)
            yield Msg("null")

        self._RE.request_suspend(over, pre_plan=before)

    def _push(self, hand: dict[str, Any], why: str) -> None:
        rng = hand["rng"]
        motor = rng.choice(self._bench.in_use)
        while True:
            to = rng.uniform(DOMAIN[0], min(DOMAIN[1], LIMIT))
            inside = BOX[0] - LEAST <= to <= BOX[1] + LEAST
            if not inside and abs(to - motor.true) >= LEAST:
                break
        motor.push(to, why)


async def _future() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()
