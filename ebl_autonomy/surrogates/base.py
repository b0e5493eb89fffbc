"""What an agent and a surrogate say to each other: observations, a goal, where to search, proposals.

The agent decides where to search and when to stop. The surrogate models the outcomes and maximises an acquisition
function within the region that it is given. An agent knows only the protocol `Surrogate`, so one surrogate can replace
another without a change to the agent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np

from ebl_autonomy.space import ROUNDING, FloatArray, Limit, violation

__all__ = ["Diagnosis", "Goal", "InputLayout", "Observations", "SafetyLimits", "SearchRegion", "Surrogate", "Suspect"]


@dataclass(frozen=True)
class Observations:
    """Measured points.

    Attributes
    ----------
    X : FloatArray, shape (n, d)
        Inputs, scaled to about the unit cube; see `InputLayout` for its columns.
    Y : FloatArray, shape (n, m)
        Outcomes in their own units; NaN where the measurement was invalid.
    Yvar : FloatArray, shape (n, m)
        Variances of the measured values; NaN where unknown.
    past : int
        The number of rows from past experiments. They come first.
    """

    X: FloatArray
    Y: FloatArray
    Yvar: FloatArray
    past: int = 0

    def first(self, count: int) -> Observations:
        """All rows from past experiments, and the first `count` rows of the present one."""
        stop = self.past + count
        return Observations(self.X[:stop], self.Y[:stop], self.Yvar[:stop], self.past)


@dataclass(frozen=True)
class InputLayout:
    """What the columns of X are, from left to right.

    Attributes
    ----------
    searched : int
        The number of coordinates that are chosen, within about the unit cube.
    context : int
        The number of inputs that are measured instead of chosen, scaled likewise.
    clock : bool
        Whether a column says when a point was measured, in units of 50 measurements. Points that were measured long
        ago may no longer hold.
    pasts : int
        The number of past experiments. Each has a column that is 1 for its own points and 0 for all others.
    categories : tuple of (column, spacing)
        The searched coordinates whose values have no order, such as the positions of a filter wheel, and the distance
        of neighbouring values. All values of such a coordinate are equally far from each other.
    """

    searched: int
    context: int = 0
    clock: bool = False
    pasts: int = 0
    categories: tuple[tuple[int, float], ...] = ()

    @property
    def dim(self) -> int:
        """The number of columns of X."""
        return self.searched + self.context + self.clock + self.pasts

    @property
    def clock_at(self) -> int | None:
        """The column of the clock; None if there is no clock."""
        return self.searched + self.context if self.clock else None

    @property
    def past_at(self) -> int:
        """The first column of past experiments."""
        return self.searched + self.context + self.clock

    def has_past(self, X: FloatArray) -> bool:
        """Whether any of the rows of X, shape (n, d), is of a past experiment."""
        return bool(X[:, self.past_at :].any())

    @cached_property
    def caps(self) -> FloatArray:
        """The largest distance that counts along each input, shape (d,): see `covariance`."""
        caps = np.full(self.dim, np.inf)
        for column, spacing in self.categories:
            # A little less than the spacing, because the distances of neighbouring values differ by rounding.
            caps[column] = (1.0 - ROUNDING) * spacing
        return caps

    @property
    def units(self) -> FloatArray:
        """The unit of each input's length scale, shape (d,): the domain, or the distance of two categories."""
        return np.where(np.isfinite(self.caps), self.caps, 1.0)


@dataclass(frozen=True)
class SafetyLimits:
    """Limits on outcomes that no proposal may risk to break.

    Attributes
    ----------
    limits : tuple of (column, low, high)
        In the outcomes' units; an end may be infinite.
    sigmas : float
        The number of standard deviations that must lie between the predicted mean and the limit.
    max_length_scale : float
        The longest length scale that the model of such an outcome may have. It bounds how far from a measurement a
        point may count as safe.
    """

    limits: tuple[tuple[int, float, float], ...] = ()
    sigmas: float = 2.0
    max_length_scale: float = 0.2


@dataclass(frozen=True)
class Goal:
    """What the experiment wants of the outcomes.

    Attributes
    ----------
    objective : int
        Column of Y.
    sign : float
        +1 to maximise, -1 to minimise.
    limits : tuple of (column, low, high)
        Outcome constraints; an end may be infinite.
    factors : tuple of (column, power)
        Positive outcomes of which the objective is the product, each to its power, up to a constant. Each factor is
        modelled alone. A surrogate may ignore this and model the objective itself.
    others : tuple of (column, sign)
        Further objectives.
    reference : tuple of float
        With several objectives, the worst value of each that is worth anything, in their units. If empty, it is taken
        from the measurements.
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

    def violation(self, Y: FloatArray, known: np.ndarray | None = None) -> FloatArray:
        """By how much rows of outcomes, in the order of measurement, break the constraints; see `space.violation`.

        Parameters
        ----------
        Y : FloatArray, shape (n, m)
        known : bool array, shape (m,), optional
            Outcomes whose constraints count; all if not given.

        Returns
        -------
        FloatArray, shape (n,)
            0 where all constraints hold, infinite where an outcome is NaN.
        """
        limits = [limit for limit in self.limits if known is None or known[limit[0]]]
        return violation([Limit(low, high) for _, low, high in limits], Y[:, [column for column, _, _ in limits]])


@dataclass(frozen=True)
class SearchRegion:
    """Where to search for the next point.

    Attributes
    ----------
    low, high : FloatArray, shape (d,)
        Opposite corners of a box.
    fixed : dict of int to float
        Inputs that are not chosen (contextual variables, the time, the experiment) and their values.
    near : FloatArray, shape (k, d), optional
        Points around which to search most closely; the middle of the region if not given.
    seconds : callable, optional
        ``seconds(X, after)`` is the time that it takes to measure each of the points X, shape (k, d), next, or after
        the point ``after``, shape (d,), unless that is None: seconds, shape (k,). The acquisition is then counted per
        second (Snoek et al. 2012, NeurIPS, "Practical Bayesian optimization of machine learning algorithms", section
        3.2).
    project : callable, optional
        Moves points, shape (k, d), to the nearest ones that the motors can reach, if they cannot reach all of the
        region.
    candidates : FloatArray, shape (k, d), optional
        The only points to choose from, if the region consists of single points.
    categories : dict of int to FloatArray
        Coordinates whose values have no order, by column, and all their values. Those within the box are searched one
        by one.
    reachable : bool array, shape (n,), optional
        Which observations of the present experiment may be the best so far; all if not given. The others are modelled.
    """

    low: FloatArray
    high: FloatArray
    fixed: dict[int, float] = field(default_factory=dict)
    near: FloatArray | None = None
    seconds: Callable[[FloatArray, FloatArray | None], FloatArray] | None = None
    project: Callable[[FloatArray], FloatArray] | None = None
    reachable: np.ndarray | None = None
    candidates: FloatArray | None = None
    categories: Mapping[int, FloatArray] = field(default_factory=dict)


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
        The observations of the present experiment that are valid.
    mean, std : FloatArray, shape (k,)
        Leave-one-out prediction of each of them, in the outcome's unit (Rasmussen and Williams 2006, "Gaussian
        Processes for Machine Learning", section 5.4.2).
    pasts : tuple of float
        The correlation of each past experiment with the present one.
    """

    modelled_as: str
    noise: float
    length_scales: FloatArray
    rows: np.ndarray
    mean: FloatArray
    std: FloatArray
    pasts: tuple[float, ...] = ()


