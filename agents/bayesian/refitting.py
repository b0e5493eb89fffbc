"""When hyper-parameters are inferred again, and on whose time.

They are when the number of results has grown by a fifth, and as soon as what is measured has become too improbable. A
short fit is made at once; a long one is made beside the measurement that follows, and its outcome is adopted with the
next result. Which surrogate answers is a pure function of the results all the same, because a decision waits for a fit
that it needs; one that is told all results at once takes the same steps.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from ebl_autonomy.space import FloatArray
from ebl_autonomy.surrogates.base import Observations, Surrogate

__all__ = ["RefitSchedule"]

GROWTH: Final = 1.2
ASIDE_FROM: Final = 50
"""From so many observations on a fit takes longer than a decision may."""
REST: Final = 1.05
"""What seems improbable is learned when the number of results has grown by this factor: some things cannot be learned.
"""
DOUBLED: Final = (0.375, math.log(2.0))
"""log N(z; 0, 2²) - log N(z; 0, 1) is the first times z² minus the second."""
ALARM: Final = 4.0
"""So many nats more probable must residuals of twice the expected size be."""


@dataclass(frozen=True)
class _Aside:
    """A fit to so many results that goes on in another thread."""

    size: int
    surrogate: Future[Surrogate]
    process: int = field(default_factory=os.getpid)
    """Where it goes on: a copy of the process has no such thread."""


class RefitSchedule:
    """A surrogate that is kept up to date.

    Parameters
    ----------
    surrogate : Surrogate
        That has learned nothing yet.
    observations : callable
        ``(n, scaled_at)`` to what was known when there were n results, scaled as when there were so many.
    first : int
        So many results there are at the first fit.

    Attributes
    ----------
    surrogate : Surrogate
        The one that answers now.
    conditioned : int
        How many results it is conditioned on; -1 if there is no model yet.
    """

    def __init__(self, surrogate: Surrogate, observations: Callable[[int, int], Observations], first: int) -> None:
        self.surrogate = surrogate
        self.conditioned = -1
        self._observations = observations
        self._first = first
        self._learned = -1
        self._begin(0)
        self._aside: _Aside | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_aside": None}  # a copy makes the fit itself

    def _begin(self, size: int) -> None:
        self._examined, self._alarmed = size, False
        self._evidence: FloatArray = np.zeros(self.surrogate.outcomes)

    def bring_to(self, n: int) -> Surrogate:
        """The surrogate, conditioned on the first n results."""
        if self.conditioned == n:
            return self.surrogate
        while (due := self._due(n)) is not None:
            data = self._observations(due, due)
            if due == n and len(data.X) >= ASIDE_FROM and self.surrogate.fits_in_background:
                self._start_aside(due, data)
                break
            self._adopt(due, data)
        self.surrogate.condition_on(self._observations(n, self.scaled_at(n)))
        self.conditioned = n
        return self.surrogate

    def scaled_at(self, n: int) -> int:
        """How many results the inputs of a surrogate that knows n of them are scaled by: those it has learned from."""
        return self._learned if self._learned >= 0 else n

    def _due(self, n: int) -> int | None:
        """How many results there were when the next fit became due, if it has."""
        if self._learned < 0:
            scheduled = self._first
        else:
            scheduled = max(math.ceil(self._learned * GROWTH), self._learned + 1)
            rested = max(math.ceil(self._learned * REST), self._learned + 1)
            while not self._alarmed and self._examined < min(scheduled - 1, n):
                size = self._examined + 1
                improbable = self._improbable(self._observations(size, self._learned))
                self._examined, self._alarmed = size, improbable and size >= rested
            if self._alarmed:
                return self._examined
        return scheduled if scheduled <= n else None

    def _improbable(self, data: Observations) -> bool:
        """Whether residuals have become larger than the model says, by the cumulative sums of Page 1954.

        Biometrika 41, 100, "Continuous inspection schemes": of log-likelihood ratios, restarted at zero. Validity is
        left out: its labels are steps, which no fit makes probable.
        """
        slope, offset = DOUBLED
        z2 = self.surrogate.standardized_residuals(data)[:-1] ** 2
        self._evidence = np.maximum(self._evidence + np.where(np.isnan(z2), 0.0, slope * z2 - offset), 0.0)
        return bool(self._evidence.max() > ALARM)

    def _start_aside(self, size: int, data: Observations) -> None:
        if self._aside is not None and self._aside.size == size:
            return
        heir, found = self.surrogate.clone(), Future[Surrogate]()
        threading.Thread(target=_prepare, args=(heir, data, found), name="ebl-autonomy-learning").start()
        self._aside = _Aside(size, found)

    def _adopt(self, size: int, data: Observations) -> None:
        aside, self._aside = self._aside, None
        if aside is not None and aside.size == size and aside.process == os.getpid():
            self.surrogate = aside.surrogate.result()
        else:
            self.surrogate = _fitted(self.surrogate.clone(), data)
        self._learned = size
        self._begin(size)


def _fitted(surrogate: Surrogate, data: Observations) -> Surrogate:
    if ((~np.isnan(data.Y)).sum(axis=0) >= 2).all():
        surrogate.fit(data)
    return surrogate


def _prepare(surrogate: Surrogate, data: Observations, found: Future[Surrogate]) -> None:
    """Learn, and make the factors, which take as long as the fit and grow by rows from then on."""
    try:
        _fitted(surrogate, data).condition_on(data)
    except BaseException as error:  # noqa: BLE001 - it is raised where the surrogate is asked for
        found.set_exception(error)
    else:
        found.set_result(surrogate)
