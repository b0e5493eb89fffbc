"""The schedule of hyper-parameter fits.

A fit is due when the number of results has grown by a fifth, or when recent measurements are too improbable under the
model. A short fit is made at once. A long fit runs in a background thread (see `fit_under_way`) during the next
measurements, and is adopted after as many results as its counted work takes. The surrogate is still a function of the
results: a decision waits for what is due by then, and a schedule that receives all results at once arrives at the same
surrogate.

From `FIRST_FRESH` results on, some fits are fresh: they are due at fixed sizes and start from nothing. What came before
them has no influence, so a schedule that receives all results at once begins with the last of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from ebl_autonomy.agents.bayesian.fit_under_way import FitUnderWay
from ebl_autonomy.space import FloatArray
from ebl_autonomy.surrogates.base import Observations, Surrogate

__all__ = ["BACKGROUND_FROM", "FIRST_FRESH", "RefitSchedule"]

GROWTH: Final = 1.2
"""Growth factor of the number of results between scheduled fits."""
SURPRISE_GROWTH: Final = 1.05
"""Least growth factor before a surprise triggers a fit, because a fit does not explain every surprise."""
FIRST_FRESH: Final = 100
"""Number of results of the first fresh fit."""
FRESH_GROWTH: Final = 1.4
"""Growth factor of the number of results between fresh fits."""
RESULTS_PER_SLICE: Final = 10
"""Number of results for each slice that a fit may have, so that a fit is adopted long before the next one is due; the
first fit has one slice, because any model is better than none."""
RESULTS_PER_LAG: Final = 20
"""Number of results, beyond `BACKGROUND_FROM`, for each result that a fit waits before its first slice is due. In a
batch, many results come at once, and a fit that became due among them has made nothing yet."""
BACKGROUND_FROM: Final = 50
"""Number of observations from which a fit takes too long for a decision and runs in the background."""
DOUBLED: Final = (0.375, math.log(2.0))
"""Coefficients a, b of log N(z; 0, 2²) - log N(z; 0, 1) = a z² - b."""
SURPRISING: Final = 4.0
"""Log-likelihood ratio, in nats, in favour of residuals of twice the expected size that counts as a surprise."""


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
    slice_s : float
        Counted seconds of a long fit between two results.
    each : int
        Number of results up to which each is followed by a fit.

    Attributes
    ----------
    surrogate : Surrogate
        The present surrogate.
    conditioned_on : int
        Number of results that the surrogate is conditioned on; -1 before the first.
    fitted_to : int
        Number of results that the hyper-parameters were fitted to; -1 before the first fit.
    """

    def __init__(
        self,
        surrogate: Surrogate,
        observations: Callable[[int, int], Observations],
        first: int,
        slice_s: float = math.inf,
        each: int = 0,
    ) -> None:
        self.surrogate = surrogate
        self.conditioned_on = -1
        self.fitted_to = -1
        self._unfitted = surrogate.clone()
        self._observations = observations
        self._first = first
        self._slice_s = slice_s
        self._each = each
        self._at = -1
        """Number of results up to which the schedule has been followed."""
        self._begun: tuple[int, int] | None = None
        """Of the fit under way, the number of results that it is made to, and that at which it began."""
        self._under_way: FitUnderWay | None = None
        self._watched = 0
        self._surprised = False
        self._evidence: FloatArray = np.zeros(surrogate.outcomes)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_under_way": None}  # a copy makes the fit itself

    def surrogate_of(self, n: int) -> Surrogate:
        """The surrogate conditioned on the first n results."""
        if self.conditioned_on == n:
            return self.surrogate
        if self._at < 0:
            self._begin_with_the_last_fresh_fit(n)
        for at in range(self._at + 1, n + 1):
            self._follow(at)
            self._at = at
        if self._begun is not None:
            self._fit_under_way().run_in_background()
        self.surrogate.condition_on(self._observations(n, self.scaled_at(n)))
        self.conditioned_on = n
        return self.surrogate

    def scaled_at(self, n: int) -> int:
        """Number of results that scale the inputs of a surrogate of n results: those of its latest fit."""
        return self.fitted_to if self.fitted_to >= 0 else n

    # -- the schedule ------------------------------------------------------------------------------------------

    def _follow(self, at: int) -> None:
        """Begin and adopt all fits that are due with `at` results."""
        if self._is_fresh(at):
            self._begin(at, at)
        while True:
            if self._begun is None:
                due = self._due(at)
                if due is None:
                    return
                self._begin(due, at)
            assert self._begun is not None
            size, began = self._begun
            if not self._fit_under_way().ended_after(at - began):
                return
            self._adopt(size, at)

    def _begin_with_the_last_fresh_fit(self, n: int) -> None:
        """Make the last fresh fit that is adopted by n results; without one, follow the schedule from the start."""
        for size in reversed(list(self._fresh_sizes(n))):
            self._begin(size, size)
            under_way = self._fit_under_way()
            if under_way.ended_after(n - size):
                self._at = size + under_way.results - 1
                return
        self._begun, self._under_way = None, None

    def _fresh_sizes(self, n: int) -> Iterator[int]:
        """Numbers of results, up to n, at which a fit is fresh."""
        size = float(FIRST_FRESH)
        while round(size) <= n:
            if round(size) > self._first:
                yield round(size)
            size *= FRESH_GROWTH

    def _is_fresh(self, size: int) -> bool:
        return size >= FIRST_FRESH and size in self._fresh_sizes(size)

    def _due(self, n: int) -> int | None:
        """Number of results at which the next fit is due; None if it is not due with n results."""
        if self.fitted_to < 0:
            scheduled = self._first
        else:
            growth = GROWTH if self.fitted_to >= self._each else 1.0
            scheduled = max(math.ceil(self.fitted_to * growth), self.fitted_to + 1)
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

    # -- the fit under way -------------------------------------------------------------------------------------

    def _begin(self, size: int, at: int) -> None:
        """Begin a fit to the first `size` results with `at` results; one that is under way is given up."""
        if self._under_way is not None:
            self._under_way.give_up()
        self._begun, self._under_way = (size, at), None

    def _fit_under_way(self) -> FitUnderWay:
        """The fit under way; a copy of this schedule begins it again."""
        assert self._begun is not None
        if self._under_way is None or not self._under_way.usable:
            size, _ = self._begun
            before = self._unfitted if self._is_fresh(size) else self.surrogate
            data = self._observations(size, size)
            most = max(size // RESULTS_PER_SLICE, 1) if self.fitted_to >= 0 or self._is_fresh(size) else 1
            lag = max(size - BACKGROUND_FROM, 0) // RESULTS_PER_LAG
            if len(data.X) < BACKGROUND_FROM or not before.fits_in_background:
                most = lag = 0
            self._under_way = FitUnderWay(before.clone(), data, self._slice_s, most, lag)
        return self._under_way

    def _adopt(self, size: int, at: int) -> None:
        """Adopt, with `at` results, the surrogate that is fitted to the first `size` results."""
        self.surrogate = self._fit_under_way().result()
        self._begun, self._under_way = None, None
        self.fitted_to = size
        self._watch_from(max(size, at - 1))  # to watch all results since then would take long in one decision