@dataclass(frozen=True)
class Suspect:
    """A reading that the model of one outcome takes for an outlier.

    Attributes
    ----------
    row : int
        The observation of the present experiment.
    mean, std : float
        What all other readings predict, in the outcome's unit.
    sigmas : float
        The reading minus this prediction, in predicted standard deviations, on the latent scale.
    variance : float
        The extra variance that the model gives the reading, on the latent scale.
    """

    row: int
    mean: float
    std: float
    sigmas: float
    variance: float


class Surrogate(Protocol):
    """A model of the outcomes, and an acquisition function over it.

    A surrogate is a pure function of the calls made to it: the same calls in the same order give the same answers, bit
    for bit.
    """

    version: str
    """Name and kind of the model, written with every decision."""
    outcomes: int
    """The number of outcomes m."""
    fits_in_background: bool
    """Whether a clone may be fitted in another thread."""

    def clone(self) -> Surrogate:
        """A new surrogate with the same hyper-parameters and no data, which shares nothing with this one."""

    def fit(self, data: Observations) -> None:
        """Infer hyper-parameters from `data`, starting from the present ones."""

    def fit_in_steps(self, data: Observations) -> Iterator[float]:
        """The same as `fit`, in steps.

        Before each step, the iterator yields the seconds that it takes on a common processor. They are counted, not
        measured: the same data give the same steps on every machine.
        """

    def condition_on(self, data: Observations) -> None:
        """Compute the posterior given `data`, with the present hyper-parameters."""

    def standardized_residuals(self, data: Observations) -> FloatArray:
        """The last observation minus its prediction from the earlier ones, in units of the predicted deviation.

        After this call the surrogate must be conditioned again before anything else is asked of it.

        Returns
        -------
        FloatArray, shape (m + 1,)
            One for each outcome, then one for validity. NaN where it is unknown, infinite where the model cannot
            represent the value.
        """

    def predict(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Means and standard deviations, shape (k, m) each, in the outcomes' units, at points of shape (k, d)."""

    def predict_latent(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        """As `predict`, on the latent scale, on which predictions are normal distributions."""

    def latent_means(self, X: FloatArray, columns: Sequence[int]) -> FloatArray:
        """The means of `predict_latent`, shape (k, columns), of some outcomes; the variances would take much longer."""

    def length_scales(self, column: int) -> FloatArray:
        """Length scales of one outcome's model, shape (d,), in units of the inputs; infinite for an ignored input."""

    def diagnose(self, column: int) -> Diagnosis:
        """How well one outcome is modelled."""

    def columns(self, goal: Goal) -> list[int]:
        """The outcomes from whose models the objectives follow: the factors of a product, as long as they can be."""

    def suspects(self, column: int) -> tuple[Suspect, ...]:
        """The readings of one outcome that its model takes for outliers, in order; they hardly count."""

    def resolution(self, goal: Goal) -> float:
        """Standard deviation of one measurement of the first objective, on the latent scale; 0 if unknown."""

    def drift_evidence(self, column: int) -> float:
        """By how many nats a drift of one outcome makes its measurements more probable.

        Infinite if a drift is always modelled, minus infinity if it never is.
        """

    def expected(self, goal: Goal, region: SearchRegion) -> FloatArray:
        """The objectives expected at the observed points of the present experiment, with the region's fixed inputs.

        Returns
        -------
        FloatArray, shape (n, objectives)
            On the latent scale, signed so that more is better. NaN where a constraint is expected to be broken, where
            the measurement was invalid, or outside of the region's `reachable` observations.
        """

    def propose(
        self, goal: Goal, region: SearchRegion, count: int, pending: FloatArray, seed: int
    ) -> tuple[FloatArray, FloatArray]:
        """Points to measure next.

        Parameters
        ----------
        goal : Goal
        region : SearchRegion
        count : int
        pending : FloatArray, shape (p, d)
            Points that are being measured.
        seed : int

        Returns
        -------
        X : FloatArray, shape (count, d)
        acquisition : FloatArray, shape (count,)
        """
