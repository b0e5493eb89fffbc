"""The seam between an agent's strategy and the numerics: what is observed, what is wanted, where to look.

An agent decides where to search and when to stop; a surrogate models the outcomes and maximises an acquisition function
within the box that it is given. Engines are exchanged behind `Surrogate` without touching an agent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ebl_autonomy.space import FloatArray, Limit, violation

__all__ = ["Diagnosis", "Goal", "InputLayout", "Observations", "SafetyLimits", "SearchRegion", "Surrogate"]


@dataclass(frozen=True)
class Observations:
    """Measured points.

    Attributes
    ----------
    X : FloatArray, shape (n, d)
        InputLayout, scaled to about the unit cube.
    Y : FloatArray, shape (n, m)
        Outcomes in their own units; NaN where the measurement was invalid.
    Yvar : FloatArray, shape (n, m)
        Variances of the measured values; NaN where unknown.
    past : int
        So many of them, the first, are of past experiments.
    """

    X: FloatArray
    Y: FloatArray
    Yvar: FloatArray
    past: int = 0

    def first(self, count: int) -> Observations:
        """The past, and the first `count` of the present."""
        stop = self.past + count
        return Observations(self.X[:stop], self.Y[:stop], self.Yvar[:stop], self.past)


@dataclass(frozen=True)
class InputLayout:
    """What the columns of X are.

    Attributes
    ----------
    searched : int
        The first ones: coordinates that are chosen, within about the unit cube.
    context : int
        Then so many that are measured, scaled likewise.
    clock : bool
        Then when a point was measured, in units of 50 measurements: what lies far back may no longer hold.
    pasts : int
        Last, for each past experiment, 1 for its points and 0 for all others.
    """

    searched: int
    context: int = 0
    clock: bool = False
    pasts: int = 0

    @property
    def dim(self) -> int:
        """Columns of X."""
        return self.searched + self.context + self.clock + self.pasts

    @property
    def clock_at(self) -> int | None:
        """Which column the clock is, if there is one."""
        return self.searched + self.context if self.clock else None

    @property
    def past_at(self) -> int:
        """The first column of past experiments."""
        return self.searched + self.context + self.clock


@dataclass(frozen=True)
class SafetyLimits:
    """Limits that may not be risked.

    Attributes
    ----------
    limits : tuple of (column, low, high)
        In the outcomes' units; an end may be infinite.
    sigmas : float
        So many standard deviations must lie between what is expected and the limit.
    max_length_scale : float
        The longest length scale that such an outcome may have: how far a measurement vouches for its neighbourhood.
    """

    limits: tuple[tuple[int, float, float], ...] = ()
    sigmas: float = 2.0
    max_length_scale: float = 0.2


@dataclass(frozen=True)
class Goal:
    """What is wanted of the outcomes.

    Attributes
    ----------
    objective : int
        Column of Y.
    sign : float
        +1 to maximise, -1 to minimise.
    limits : tuple of (column, low, high)
        Outcome constraints; an end may be infinite.
    factors : tuple of (column, power)
        Positive outcomes the product of whose powers is the objective, up to a constant; each is modelled alone. An
        surrogate may leave this out of account and model the objective itself.
    others : tuple of (column, sign)
        More objectives.
    reference : tuple of float
        Of several objectives, in their units: what is worse is worth nothing. Empty: taken from what was measured.
    """

    objective: int
    sign: float
    limits: tuple[tuple[int, float, float], ...] = ()
    factors: tuple[tuple[int, float], ...] = ()
    others: tuple[tuple[int, float], ...] = ()
    reference: tuple[float, ...] = ()

    @property
    def objectives(self) -> tuple[tuple[int, float], ...]:
        """All objectives as (column, sign)."""
        return ((self.objective, self.sign), *self.others)

    def violation(self, Y: FloatArray, told: np.ndarray | None = None) -> FloatArray:
        """How far rows of outcomes, shape (n, m), break the constraints: 0 if they hold, NaN counts as infinite.

        Only constraints on columns that are `told` of, shape (m,), count, if that is given. Each constraint's excess is
        measured in units of its bound, so that excesses of different outcomes add up.
        """
        limits = [limit for limit in self.limits if told is None or told[limit[0]]]
        return violation([Limit(low, high) for _, low, high in limits], Y[:, [column for column, _, _ in limits]])


@dataclass(frozen=True)
class SearchRegion:
    """Where to look.

    Attributes
    ----------
    low, high : FloatArray, shape (d,)
    fixed : dict of int to float
        InputLayout that are not chosen (contextual variables, the time, which experiment it is) and their values.
    near : FloatArray, shape (k, d), optional
        Points around which to look most closely; the middle of the box if not given.
    seconds : callable, optional
        What it costs to measure points of shape (k, d) next, or after a point of shape (d,) if one is given: seconds,
        shape (k,). The acquisition is then per second (Snoek et al. 2012, NeurIPS, "Practical Bayesian optimization of
        machine learning algorithms", section 3.2).
    project : callable, optional
        Points of shape (k, d) to the nearest ones that the motors can take, if not all of the region is such.
    """

    low: FloatArray
    high: FloatArray
    fixed: dict[int, float] = field(default_factory=dict)
    near: FloatArray | None = None
    seconds: Callable[[FloatArray, FloatArray | None], FloatArray] | None = None
    project: Callable[[FloatArray], FloatArray] | None = None


@dataclass(frozen=True)
class Diagnosis:
    """How well one outcome is modelled.

    Attributes
    ----------
    modelled_as : str
        ``"as it is"``, ``"by its square root"`` or ``"by its logarithm"``.
    noise : float
        Standard deviation of measurements about the model, in the outcome's unit.
    length_scales : FloatArray, shape (d,)
    rows : ndarray, shape (k,)
        Which observations of the present are valid.
    mean, std : FloatArray, shape (k,)
        What the model says of each without having seen it, in the outcome's unit (Rasmussen and Williams 2006,
        "Gaussian Processes for Machine RefitSchedule", section 5.4.2).
    pasts : tuple of float
        How far each past experiment correlates with the present.
    """

    modelled_as: str
    noise: float
    length_scales: FloatArray
    rows: np.ndarray
    mean: FloatArray
    std: FloatArray
    pasts: tuple[float, ...] = ()


class Surrogate(Protocol):
    """A model of the outcomes and an acquisition function over it.

    A surrogate is a pure function of the calls made to it: the same calls in the same order give the same answers, bit
    for bit.
    """

    version: str
    """Name and kind of the model, written with every decision."""
    outcomes: int
    fits_in_background: bool
    """Whether an heir may learn in another thread."""

    def clone(self) -> Surrogate:
        """A new surrogate with the same hyper-parameters and no data; it shares nothing with this one."""

    def fit(self, data: Observations) -> None:
        """Infer hyper-parameters from `data`, starting from the ones inferred before."""

    def condition_on(self, data: Observations) -> None:
        """Take `data` as what is known, with the hyper-parameters as they are."""

    def standardized_residuals(self, data: Observations) -> FloatArray:
        """By how many of its standard deviations the last observation lies off what was expected before it.

        Of each outcome, and last of validity; NaN where that is not known, infinite where the model cannot take it. Of
        the surrogate nothing but this may be asked until it is conditioned anew.

        Returns
        -------
        FloatArray, shape (m + 1,)
        """

    def predict(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Means and standard deviations, shape (k, m) each, in the outcomes' units, at points of shape (k, d)."""

    def predict_latent(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        """As `predict`, on the scale that the models see, on which what is expected is normal."""

    def length_scales(self, column: int) -> FloatArray:
        """Length scales of one outcome's model, shape (d,), in units of the inputs; infinite if an input has no say."""

    def diagnose(self, column: int) -> Diagnosis:
        """How well one outcome is modelled."""

    def expected(self, goal: Goal, box: SearchRegion) -> FloatArray:
        """What is expected of the observed points of the present under the box's fixed inputs, shape (n, objectives).

        Such that more is better, on the scale that the model sees; NaN where a limit is not expected to hold, or the
        measurement was invalid.
        """

    def propose(
        self, goal: Goal, box: SearchRegion, count: int, pending: FloatArray, seed: int
    ) -> tuple[FloatArray, FloatArray]:
        """Points to measure next.

        Parameters
        ----------
        goal : Goal
        box : SearchRegion
        count : int
        pending : FloatArray, shape (p, d)
            Points that are being measured.
        seed : int

        Returns
        -------
        X : FloatArray, shape (count, d)
        acquisition : FloatArray, shape (count,)
        """
