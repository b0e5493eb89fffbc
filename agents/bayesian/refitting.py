"""When hyper-parameters are inferred again, and in which thread.

They are inferred again when the number of results has grown by a fifth, and as soon as the measurements have become too
improbable. A short fit is made at once. A long one runs in a thread of its own during the next measurement, and is
adopted with the next result. Which surrogate answers is a function of the results all the same: a decision waits for a
fit that it needs, and a schedule that is given all results at once takes the same steps.
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

__all__ = ["BACKGROUND_FROM", "RefitSchedule"]

GROWTH: Final = 1.2
"""By what factor the number of results grows from one scheduled fit to the next."""
SURPRISE_GROWTH: Final = 1.05
"""By what factor it must have grown before a surprise leads to a fit: some things cannot be learned."""
BACKGROUND_FROM: Final = 50
"""From how many observations on a fit takes longer than a decision may."""
DOUBLED: Final = (0.375, math.log(2.0))
"""log N(z; 0, 2²) - log N(z; 0, 1) is the first times z² minus the second."""
SURPRISING: Final = 4.0
"""How many nats more probable residuals of twice the expected size must be."""


@dataclass(frozen=True)
class _BackgroundFit:
    """A fit to the first `size` results that runs in another thread."""

    size: int
    surrogate: Future[Surrogate]
    process: int = field(default_factory=os.getpid)
    """Where it runs: a copy of the process has no such thread."""


class RefitSchedule:
    """A surrogate that is kept up to date.

    Parameters
    ----------
    surrogate : Surrogate
        Not fitted yet.
    observations : callable
        ``(n, scaled_at)`` to what was known when there were n results, scaled as when there were `scaled_at`.
    first : int
        How many results there are at the first fit.

    Attributes
    ----------
    surrogate : Surrogate
        The one that answers now.
    conditioned_on : int
        How many results it knows; -1 if there is no model yet.
    fitted_to : int
        How many results its hyper-parameters were inferred from; -1 if they were not yet.
    """

    def __init__(self, surrogate: Surrogate, observations: Callable[[int, int], Observations], first: int) -> None:
        self.surrogate = surrogate
        self.conditioned_on = -1
        self.fitted_to = -1
        self._observations = observations
        self._first = first
        self._background: _BackgroundFit | None = None
        self._watched = 0
        self._surprised = False
        self._evidence: FloatArray = np.zeros(surrogate.outcomes)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_background": None}  # a copy makes the fit itself

    def surrogate_of(self, n: int) -> Surrogate:
        """The surrogate that knows the first n results."""
        if self.conditioned_on == n:
            return self.surrogate
        while (due := self._due(n)) is not None:
            data = self._observations(due, due)
            if due == n and len(data.X) >= BACKGROUND_FROM and self.surrogate.fits_in_background:
                self._start_in_background(due, data)
                break
            self._adopt(due, data)
        self.surrogate.condition_on(self._observations(n, self.scaled_at(n)))
        self.conditioned_on = n
        return self.surrogate

    def scaled_at(self, n: int) -> int:
        """How many results the inputs are scaled by, of a surrogate that knows n: those that it was fitted to."""
        return self.fitted_to if self.fitted_to >= 0 else n

    def _due(self, n: int) -> int | None:
        """How many results there were when the next fit became due; None if it has not."""
        if self.fitted_to < 0:
            scheduled = self._first
        else:
            scheduled = max(math.ceil(self.fitted_to * GROWTH), self.fitted_to + 1)
            earliest = max(math.ceil(self.fitted_to * SURPRISE_GROWTH), self.fitted_to + 1)
            while not self._surprised and self._watched < min(scheduled - 1, n):
                size = self._watched + 1
                surprising = self._is_surprising(self._observations(size, self.fitted_to))
                self._watched, self._surprised = size, surprising and size >= earliest
            if self._surprised:
                return self._watched
        return scheduled if scheduled <= n else None

    def _watch_from(self, size: int) -> None:
        """Look out for surprises among the results after the first `size`."""
        self._watched, self._surprised = size, False
        self._evidence = np.zeros(self.surrogate.outcomes)

    def _is_surprising(self, data: Observations) -> bool:
        """Whether residuals have become larger than the model says, by the cumulative sums of Page 1954.

        Biometrika 41, 100, "Continuous inspection schemes": of log-likelihood ratios, restarted at zero. Validity is
        left out: its labels are steps, which no fit makes probable.
        """
        slope, offset = DOUBLED
        z2 = self.surrogate.standardized_residuals(data)[:-1] ** 2
        self._evidence = np.maximum(self._evidence + np.where(np.isnan(z2), 0.0, slope * z2 - offset), 0.0)
        return bool(self._evidence.max() > SURPRISING)

    def _start_in_background(self, size: int, data: Observations) -> None:
        if self._background is not None and self._background.size == size:
            return
        copy, answer = self.surrogate.clone(), Future[Surrogate]()
        threading.Thread(target=_fit_in_background, args=(copy, data, answer), name="ebl-autonomy-refit").start()
        self._background = _BackgroundFit(size, answer)

    def _adopt(self, size: int, data: Observations) -> None:
        """Let a surrogate that was fitted to the first `size` results answer from now on."""
        background, self._background = self._background, None
        if background is not None and background.size == size and background.process == os.getpid():
            self.surrogate = background.surrogate.result()
        else:
            self.surrogate = _fitted(self.surrogate.clone(), data)
        self.fitted_to = size
        self._watch_from(size)


def _fitted(surrogate: Surrogate, data: Observations) -> Surrogate:
    if ((~np.isnan(data.Y)).sum(axis=0) >= 2).all():
        surrogate.fit(data)
    return surrogate


def _fit_in_background(surrogate: Surrogate, data: Observations, answer: Future[Surrogate]) -> None:
    """Fit, and make the factors, which take as long as the fit and grow by rows from then on."""
    try:
        _fitted(surrogate, data).condition_on(data)
    except BaseException as error:  # noqa: BLE001 - it is raised where the surrogate is asked for
        answer.set_exception(error)
    else:
        answer.set_result(surrogate)
