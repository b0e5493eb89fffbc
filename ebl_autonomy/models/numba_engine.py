"""The engine that decides in milliseconds: exact Gaussian processes and log EI, compiled by numba.

The model is botorch's: Matérn-5/2 with one length scale for each input, log-normal priors scaled with the dimension
(Hvarfner et al. 2024, ICML), inferred or given noise, a constant mean, on outcomes of mean 0 and variance 1. What is
different is the cost. A new observation adds a row to the inverse factor instead of a new factorisation;
hyper-parameters start from the ones before; and nothing between the observations and the proposal is interpreted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from scipy.stats import qmc

from ebl_autonomy.models import acquisition, kernels
from ebl_autonomy.models.engine import Box, Goal, Observations
from ebl_autonomy.models.transforms import POWERS, OutcomeTransform
from ebl_autonomy.space import FloatArray

__all__ = ["NumbaEngine"]

VALIDITY_NOISE: Final = 1e-2
"""Variance of the labels of the validity model: a valid point once may be invalid the next time."""
NOISE_PRIOR: Final = (-4.0, 1.0)
FIT_POINTS: Final = 400
"""Hyper-parameters are inferred from so many observations at most: the latest half, and others evenly from the rest."""
FIT_ITERATIONS: Final = 30
CHOOSE_GROWTH: Final = 1.4
"""The power of an outcome's transform is chosen again when its values have grown by this factor."""
SCREENED: Final = 512
KEPT: Final = 32
CLIMBERS: Final = 4
CLIMB_WORK: Final = 4_000_000
"""Climbing takes so many multiplications at most, within 8 to 30 iterations."""


@dataclass
class _Model:
    """One outcome: its data as the model sees them, its hyper-parameters, its factor."""

    theta: FloatArray | None = None
    """Logarithms of length scales and noise variance, shape (d + 1,); None before the first fit."""
    learned: OutcomeTransform | None = None
    """The transform that they were inferred with."""
    transform: OutcomeTransform = field(default_factory=lambda: OutcomeTransform(1.0, 0.0, 1.0))
    """The one that is in use: the learned one, unless it cannot take what was measured since."""
    chosen_at: int = 0
    """How many values the power of the transform was chosen from."""
    rows: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=int))
    n: int = 0
    factored: int = 0
    """Rows of the factor that hold with the present hyper-parameters."""
    mean: float = 0.0
    log_determinant: float = 0.0


