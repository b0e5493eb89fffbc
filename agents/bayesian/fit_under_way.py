"""One hyper-parameter fit in slices of counted work, one for each result, which a background thread may make."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from typing import Final

import numpy as np

from ebl_autonomy.surrogates.base import Observations, Surrogate

__all__ = ["FitUnderWay"]

FACTOR_S: Final = 5e-11
"""Seconds that a factorisation takes on a common processor, for each outcome and by the cube of the observations."""


class FitUnderWay:
    """A fit that takes a number of results, which depends on the data alone: a lag, then one result for each slice.

    A thread does not pause between slices. They only say how far the fit has come for the schedule.

    Parameters
    ----------
    surrogate : Surrogate
        A surrogate that nothing else uses, with the hyper-parameters at which the fit starts.
    data : Observations
    slice_s : float
        Counted seconds of a slice. A slice has at least one step of the fit, so it may be longer.
    most : int
        Largest number of slices; the last one makes all that is left. With 0, the fit has no slices: it is made as a
        whole when it is asked for.
    lag : int
        Number of results before the first slice is due.
    """

    def __init__(self, surrogate: Surrogate, data: Observations, slice_s: float, most: int, lag: int) -> None:
        self._slices, self._lag = 0, lag
        self._surrogate, self._data, self._slice_s, self._most = surrogate, data, slice_s, most
        self._steps = self._work()
        self._announced: float | None = None
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._running = self._ended = self._given_up = False
        self._error: BaseException | None = None
        self._has_raised = False

    @property
    def usable(self) -> bool:
        """False after an error, and in a forked process, which does not have the thread."""
        return self._process == os.getpid() and not self._has_raised

    @property
    def results(self) -> int:
        """Number of results that the fit takes; requires that it has ended."""
        return self._lag + self._slices

    def ended_after(self, results: int) -> bool:
        """Whether the fit takes this number of results at most; makes its slices, or waits for the thread.

        Raises
        ------
        Exception
            Whatever the surrogate raised in these slices.
        """
        slices = results - self._lag
        with self._changed:
            self._changed.wait_for(lambda: not self._running or self._ended or self._slices >= slices)
        while not self._ended and not self._running and (self._slices < slices or self._most == 0):
            self._make_slice()
        if self._slices > slices or not self._ended:
            return False
        if self._error is not None:
            self._has_raised = True
            raise self._error
        return True

    def result(self) -> Surrogate:
        """The fitted surrogate; requires that the fit has ended."""
        return self._surrogate

    def run_in_background(self) -> None:
        """Make all slices that are left in a thread."""
        if self._running or self._ended:
            return
        self._running = True
        threading.Thread(target=self._run, name="ebl-autonomy-refit").start()

    def give_up(self) -> None:
        """End the thread after its present slice; the fit is of no use any more."""
        self._given_up = True

    def _run(self) -> None:
        while not self._ended and not self._given_up:
            self._make_slice()

    def _make_slice(self) -> None:
        left = self._slice_s if self._slices + 1 < self._most else math.inf
        error: BaseException | None = None
        try:
            if self._announced is None:
                self._announced = next(self._steps)
            while True:
                left -= self._announced
                self._announced = next(self._steps)  # makes the step that was announced before
                if self._announced > left:
                    break
            ended = False
        except StopIteration:
            ended = True
        except BaseException as raised:  # noqa: BLE001 - raised again by the caller that needs the surrogate
            ended, error = True, raised
        with self._changed:
            self._slices += self._most > 0
            self._ended, self._error = ended, error
            self._changed.notify_all()

    def _work(self) -> Iterator[float]:
        """All steps of the fit, each announced by its seconds: hyper-parameters, then the factors."""
        data = self._data
        if ((~np.isnan(data.Y)).sum(axis=0) >= 2).all():
            yield from self._surrogate.fit_in_steps(data)
        if self._most == 0:
            return  # the caller needs the factors of more results
        # A factor takes as long as the fit, and later grows by rows: so it is made here, block by block.
        before, n = 0, len(data.X)
        while before < n:
            block_s = min(self._slice_s / (FACTOR_S * self._surrogate.outcomes), float(n) ** 3)
            rows = max(min(round((before**3 + block_s) ** (1.0 / 3.0)), n), before + 1)
            if rows > data.past and np.isfinite(data.Y[data.past : rows]).any(axis=0).all():
                yield FACTOR_S * self._surrogate.outcomes * (rows**3 - before**3)
                self._surrogate.condition_on(data.first(rows - data.past))
            before = rows
