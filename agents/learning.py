"""When hyper-parameters are inferred again, and on whose time.

They are when the number of results has grown by a fifth, and as soon as what is measured has become too improbable. A
short fit is made at once; a long one is made beside the measurement that follows, and its outcome is adopted with the
next result. Which engine answers is a pure function of the results all the same, because a decision waits for a fit
that it needs; one that is told all results at once takes the same steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from ebl_autonomy.models.engine import Engine, Observations
from ebl_autonomy.space import FloatArray

__all__ = ["Learning"]

GROWTH: Final = 1.2
ASIDE_FROM: Final = 50
"""From so many results on a fit takes longer than a decision may."""
DOUBLED: Final = (0.375, math.log(2.0))
"""log N(z; 0, 2²) - log N(z; 0, 1) is the first times z² minus the second."""
ALARM: Final = 4.0
"""So many nats more probable must residuals of twice the expected size be."""


@dataclass(frozen=True)
class _Aside:
    """A fit that goes on in another thread."""

    size: int
    engine: Future[Engine]


class Learning:
    """An engine that is kept up to date.

    Parameters
    ----------
    engine : Engine
        That has learned nothing yet.
    observations : callable
        What was known when there were so many results.
    first : int
        So many results there are at the first fit.
    """

    def __init__(self, engine: Engine, observations: Callable[[int], Observations], first: int) -> None:
        self.engine = engine
        self._observations = observations
        self._first = first
        self._learned = self._conditioned = -1
        self._begin(0)
        self._aside: _Aside | None = None
        self._pool: ThreadPoolExecutor | None = None

    def _begin(self, size: int) -> None:
        self._examined, self._alarmed = size, False
        self._evidence: FloatArray = np.zeros(self.engine.outcomes + 1)

    def bring_to(self, n: int) -> Engine:
        """The engine, conditioned on the first n results."""
        if self._conditioned == n:
            return self.engine
        while (due := self._due(n)) is not None:
            if due == n and due >= ASIDE_FROM and self.engine.learns_aside:
                self._start_aside(due)
                break
            self._adopt(due)
        self.engine.condition(self._observations(n))
        self._conditioned = n
        return self.engine

    @property
    def conditioned(self) -> int:
        """How many results the engine is conditioned on; -1 if there is no model yet."""
        return self._conditioned

    def outdated(self) -> None:
        """There are results that the engine does not know."""
        self._conditioned = -1

    def _due(self, n: int) -> int | None:
        """How many results there were when the next fit became due, if it has."""
        if self._learned < 0:
            scheduled = self._first
        else:
            scheduled = max(math.ceil(self._learned * GROWTH), self._learned + 1)
            while not self._alarmed and self._examined < min(scheduled - 1, n):
                self._examined += 1
                self._alarmed = self._improbable(self._observations(self._examined))
            if self._alarmed:
                return self._examined
        return scheduled if scheduled <= n else None

    def _improbable(self, data: Observations) -> bool:
        """Whether residuals have become larger than the model says, by the cumulative sums of Page 1954.

        Biometrika 41, 100, "Continuous inspection schemes": of log-likelihood ratios, restarted at zero.
        """
        slope, offset = DOUBLED
        z2 = self.engine.surprises(data) ** 2
        self._evidence = np.maximum(self._evidence + np.where(np.isnan(z2), 0.0, slope * z2 - offset), 0.0)
        return bool(self._evidence.max() > ALARM)

    def _start_aside(self, size: int) -> None:
        if self._aside is not None and self._aside.size == size:
            return
        self._pool = self._pool or ThreadPoolExecutor(1, thread_name_prefix="ebl-autonomy-learning")
        heir, data = self.engine.heir(), self._observations(size)
        self._aside = _Aside(size, self._pool.submit(_prepared, heir, data))

    def _adopt(self, size: int) -> None:
        aside, self._aside = self._aside, None
        if aside is not None and aside.size == size:
            self.engine = aside.engine.result()
        else:
            self.engine = _taught(self.engine.heir(), self._observations(size))
        self._learned = size
        self._begin(size)


def _taught(engine: Engine, data: Observations) -> Engine:
    if ((~np.isnan(data.Y)).sum(axis=0) >= 2).all():
        engine.learn(data)
    return engine


def _prepared(engine: Engine, data: Observations) -> Engine:
    """Factors take as long as the fit, and grow by rows from then on."""
    _taught(engine, data).condition(data)
    return engine