class NumbaEngine:
    """See the module, and `ebl_autonomy.models.Engine`.

    Parameters
    ----------
    dim : int
        Inputs d.
    outcomes : int
        Outcomes m.
    kernel : {"matern52", "rbf"}
    logarithms : sequence of int
        Outcomes that are modelled by their logarithms as long as all values are positive.
    """

    version = "numba/matern52+logEI"
    _warm = False

    def __init__(self, dim: int, outcomes: int, *, kernel: str = "matern52", logarithms: Sequence[int] = ()) -> None:
        self._logarithms = frozenset(logarithms)
        self.dim = dim
        self.outcomes = outcomes
        self._kind = {"matern52": kernels.MATERN52, "rbf": kernels.RBF}[kernel]
        self._scale_prior = (math.sqrt(2.0) + 0.5 * math.log(dim), math.sqrt(3.0))
        self._low = np.log(np.array([kernels.SCALE_BOUNDS[0]] * dim + [kernels.NOISE_BOUNDS[0]]))
        self._high = np.log(np.array([kernels.SCALE_BOUNDS[1]] * dim + [kernels.NOISE_BOUNDS[1]]))
        self._models = [_Model() for _ in range(outcomes + 1)]
        self._data: Observations | None = None
        self._used = outcomes
        """How many models count: the last, of validity, only if something was invalid."""
        columns = outcomes + 1
        self._X = np.zeros((columns, 0, dim))
        self._y, self._noise, self._alpha = np.zeros((3, columns, 0))
        self._W = np.zeros((columns, 0, 0))
        self._inverse_scales = np.ones((columns, dim))
        self._reserve(32)
        if not NumbaEngine._warm:
            NumbaEngine._warm = True
            _warm_up()

    def _reserve(self, rows: int) -> None:
        """Make room for so many observations; what is there stays."""
        columns, there = self._y.shape
        if rows <= there:
            return
        rows = max(rows, int(1.5 * there))
        for name, shape in (("X", (self.dim,)), ("y", ()), ("noise", ()), ("alpha", ()), ("W", (rows,))):
            grown = np.zeros((columns, rows, *shape))
            old = getattr(self, f"_{name}")
            grown[(slice(None), slice(there), *(slice(n) for n in old.shape[2:]))] = old
            setattr(self, f"_{name}", grown)

    # -- learning ----------------------------------------------------------------------------------------------

    def learn(self, data: Observations) -> None:
        """Infer hyper-parameters by maximum a posteriori, warm-started; see `Engine.learn`."""
        for column, model in enumerate(self._models):
            rows, y, variance = self._of_column(data, column)
            if not len(rows):
                continue
            fits = OutcomeTransform.fits(y)
            powers: tuple[float, ...] = (model.learned.power if model.learned is not None and fits else 1.0,)
            if len(y) >= CHOOSE_GROWTH * model.chosen_at:
                powers = POWERS if column < self.outcomes and fits else (1.0,)
                powers = (0.0,) if column in self._logarithms and fits else powers
                model.chosen_at = len(y)
            # The transform belongs to the hyper-parameters: both hold until the next fit.
            least = math.inf
            start = model.theta if model.theta is not None else self._mode()
            for power in powers:
                transform = OutcomeTransform.of(y, power)
                theta, reached = self._fit(column, transform, start, data.X[rows], y, variance)
                if math.isfinite(reached) and np.isfinite(theta).all() and reached < least:
                    least, model.theta, model.learned = reached, theta, transform
            model.factored = 0

    def _fit(
        self,
        column: int,
        transform: OutcomeTransform,
        start: FloatArray,
        X: FloatArray,
        y: FloatArray,
        variance: FloatArray,
    ) -> tuple[FloatArray, float]:
        """Hyper-parameters, and minus the logarithm of how probable they make the values as they were measured."""
        chosen = _subset(len(y))
        theta = np.clip(start, self._low, self._high)
        noise = self._known_noise(column, transform, y, variance)
        given = noise[chosen] if noise is not None else np.full(len(chosen), math.nan)
        reached = kernels.fit(
            theta,
            np.ascontiguousarray(X[chosen]),
            np.ascontiguousarray(transform.forward(y)[chosen]),
            given,
            self._kind,
            self._scale_prior,
            NOISE_PRIOR,
            self._low,
            self._high,
            FIT_ITERATIONS,
        )
        return theta, reached - transform.log_slopes(y[chosen])

    def condition(self, data: Observations) -> None:
        """See `Engine.condition`."""
        self._data = data
        self._reserve(len(data.X))
        self._used = self.outcomes
        for column, model in enumerate(self._models):
            rows, y, variance = self._of_column(data, column)
            if not len(rows):
                if column < self.outcomes:
                    raise ValueError(f"outcome {column} has no valid value: there is nothing to condition on")
                break
            self._used = column + 1
            # Nothing that is settled here is kept for the next call: an agent that is told all at once would not
            # have it.
            if model.learned is None or (model.learned.power != 1.0 and not OutcomeTransform.fits(y)):
                model.transform = OutcomeTransform.of(y, 1.0)
            else:
                model.transform = model.learned
            self._fill(column, model, data.X[rows], y, variance, rows)

    def _fill(
        self, column: int, model: _Model, X: FloatArray, y: FloatArray, variance: FloatArray, rows: np.ndarray
    ) -> None:
        """Bring one column to its data; rows of the factor that hold are kept."""
        theta = model.theta if model.theta is not None else self._mode()
        n = len(rows)
        noise = self._known_noise(column, model.transform, y, variance)
        if noise is None:
            noise = np.full(n, math.exp(theta[self.dim]))
        kept = min(model.factored, n)
        if kept and not (
            np.array_equal(rows[:kept], model.rows[:kept])
            and np.array_equal(noise[:kept], self._noise[column, :kept])
            and np.array_equal(X[:kept], self._X[column, :kept])
        ):
            kept = 0
        if not kept:
            model.log_determinant = 0.0
        self._X[column, :n], self._noise[column, :n] = X, noise
        self._y[column, :n] = model.transform.forward(y)
        self._inverse_scales[column] = np.exp(-theta[: self.dim])
        model.rows, model.n, model.factored = rows, n, n
        self._grow(column, model, kept)
        self._settle(column, model)

    def _grow(self, column: int, model: _Model, start: int) -> None:
        model.log_determinant += kernels.extend(
            self._X[column],
            self._noise[column],
            self._inverse_scales[column],
            self._kind,
            start,
            model.n,
            self._W[column],
        )

    def _settle(self, column: int, model: _Model) -> None:
        """The mean and alpha, from the factor."""
        n = model.n
        model.mean = kernels.constant_mean(self._W[column], n, self._y[column])
        kernels.solve(self._W[column], n, self._y[column, :n] - model.mean, self._alpha[column])

    # -- answering ---------------------------------------------------------------------------------------------

    def predict(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `Engine.predict`."""
        count = len(X)
        means, stds = np.empty((count, self.outcomes)), np.empty((count, self.outcomes))
        for column in range(self.outcomes):
            mean, variance = self._latent(column, np.ascontiguousarray(X, dtype=float))
            means[:, column], stds[:, column] = self._models[column].transform.backward(mean, np.sqrt(variance))
        return means, stds

    def length_scales(self, column: int) -> FloatArray:
        """See `Engine.length_scales`."""
        return np.asarray(1.0 / self._inverse_scales[column])

    def log_marginal_likelihood(self, column: int) -> float:
        """log p(y | hyper-parameters) of one outcome as it was transformed, with its constant mean."""
        model = self._models[column]
        n = model.n
        quadratic = float((self._y[column, :n] - model.mean) @ self._alpha[column, :n])
        return -0.5 * (quadratic + model.log_determinant + n * kernels.LOG_2PI)

    def propose(
        self, goal: Goal, box: Box, count: int, pending: FloatArray, seed: int
    ) -> tuple[FloatArray, FloatArray]:
        """See `Engine.propose`; of several points, and of pending ones, each takes the others' expected outcomes."""
        assert self._data is not None
        self._reserve(len(self._data.X) + len(pending) + count)
        search = _Search(self, goal, box, seed)
        before = [model.n for model in self._models]
        try:
            for point in pending:
                search.expect(self._believe(point))
            X, value = np.empty((count, self.dim)), np.empty(count)
            for i in range(count):
                X[i], value[i] = search.best()
                if i + 1 < count:
                    search.expect(self._believe(X[i]))
        finally:
            for column, model in enumerate(self._models[: self._used]):
                if model.n != before[column]:
                    model.n = before[column]
                    self._settle(column, model)
        return X, value

    def incumbent(self, goal: Goal) -> float:
        """The best expected objective among the observed points that are expected to be feasible.

        As the model sees it: transformed, and times the goal's sign, so that more is better. Expected, not measured:
        the luckiest of many noisy readings is not the best point. -inf if none is feasible.
        """
        assert self._data is not None
        expected = np.full((len(self._data.X), self.outcomes), math.nan)
        weights = self.weights(goal)
        for column in range(self.outcomes):
            model = self._models[column]
            own = slice(0, len(model.rows))
            # K alpha = y - mean, so that the fit at the observations is y - noise alpha.
            expected[model.rows, column] = self._y[column, own] - self._noise[column, own] * self._alpha[column, own]
        taken = np.flatnonzero(weights[: self.outcomes])
        objective = expected[:, taken] @ weights[taken]
        feasible = ~np.isnan(objective)
        for column, low, high in self.limits(goal):
            if column < self.outcomes:
                with np.errstate(invalid="ignore"):
                    feasible &= (expected[:, column] >= low) & (expected[:, column] <= high)
        return float(np.max(goal.sign * objective[feasible], initial=-math.inf))

    def weights(self, goal: Goal) -> FloatArray:
        """The share of each model's latent value in the objective, shape (m + 1,).

        Of a product, logarithms add up; its factors are modelled by their logarithms unless one was not positive.
        """
        weights = np.zeros(self.outcomes + 1)
        if goal.factors and all(self._models[column].transform.power == 0.0 for column, _ in goal.factors):
            for column, power in goal.factors:
                weights[column] = power * self._models[column].transform.scale
        else:
            weights[goal.objective] = 1.0
        return weights

    def limits(self, goal: Goal) -> list[tuple[int, float, float]]:
        """The goal's limits, and that of validity, on the outcomes as they were transformed."""
        limits = []
        for column, low, high in goal.limits:
            ends = self._models[column].transform.forward(np.array([low, high]))
            limits.append((column, float(ends[0]), float(ends[1])))
        if self._used > self.outcomes:
            limits.append((self.outcomes, float(self._models[-1].transform.forward(np.array([0.5]))[0]), math.inf))
        return limits

    # -- details -----------------------------------------------------------------------------------------------

    def _of_column(self, data: Observations, column: int) -> tuple[np.ndarray, FloatArray, FloatArray]:
        """Rows that tell of one outcome, their values and variances; of validity: all rows, if any is invalid."""
        if column == self.outcomes:
            valid = np.isfinite(data.Y).all(axis=1).reshape(-1)
            if valid.all():
                return np.empty(0, dtype=int), np.empty(0), np.empty(0)
            return np.arange(len(valid)), valid.astype(float), np.full(len(valid), VALIDITY_NOISE)
        rows = np.flatnonzero(~np.isnan(data.Y[:, column]))
        return rows, data.Y[rows, column], data.Yvar[rows, column]

    def _known_noise(
        self, column: int, transform: OutcomeTransform, y: FloatArray, variance: FloatArray
    ) -> FloatArray | None:
        """Variances of the transformed values, or None if they have to be inferred."""
        if column == self.outcomes:
            return np.full(len(y), VALIDITY_NOISE / transform.scale**2)
        known = transform.variance(y, variance)
        if not np.isfinite(known).all():
            return None
        return np.clip(known, kernels.NOISE_BOUNDS[0], 1e6)

    def _mode(self) -> FloatArray:
        """The most likely hyper-parameters a priori: the mode of a log-normal lies at exp(mean - variance)."""
        scale, noise = (mean - std**2 for mean, std in (self._scale_prior, NOISE_PRIOR))
        return np.array([scale] * self.dim + [noise])

    def _latent(self, column: int, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        model, s = self._models[column], len(X)
        k, v = np.empty((s, model.n)), np.empty((s, model.n))
        mean, variance = np.empty(s), np.empty(s)
        acquisition.posterior(
            X,
            self._X[column],
            self._W[column],
            self._alpha[column],
            model.n,
            self._inverse_scales[column],
            model.mean,
            self._kind,
            k,
            v,
            mean,
            variance,
        )
        return mean, variance

    def _believe(self, point: FloatArray) -> FloatArray:
        """Add a row that says what is expected at `point` (Ginsbourger et al. 2010, "kriging believer").

        Returns the expected outcomes, as they were transformed; they count although they are not known yet, or the same
        point would be the best again.
        """
        expected = np.empty(self._used)
        for column in range(self._used):
            model = self._models[column]
            n = model.n
            mean, _ = self._latent(column, point[None])
            expected[column] = mean[0]
            self._X[column, n], self._y[column, n] = point, mean[0]
            self._noise[column, n] = self._noise[column, :n].mean()
            determinant = model.log_determinant
            model.n = n + 1
            self._grow(column, model, n)
            self._settle(column, model)
            model.log_determinant = determinant
        return expected


class _Search:
    """Finds where the acquisition is largest: many points cheaply, some exactly, a few uphill."""

    def __init__(self, engine: NumbaEngine, goal: Goal, box: Box, seed: int) -> None:
        self._engine = engine
        self._sign = goal.sign
        self._best = engine.incumbent(goal)
        self._weights = engine.weights(goal)
        self._low, self._high = np.full((2, engine.outcomes + 1), math.inf)
        self._low *= -1.0
        for column, low, high in engine.limits(goal):
            self._low[column], self._high[column] = max(self._low[column], low), min(self._high[column], high)
        bounded = np.isfinite(self._low) | np.isfinite(self._high)
        self._active = np.flatnonzero(bounded | (self._weights != 0.0))
        self._box_low, self._box_high = box.low.copy(), box.high.copy()
        for i, value in box.fixed.items():
            self._box_low[i] = self._box_high[i] = value
        self._rng = np.random.default_rng(seed)

    def expect(self, outcomes: FloatArray) -> None:
        """A point is under way of which these outcomes are expected."""
        used = slice(len(outcomes))
        if ((outcomes >= self._low[used]) & (outcomes <= self._high[used])).all():
            self._best = max(self._best, self._sign * float(outcomes @ self._weights[used]))

    def best(self) -> tuple[FloatArray, float]:
        """The point, shape (d,), and its acquisition."""
        e = self._engine
        counts = np.array([model.n for model in e._models])
        means = np.array([model.mean for model in e._models])
        stack = (self._active, e._X, e._W, e._alpha, counts, e._inverse_scales, means)
        goal = (self._weights, self._low, self._high)
        end = (self._sign, self._best, e._kind)
        points: FloatArray = self._candidates()
        guess = np.empty(len(points))
        acquisition.screen(
            points, self._active, e._X, e._alpha, counts, e._inverse_scales, means, *goal, e._noise, *end, guess
        )
        kept = np.ascontiguousarray(points[np.argsort(-guess, kind="stable")[:KEPT]])
        value = np.empty(len(kept))
        n = int(counts[self._active].max())
        k, v = np.empty((2, len(counts), len(kept), n))
        acquisition.values(kept, *stack, *goal, *end, False, k, v, value, np.empty_like(kept))
        climbers = np.ascontiguousarray(kept[np.argsort(-value, kind="stable")[:CLIMBERS]])
        reached = np.empty(len(climbers))
        iterations = min(max(CLIMB_WORK // (CLIMBERS * len(self._active) * n * n), 8), 30)
        acquisition.climb(climbers, self._box_low, self._box_high, iterations, *stack, *goal, *end, reached)
        first = int(np.argmax(reached))
        return climbers[first].copy(), float(reached[first])

    def _candidates(self) -> FloatArray:
        """Half of them spread over the box, half near its middle, which is the best point, in some inputs only."""
        d, span = self._engine.dim, self._box_high - self._box_low
        half = SCREENED // 2
        spread = qmc.Sobol(d, seed=self._rng).random(half)
        middle = np.repeat(0.5 * np.ones((1, d)), half, axis=0)
        width = np.exp(self._rng.uniform(math.log(0.01), math.log(0.5), (half, 1)))
        chosen = self._rng.random((half, d)) < max(min(3.0 / d, 1.0), 0.3)
        near = np.clip(middle + chosen * width * self._rng.standard_normal((half, d)), 0.0, 1.0)
        return np.ascontiguousarray(self._box_low + span * np.vstack([spread, near]))


def _subset(n: int) -> np.ndarray:
    """Which of n observations hyper-parameters are inferred from."""
    if n <= FIT_POINTS:
        return np.arange(n)
    late = FIT_POINTS // 2
    early = np.linspace(0, n - late - 1, FIT_POINTS - late).round().astype(int)
    return np.concatenate([early, np.arange(n - late, n)])


def _warm_up() -> None:
    """Load or compile everything once, so that the first decision of a run does not pay for it."""
    engine = NumbaEngine(1, 2)
    Y = np.array([[0.0, 1.0], [1.0, math.nan], [0.5, 0.0]])
    data = Observations(np.array([[0.0], [0.5], [1.0]]), Y, np.full((3, 2), math.nan))
    engine.learn(data)
    engine.condition(data)
    engine.predict(data.X)
    engine.propose(Goal(0, 1.0, ((1, 0.0, math.inf),)), Box(np.zeros(1), np.ones(1)), 2, np.empty((0, 1)), 0)
