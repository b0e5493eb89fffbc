"""The schedule of hyper-parameter fits, and the thread in which each fit runs.

A fit is due when the number of results has grown by a fifth, or when recent measurements are too improbable under the
model. A short fit runs at once. A long fit runs in a background thread during the next measurement and is adopted with
the next result. The surrogate is still a function of the results: a decision waits for a fit that it needs, and a
schedule that receives all results at once takes the same steps.
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
"""Growth factor of the number of results between scheduled fits."""
SURPRISE_GROWTH: Final = 1.05
"""Least growth factor before a surprise triggers a fit, because a fit does not explain every surprise."""
BACKGROUND_FROM: Final = 50
"""Number of observations from which a fit takes too long for a decision and runs in the background."""
DOUBLED: Final = (0.375, math.log(2.0))
"""Coefficients a, b of log N(z; 0, 2²) - log N(z; 0, 1) = a z² - b."""
SURPRISING: Final = 4.0
"""Log-likelihood ratio, in nats, in favour of residuals of twice the expected size that counts as a surprise."""


@dataclass(frozen=True)
class _BackgroundFit:
    """A fit to the first `size` results that runs in a background thread."""

    size: int
    surrogate: Future[Surrogate]
    process: int = field(default_factory=os.getpid)
    """Id of the process of the thread, because a forked process has no such thread."""


class RefitSchedule:
    """Keeps a surrogate up to date with the results.

    Parameters
    ----------
    surrogate : Surrogate
        An unfitted surrogate.
    observations : callable
        Maps ``(n, scaled_at)`` to the observations of the first n results, with inputs scaled by the first
        `scaled_at` results.
    first : int
        Number of results at the first fit.

    Attributes
    ----------
    surrogate : Surrogate
        The present surrogate.
    conditioned_on : int
        Number of results that the surrogate is conditioned on; -1 before the first.
    fitted_to : int
        Number of results that the hyper-parameters were fitted to; -1 before the first fit.
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
        return {**self.__dict__, "_background": None}  # a copy runs the fit itself

    def surrogate_of(self, n: int) -> Surrogate:
        """The surrogate conditioned on the first n results."""
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
        """Number of results that scale the inputs of a surrogate of n results: those of its latest fit."""
        return self.fitted_to if self.fitted_to >= 0 else n

    def _due(self, n: int) -> int | None:
        """Number of results at which the next fit is due; None if it is not due with n results."""
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
        """Restart the detection of surprises after the first `size` results."""
        self._watched, self._surprised = size, False
        self._evidence = np.zeros(self.surrogate.outcomes)

    def _is_surprising(self, data: Observations) -> bool:
        """Whether residuals are significantly larger than the model predicts, by the cumulative sum of Page 1954.

        Biometrika 41, 100, "Continuous inspection schemes": the sum of log-likelihood ratios, restarted at zero. The
        model of validity is excluded, because its labels are steps, which are improbable under any fit.
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
        """Adopt a surrogate that is fitted to the first `size` results."""
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
    """Fit and condition the surrogate; its factorisation takes as long as the fit and later grows by rows."""
    try:
        _fitted(surrogate, data).condition_on(data)
    except BaseException as error:  # noqa: BLE001 - raised again by the caller that needs the surrogate
        answer.set_exception(error)
    else:
        answer.set_result(surrogate)
