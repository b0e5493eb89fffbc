"""The surrogate that decides in milliseconds: exact Gaussian processes and log EI, compiled by numba.

The model is botorch's: Matérn-5/2 with one length scale for each input, log-normal priors scaled with the dimension
(Hvarfner et al. 2024, ICML), inferred or given noise, a constant mean, on outcomes of mean 0 and variance 1. What is
different is the cost. A new observation adds a row to the inverse factor instead of a new factorisation;
hyper-parameters start from the ones before; and nothing between the observations and the proposal is interpreted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np

from ebl_autonomy.space import FloatArray
from ebl_autonomy.surrogates import acquisition, covariance
from ebl_autonomy.surrogates.acquisition import Criteria, Stack
from ebl_autonomy.surrogates.base import Diagnosis, Goal, InputLayout, Observations, SafetyLimits, SearchRegion
from ebl_autonomy.surrogates.hyperparameters import NO_SAY, HyperparameterFitter, Hyperparameters
from ebl_autonomy.surrogates.latent_goal import LatentGoal
from ebl_autonomy.surrogates.maximization import AcquisitionMaximizer
from ebl_autonomy.surrogates.transforms import OutcomeTransform, in_units

__all__ = ["NumbaSurrogate"]

SIDES: Final = np.array([-1.0, 1.0])


@dataclass
class _Model:
    """One outcome: what was inferred, its data as the model sees them, its factor."""

    fitted: Hyperparameters | None = None
    transform: OutcomeTransform = field(default_factory=lambda: OutcomeTransform(1.0, 0.0, 1.0))
    """The one that is in use: the inferred one, unless it cannot take what was measured since."""
    rows: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=int))
    n: int = 0
    factored: int = 0
    """Rows of the factor that hold with the present hyper-parameters."""
    learned: int = 0
    """How many observations there were when its hyper-parameters were inferred."""
    level: float | None = None
    """The constant mean of those, once it is asked for."""
    mean: float = 0.0
    log_determinant: float = 0.0


class NumbaSurrogate:
    """See the module, and `ebl_autonomy.surrogates.Surrogate`.

    Parameters
    ----------
    inputs : InputLayout or int
        What the columns of X are; a number stands for so many searched ones.
    outcomes : int
        Outcomes m.
    kernel : {"matern52", "rbf"}
    logarithms : sequence of int
        Outcomes that are modelled by their logarithms as long as all values are positive.
    plain : sequence of int
        Outcomes that are modelled as they are measured.
    drift : {"auto", "on"}
        Whether the clock, if there is one, has a say: if the measurements tell of it, or always.
    hard : SafetyLimits
        Limits that may not be risked.
    """

    fits_in_background = True
    _warm = False

    def __init__(
        self,
        inputs: InputLayout | int,
        outcomes: int,
        *,
        kernel: str = "matern52",
        logarithms: Sequence[int] = (),
        plain: Sequence[int] = (),
        drift: str = "auto",
        hard: SafetyLimits | None = None,
    ) -> None:
        self.inputs = inputs if isinstance(inputs, InputLayout) else InputLayout(inputs)
        self.dim = dim = self.inputs.dim
        self.outcomes = outcomes
        self._hard = hard or SafetyLimits()
        self._hard_columns = frozenset(column for column, _, _ in self._hard.limits)
        self.version = f"numba/{kernel}"
        self._kind = {"matern52": covariance.MATERN52, "rbf": covariance.RBF}[kernel]
        self._fitting = HyperparameterFitter(self.inputs, outcomes, self._kind, logarithms, plain, drift, self._hard)
        self._as_made = partial(
            NumbaSurrogate,
            self.inputs,
            outcomes,
            kernel=kernel,
            logarithms=logarithms,
            plain=plain,
            drift=drift,
            hard=hard,
        )
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
        if not NumbaSurrogate._warm:
            NumbaSurrogate._warm = True
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

    def clone(self) -> NumbaSurrogate:
        """See `Surrogate.clone`."""
        heir = self._as_made()
        heir._reserve(self._y.shape[1])
        for mine, given in zip(heir._models, self._models, strict=True):
            mine.fitted, mine.learned = given.fitted, given.learned
        return heir

    def fit(self, data: Observations) -> None:
        """Infer hyper-parameters by maximum a posteriori, warm-started; see `Surrogate.fit`."""
        for column, model in enumerate(self._models):
            rows, y, variance = self._of_column(data, column)
            if not len(rows):
                continue
            past = int(np.searchsorted(rows, data.past))
            model.fitted = self._fitting.infer(column, model.fitted, data.X[rows], y, variance, past)
            model.factored, model.learned, model.level = 0, len(data.X), None

    def condition_on(self, data: Observations) -> None:
        """See `Surrogate.condition_on`."""
        self._take(data)
        for column in range(self._used):
            if not self._models[column].n:
                raise ValueError(f"outcome {column} has no valid value: there is nothing to condition on")
            self._settle(column)

    def standardized_residuals(self, data: Observations) -> FloatArray:
        """See `Surrogate.standardized_residuals`; the mean is the one that was found with the hyper-parameters."""
        self._take(data)
        off = np.full(self.outcomes + 1, math.nan)
        for column, model in enumerate(self._models[: self._used]):
            if model.fitted is None or not model.n or model.rows[-1] != len(data.X) - 1:
                continue
            if model.transform != model.fitted.transform:
                off[column] = math.inf
                continue
            if model.level is None:
                known = int(np.searchsorted(model.rows, model.learned))
                model.level = self._mean(column, known)
            y = self._y[column, : model.n] - model.level
            off[column] = covariance.dot(self._W[column, model.n - 1], y, model.n)
        return off

    def _take(self, data: Observations) -> None:
        """Bring data and factors up to date."""
        self._data = data
        self._reserve(len(data.X))
        self._used = self.outcomes
        for column, model in enumerate(self._models):
            rows, y, variance = self._of_column(data, column)
            if not len(rows):
                model.rows, model.n, model.factored = rows, 0, 0
                continue
            self._used = max(self._used, column + 1)
            if model.fitted is not None and model.fitted.alone:
                mine = rows >= data.past
                rows, y, variance = rows[mine], y[mine], variance[mine]
            # Nothing that is settled here is kept for the next call: an agent that is told all at once would not
            # have it.
            if model.fitted is None or (model.fitted.transform.power != 1.0 and not OutcomeTransform.fits(y)):
                model.transform = self._fitting.transform(column, y, 1.0)
            else:
                model.transform = model.fitted.transform
            self._fill(column, model, data.X[rows], y, variance, rows)

    def _fill(
        self, column: int, model: _Model, X: FloatArray, y: FloatArray, variance: FloatArray, rows: np.ndarray
    ) -> None:
        """Bring one column to its data; rows of the factor that hold are kept."""
        theta = model.fitted.theta if model.fitted is not None else self._fitting.mode(column)
        n = len(rows)
        noise = self._fitting.known_noise(column, model.transform, y, variance)
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

    def _grow(self, column: int, model: _Model, start: int) -> None:
        model.log_determinant += covariance.extend(
            self._X[column],
            self._noise[column],
            self._inverse_scales[column],
            self._kind,
            start,
            model.n,
            self._W[column],
        )

    def _settle(self, column: int) -> None:
        """The mean and alpha, from the factor."""
        model = self._models[column]
        n = model.n
        model.mean = self._mean(column, n)
        covariance.solve(self._W[column], n, self._y[column, :n] - model.mean, self._alpha[column])

    def _mean(self, column: int, n: int) -> float:
        """The constant mean, from the first n rows of a column."""
        # Far from all data the model expects the mean. Where that must not look safe, it is the one that the scale was
        # made for (see `HyperparameterFitter.transform`).
        return 0.0 if column in self._hard_columns else covariance.constant_mean(self._W[column], n, self._y[column])

    # -- answering ---------------------------------------------------------------------------------------------

    def predict(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `Surrogate.predict`."""
        return in_units(*self.predict_latent(X), [model.transform for model in self._models])

    def predict_latent(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `Surrogate.predict_latent`."""
        means, variances = np.empty((2, len(X), self.outcomes))
        for column in range(self.outcomes):
            means[:, column], variances[:, column] = self._latent(column, np.ascontiguousarray(X, dtype=float))
        return means, np.sqrt(variances)

    def length_scales(self, column: int) -> FloatArray:
        """See `Surrogate.length_scales`."""
        scales = 1.0 / self._inverse_scales[column]
        return np.where(scales < math.exp(0.5 * NO_SAY), scales, math.inf)

    def diagnose(self, column: int) -> Diagnosis:
        """See `Surrogate.diagnose`."""
        assert self._data is not None
        model = self._models[column]
        n, past = model.n, self._data.past
        W = np.tril(self._W[column, :n, :n])
        precision = np.einsum("ij,ij->j", W, W)
        left_out = self._y[column, :n] - self._alpha[column, :n] / precision
        mean, std = model.transform.backward(left_out, 1.0 / np.sqrt(precision))
        present = model.rows >= past
        about = float(np.median(self._y[column, :n])) + math.sqrt(float(np.median(self._noise[column, :n]))) * SIDES
        ends, _ = model.transform.backward(about, np.zeros(2))
        scales = self.length_scales(column)
        return Diagnosis(
            modelled_as=model.transform.in_words,
            noise=float(ends[1] - ends[0]) / 2.0,
            length_scales=scales,
            rows=model.rows[present] - past,
            mean=mean[present],
            std=std[present],
            pasts=tuple(
                0.0
                if model.fitted is not None and model.fitted.alone
                else float(covariance.correlation(float(scale) ** -2.0, self._kind))
                for scale in scales[self.inputs.past_at :]
            ),
        )

    def log_marginal_likelihood(self, column: int) -> float:
        """log p(y | hyper-parameters) of one outcome as it was transformed, with its constant mean."""
        model = self._models[column]
        n = model.n
        quadratic = float((self._y[column, :n] - model.mean) @ self._alpha[column, :n])
        return -0.5 * (quadratic + model.log_determinant + n * covariance.LOG_2PI)

    def propose(
        self, goal: Goal, box: SearchRegion, count: int, pending: FloatArray, seed: int
    ) -> tuple[FloatArray, FloatArray]:
        """See `Surrogate.propose`; of several points, and of pending ones, each takes the others' expected outcomes."""
        assert self._data is not None
        self._reserve(len(self._data.X) + len(pending) + count)
        aims = self.aims(goal)
        known = self.expected(goal, box)
        known = known[~np.isnan(known).any(axis=1)]
        search = AcquisitionMaximizer(box, seed)
        before = [model.n for model in self._models]
        try:
            for point in pending:
                known = np.vstack([known, self._believe(point, aims)])
            X, value = np.empty((count, self.dim)), np.empty(count)
            for i in range(count):
                wanted = aims.wanted(known)
                X[i], value[i] = search.best(self.stack(wanted), wanted, X[i - 1] if i else None)
                if i + 1 < count:
                    known = np.vstack([known, self._believe(X[i], aims)])
        finally:
            for column, model in enumerate(self._models[: self._used]):
                if model.n != before[column]:
                    model.n = before[column]
                    self._settle(column)
        return X, value

    def expected(self, goal: Goal, box: SearchRegion) -> FloatArray:
        """See `Surrogate.expected`: what is expected, because the luckiest noisy reading is not the best point."""
        assert self._data is not None
        # What is fixed makes a difference only if some model listens to it.
        listened = self._inverse_scales[: self._used, list(box.fixed)] > math.exp(-0.5 * NO_SAY)
        latent = self._latent_under(box) if listened.any() else self._latent_here()
        valid = np.isfinite(self._data.Y).all(axis=1, keepdims=True)
        return np.where(valid, self.aims(goal).gains(latent), math.nan)[self._data.past :]

    def aims(self, goal: Goal) -> LatentGoal:
        """The goal under the transforms that are in use."""
        used = self._models[: self._used]
        noise = np.array([np.median(self._noise[column, : model.n]) for column, model in enumerate(used)])
        return LatentGoal(goal, self._hard, [model.transform for model in used], self.outcomes, noise)

    def _latent_here(self) -> FloatArray:
        """The fit at each observation, shape (n, models): K alpha = y - mean, so that it is y - noise alpha."""
        assert self._data is not None
        latent = np.full((len(self._data.X), self._used), math.nan)
        for column, model in enumerate(self._models[: self._used]):
            own = slice(0, model.n)
            latent[model.rows, column] = self._y[column, own] - self._noise[column, own] * self._alpha[column, own]
        return latent

    def _latent_under(self, box: SearchRegion) -> FloatArray:
        """The expected latent values where the observations were made, but under the box's fixed inputs."""
        assert self._data is not None
        X = self._data.X.copy()
        for i, value in box.fixed.items():
            X[:, i] = value
        latent = np.empty((self._used, len(X)))
        stack = self.stack()
        for column in range(self._used):
            acquisition.means(X, stack, column, latent[column])
        return latent.T

    def stack(self, wanted: Criteria | None = None) -> Stack:
        """The models as the compiled functions take them: those that `wanted` depends on."""
        active = np.arange(self._used)
        if wanted is not None:
            bounded = np.isfinite(np.stack([wanted.low, wanted.high, wanted.hard_low, wanted.hard_high])).any(axis=0)
            active = np.flatnonzero(bounded | (wanted.shares != 0.0).any(axis=0))
        return Stack(
            active,
            self._X,
            self._W,
            self._alpha,
            self._noise,
            np.array([model.n for model in self._models]),
            self._inverse_scales,
            np.array([model.mean for model in self._models]),
            self._kind,
        )

    # -- details -----------------------------------------------------------------------------------------------

    def _of_column(self, data: Observations, column: int) -> tuple[np.ndarray, FloatArray, FloatArray]:
        """Rows that tell of one outcome, their values and variances; of validity: all rows, if any is invalid."""
        told = np.isfinite(data.Y)
        if column == self.outcomes:
            # A prior that tells of some outcomes only says nothing of validity.
            rows = np.flatnonzero((np.arange(len(told)) >= data.past) | told.all(axis=1) | ~told.any(axis=1))
            valid = np.asarray(told[rows].all(axis=1))
            if valid.all():
                return np.empty(0, dtype=int), np.empty(0), np.empty(0)
            return rows, valid.astype(float), np.full(len(valid), math.nan)
        rows = np.flatnonzero(told[:, column])
        if column in self._hard_columns:
            rows = rows[rows >= data.past]  # nor does what held elsewhere, or at another time
        return rows, data.Y[rows, column], data.Yvar[rows, column]

    def _latent(self, column: int, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        model, s = self._models[column], len(X)
        k, v = np.empty((s, model.n)), np.empty((s, model.n))
        mean, variance = np.empty(s), np.empty(s)
        acquisition.posterior(X, self.stack(), column, k, v, mean, variance)
        return mean, variance

    def _believe(self, point: FloatArray, aims: LatentGoal) -> FloatArray:
        """Add a row that says what is expected at `point` (Ginsbourger et al. 2010, "kriging believer").

        Returns what is gained there if that holds, shape (k, objectives), k being 1, or 0 if it breaks a limit: it
        counts although it is not known yet, or the same point would be the best again.
        """
        expected = np.empty((1, self._used))
        for column in range(self._used):
            model = self._models[column]
            n = model.n
            mean, _ = self._latent(column, point[None])
            expected[0, column] = mean[0]
            if column in self._hard_columns:
                continue  # what was not measured vouches for nothing
            self._X[column, n], self._y[column, n] = point, mean[0]
            self._noise[column, n] = covariance.NOISE_BOUNDS[0]  # as if it were known, or it would be asked for twice
            determinant = model.log_determinant
            model.n = n + 1
            self._grow(column, model, n)
            self._settle(column)
            model.log_determinant = determinant
        gains = aims.gains(expected)
        return gains[~np.isnan(gains).any(axis=1)]


def _warm_up() -> None:
    """Load or compile everything once, so that the first decision of a run does not pay for it."""
    surrogate = NumbaSurrogate(1, 2)
    Y = np.array([[0.0, 1.0], [1.0, math.nan], [0.5, 0.0]])
    data = Observations(np.array([[0.0], [0.5], [1.0]]), Y, np.full((3, 2), math.nan))
    surrogate.fit(data)
    surrogate.condition_on(data)
    surrogate.predict(data.X)
    for others in ((), ((1, 1.0),)):
        goal = Goal(0, 1.0, ((1, 0.0, math.inf),), others=others)
        surrogate.propose(goal, SearchRegion(np.zeros(1), np.ones(1)), 2, np.empty((0, 1)), 0)
    surrogate.expected(goal, SearchRegion(np.zeros(1), np.ones(1), {0: 0.5}))
