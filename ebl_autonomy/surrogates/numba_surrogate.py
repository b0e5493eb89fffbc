"""The surrogate that decides in milliseconds: exact Gaussian processes and log expected improvement, compiled by numba.

The model is that of botorch: Matérn-5/2 with one length scale for each input, log-normal priors that scale with the
dimension (Hvarfner et al. 2024, ICML), inferred or given noise, and a constant mean, on outcomes scaled to mean 0 and
variance 1. It costs less for three reasons. A new observation adds a row to the inverse factor, which is not computed
anew. A fit starts from the previous hyper-parameters. All loops between the observations and the proposal are compiled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np

from ebl_autonomy.space import FloatArray
from ebl_autonomy.surrogates import acquisition, covariance, outliers
from ebl_autonomy.surrogates.acquisition import Criteria, ModelStack
from ebl_autonomy.surrogates.base import (
    Diagnosis,
    Goal,
    InputLayout,
    Observations,
    SafetyLimits,
    SearchRegion,
    Suspect,
)
from ebl_autonomy.surrogates.compilation import compilation_announced
from ebl_autonomy.surrogates.hyperparameters import (
    NO_INFLUENCE,
    OUTLIER_SHARE,
    HyperparameterFitter,
    Hyperparameters,
)
from ebl_autonomy.surrogates.latent_goal import LatentGoal
from ebl_autonomy.surrogates.maximization import AcquisitionMaximizer
from ebl_autonomy.surrogates.transforms import OutcomeTransform, in_units

__all__ = ["NumbaSurrogate"]

NEW_OUTLIER_COST: Final = 10.0
"""Nats by which a reading that no fit has seen must be more probable as an outlier: about five standard deviations,
because hyper-parameters that are fitted to few readings promise too much."""
LEAST_NEW_OUTLIER: Final = 0.5
"""Prior standard deviations that such a reading is off at least."""
LEAST_FITTED: Final = 20
FITTED_PER_COORDINATE: Final = 4
"""So many readings must have been fitted before a later one is judged without a fit: few do not tell what is smooth."""
SURPRISING: Final = 2.5
"""A new reading within so many standard deviations of its prediction casts no doubt on any."""


@dataclass
class _Model:
    """The state of one outcome's model beside its arrays, which are columns of the surrogate's arrays."""

    hyperparameters: Hyperparameters | None = None
    transform: OutcomeTransform = field(default_factory=lambda: OutcomeTransform(1.0, 0.0, 1.0))
    """The transform in use: that of the hyper-parameters, unless it cannot represent a newer value."""
    rows: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=int))
    """The observations that the model uses."""
    n: int = 0
    """Their number."""
    factored: int = 0
    """The number of rows of the factor that hold with the present hyper-parameters."""
    fitted_to: int = 0
    """The number of observations to which the hyper-parameters were fitted."""
    fitted_mean: float | None = None
    """The constant mean of these observations, once it is needed."""
    extra: FloatArray = field(default_factory=lambda: np.empty(0))
    """The extra variances of outliers, 0 for all other rows; part of their noise."""
    mean: float = 0.0


class NumbaSurrogate:
    """Compiled Gaussian processes, one per outcome; see `ebl_autonomy.surrogates.Surrogate`.

    Parameters
    ----------
    inputs : InputLayout or int
        What the columns of X are. A number stands for a layout with that many searched coordinates and nothing else.
    outcomes : int
        The number of outcomes m.
    kernel : {"matern52", "rbf"}
    logarithms : sequence of int
        Outcomes that are modelled by their logarithms, as long as all values are positive.
    plain : sequence of int
        Outcomes that are modelled as they are.
    drift : {"auto", "on"}
        Whether the clock, if there is one, has an influence: if the measurements show a drift, or always.
    hard : SafetyLimits, optional
        Limits that no proposal may risk to break.
    step_s : float
        The seconds that one step of a fit takes at most, counted for a common processor.
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
        step_s: float = math.inf,
    ) -> None:
        self.inputs = inputs if isinstance(inputs, InputLayout) else InputLayout(inputs)
        self.dim = dim = self.inputs.dim
        self.outcomes = outcomes
        self._hard = hard or SafetyLimits()
        self._hard_columns = frozenset(column for column, _, _ in self._hard.limits)
        self.version = f"numba/{kernel}"
        self._kind = {"matern52": covariance.MATERN52, "rbf": covariance.RBF}[kernel]
        self._fitter = HyperparameterFitter(
            self.inputs, outcomes, self._kind, logarithms, plain, drift, self._hard, step_s
        )
        self._new = partial(
            NumbaSurrogate,
            self.inputs,
            outcomes,
            kernel=kernel,
            logarithms=logarithms,
            plain=plain,
            drift=drift,
            hard=hard,
            step_s=step_s,
        )
        self._models = [_Model() for _ in range(outcomes + 1)]
        self._data: Observations | None = None
        self._modelled = outcomes
        """The number of models in use: the last one, of validity, only if a measurement was invalid."""
        columns = outcomes + 1
        self._X = np.zeros((columns, 0, dim))
        self._y, self._noise, self._alpha = np.zeros((3, columns, 0))
        self._W = np.zeros((columns, 0, 0))
        self._inverse_scales = np.ones((columns, dim))
        self._reserve(32)
        if not NumbaSurrogate._warm:
            NumbaSurrogate._warm = True
            with compilation_announced():
                _warm_up()

    def _reserve(self, rows: int) -> None:
        """Make room for this many observations, and keep those that are there."""
        columns, capacity = self._y.shape
        if rows <= capacity:
            return
        rows = max(rows, int(1.5 * capacity))
        for name, shape in (("X", (self.dim,)), ("y", ()), ("noise", ()), ("alpha", ()), ("W", (rows,))):
            grown = np.zeros((columns, rows, *shape))
            old = getattr(self, f"_{name}")
            grown[(slice(None), slice(capacity), *(slice(n) for n in old.shape[2:]))] = old
            setattr(self, f"_{name}", grown)

    # -- fitting and conditioning --------------------------------------------------------------------------------

    def clone(self) -> NumbaSurrogate:
        """See `Surrogate.clone`."""
        clone = self._new()
        clone._reserve(self._y.shape[1])
        for new, old in zip(clone._models, self._models, strict=True):
            new.hyperparameters, new.fitted_to = old.hyperparameters, old.fitted_to
        return clone

    def fit(self, data: Observations) -> None:
        """Infer hyper-parameters by maximum a posteriori; see `Surrogate.fit`."""
        for _ in self.fit_in_steps(data):
            pass

    def fit_in_steps(self, data: Observations) -> Iterator[float]:
        """See `Surrogate.fit_in_steps`."""
        for column, model in enumerate(self._models):
            rows, y, variance = self._column_data(data, column)
            if not len(rows):
                continue
            past = int(np.searchsorted(rows, data.past))
            model.hyperparameters = yield from self._fitter.infer(
                column, model.hyperparameters, data.X[rows], y, variance, past
            )
            model.factored, model.fitted_to, model.fitted_mean = 0, len(data.X), None

    def condition_on(self, data: Observations) -> None:
        """See `Surrogate.condition_on`."""
        self._update(data)
        for column in range(self._modelled):
            if not self._models[column].n:
                raise ValueError(f"outcome {column} has no valid value: there is nothing to condition on")
            self._solve(column)

    def standardized_residuals(self, data: Observations) -> FloatArray:
        """See `Surrogate.standardized_residuals`. The constant mean is that of the observations that were fitted."""
        self._update(data)
        residuals = np.full(self.outcomes + 1, math.nan)
        for column, model in enumerate(self._models[: self._modelled]):
            if model.hyperparameters is None or not model.n or model.rows[-1] != len(data.X) - 1:
                continue
            if model.transform != model.hyperparameters.transform:
                residuals[column] = math.inf
                continue
            y = self._y[column, : model.n] - self._fitted_mean(column)
            residuals[column] = covariance.dot(self._W[column, model.n - 1], y, model.n)
        return residuals

    def _update(self, data: Observations) -> None:
        """Take the data, and extend the factors to them."""
        self._data = data
        self._reserve(len(data.X))
        self._modelled = self.outcomes
        for column, model in enumerate(self._models):
            rows, y, variance = self._column_data(data, column)
            if not len(rows):
                model.rows, model.n, model.factored = rows, 0, 0
                continue
            self._modelled = max(self._modelled, column + 1)
            if model.hyperparameters is not None and model.hyperparameters.without_past:
                present = rows >= data.past
                rows, y, variance = rows[present], y[present], variance[present]
            # The transform is decided anew in each call: an agent that receives all results at once makes one call,
            # and must decide as the agent did that received them one by one.
            fitted = model.hyperparameters
            if fitted is None or (fitted.transform.power != 1.0 and not OutcomeTransform.fits(y)):
                model.transform = self._fitter.transform(column, y, 1.0)
            else:
                model.transform = fitted.transform
            self._update_column(column, model, data.X[rows], y, variance, rows)

    def _update_column(
        self, column: int, model: _Model, X: FloatArray, y: FloatArray, variance: FloatArray, rows: np.ndarray
    ) -> None:
        """Write the data of one column, and extend its factor. Rows of the factor that still hold are kept."""
        theta = model.hyperparameters.theta if model.hyperparameters is not None else self._fitter.prior_mode(column)
        n = len(rows)
        noise = self._fitter.known_noise(column, model.transform, y, variance)
        if noise is None:
            noise = np.full(n, math.exp(theta[self.dim]))
        fitted = model.hyperparameters.extra[:n] if model.hyperparameters is not None else np.empty(0)
        kept = min(model.factored, n)
        if n < model.factored:
            kept = min(kept, len(fitted))  # later rows may have changed the verdict on earlier ones
        extra = np.zeros(n)
        extra[: len(fitted)] = fitted
        extra[len(fitted) : kept] = model.extra[len(fitted) : kept]
        if kept and not (
            np.array_equal(rows[:kept], model.rows[:kept])
            and np.array_equal(noise[:kept] + extra[:kept], self._noise[column, :kept])
            and np.array_equal(X[:kept], self._X[column, :kept])
        ):
            kept = 0
            extra[len(fitted) :] = 0.0
        self._X[column, :n], self._noise[column, :n] = X, noise + extra
        self._y[column, :n] = model.transform.forward(y)
        self._inverse_scales[column] = np.exp(-theta[: self.dim])
        model.rows, model.n, model.factored, model.extra = rows, n, n, extra
        judged = (
            model.hyperparameters is not None
            and model.transform == model.hyperparameters.transform
            and self._fitter.has_outliers(column, X)
        )
        if not judged or len(fitted) < max(LEAST_FITTED, FITTED_PER_COORDINATE * self.inputs.searched):
            self._extend(column, kept, n)
            return
        self._extend(column, kept, max(kept, len(fitted)))
        for row in range(max(kept, len(fitted)), n):
            # One by one, so that the verdicts do not depend on how many rows come at once.
            self._extend(column, row, row + 1)
            self._judge(column, len(fitted), row + 1, noise)

    def _judge(self, column: int, first: int, n: int, noise: FloatArray) -> None:
        """Find the outliers among the rows from `first` on, of which row n - 1 is new, and factor them anew.

        They are judged from scratch: a second reading that agrees with a suspect one acquits it.
        """
        model, mean = self._models[column], self._fitted_mean(column)
        if abs(covariance.dot(self._W[column, n - 1], self._y[column, :n] - mean, n)) < SURPRISING:
            return
        suspects = np.flatnonzero(model.extra[first:n])
        if len(suspects):
            model.extra[first:n] = 0.0
            self._noise[column, first:n] = noise[first:n]
            self._extend(column, first + int(suspects[0]), n)
        most = math.ceil(OUTLIER_SHARE * n)
        outliers.judge_latest(
            self._X[column],
            self._W[column],
            self._y[column],
            mean,
            self._inverse_scales[column],
            self.inputs.caps,
            self._kind,
            first,
            n,
            model.extra,
            NEW_OUTLIER_COST,
            LEAST_NEW_OUTLIER,
            most,
        )
        if model.extra[first:n].any():
            self._noise[column, first:n] += model.extra[first:n]
            self._extend(column, first + int(np.flatnonzero(model.extra[first:n])[0]), n)

    def _fitted_mean(self, column: int) -> float:
        """The constant mean of the observations that were fitted."""
        model = self._models[column]
        if model.fitted_mean is None:
            model.fitted_mean = self._mean(column, int(np.searchsorted(model.rows, model.fitted_to)))
        return model.fitted_mean

    def _extend(self, column: int, start: int, stop: int) -> None:
        """Compute the rows of one column's factor from `start` to `stop`."""
        X, noise, scales = self._X[column], self._noise[column], self._inverse_scales[column]
        covariance.extend(X, noise, scales, self.inputs.caps, self._kind, start, stop, self._W[column])

    def _solve(self, column: int) -> None:
        """Compute the mean and alpha of one column from its factor."""
        model = self._models[column]
        n = model.n
        model.mean = self._mean(column, n)
        covariance.solve(self._W[column], n, self._y[column, :n] - model.mean, self._alpha[column])

    def _mean(self, column: int, n: int) -> float:
        """The constant mean of the first n rows of a column."""
        # Far from all data the model predicts the mean. Under a hard limit that must not look safe: the mean is 0, for
        # which `HyperparameterFitter.transform` chose the scale.
        return 0.0 if column in self._hard_columns else covariance.constant_mean(self._W[column], n, self._y[column])

    # -- predictions and proposals -------------------------------------------------------------------------------

    def predict(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `Surrogate.predict`."""
        return in_units(*self.predict_latent(X), [model.transform for model in self._models])

    def predict_latent(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `Surrogate.predict_latent`."""
        means, variances = np.empty((2, len(X), self.outcomes))
        for column in range(self.outcomes):
            means[:, column], variances[:, column] = self._latent(column, np.ascontiguousarray(X, dtype=float))
        return means, np.sqrt(variances)

    def latent_means(self, X: FloatArray, columns: Sequence[int]) -> FloatArray:
        """See `Surrogate.latent_means`."""
        means, stack = np.empty((len(columns), len(X))), self.stack()
        for row, column in zip(means, columns, strict=True):
            acquisition.means(np.ascontiguousarray(X, dtype=float), stack, column, row)
        return means.T

    def length_scales(self, column: int) -> FloatArray:
        """See `Surrogate.length_scales`."""
        scales = 1.0 / self._inverse_scales[column]
        return np.where(scales < math.exp(0.5 * NO_INFLUENCE), scales, math.inf)

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
        middle, variance = np.median(self._y[column, :n]), np.median(self._noise[column, :n])
        _, noise = model.transform.backward(np.array([middle]), np.sqrt(np.array([variance])))
        scales = self.length_scales(column)
        return Diagnosis(
            modelled_as=model.transform.in_words,
            noise=float(noise[0]),
            length_scales=scales,
            rows=model.rows[present] - past,
            mean=mean[present],
            std=std[present],
            pasts=tuple(
                0.0
                if model.hyperparameters is not None and model.hyperparameters.without_past
                else float(covariance.correlation(float(scale) ** -2.0, self._kind))
                for scale in scales[self.inputs.past_at :]
            ),
        )

    def suspects(self, column: int) -> tuple[Suspect, ...]:
        """See `Surrogate.suspects`."""
        assert self._data is not None
        model, past = self._models[column], self._data.past
        n = model.n
        found = []
        for i in np.flatnonzero(model.extra[:n]):
            own = self._W[column, i:n, i]
            precision = float(own @ own)
            residual = self._alpha[column, i] / precision
            std = math.sqrt(max(1.0 / precision - model.extra[i], covariance.PIVOT))
            mean, deviation = model.transform.backward(self._y[column, [i]] - residual, np.array([std]))
            if model.rows[i] >= past:
                row = int(model.rows[i] - past)
                found.append(Suspect(row, float(mean[0]), float(deviation[0]), residual / std, float(model.extra[i])))
        return tuple(found)

    def log_marginal_likelihood(self, column: int) -> float:
        """log p(y | hyper-parameters) of one outcome on the latent scale, with its constant mean."""
        model = self._models[column]
        n = model.n
        quadratic = float((self._y[column, :n] - model.mean) @ self._alpha[column, :n])
        log_determinant = -2.0 * float(np.log(np.diagonal(self._W[column])[:n]).sum())
        return -0.5 * (quadratic + log_determinant + n * covariance.LOG_2PI)

    def propose(
        self, goal: Goal, region: SearchRegion, count: int, pending: FloatArray, seed: int
    ) -> tuple[FloatArray, FloatArray]:
        """See `Surrogate.propose`.

        Pending points, and the points of a batch that are already chosen, count as measured with their predicted means.
        """
        assert self._data is not None
        self._reserve(len(self._data.X) + len(pending) + count)
        latent_goal = self.latent_goal(goal)
        known = self.expected(goal, region)
        known = known[~np.isnan(known).any(axis=1)]
        maximizer = AcquisitionMaximizer(region, seed)
        before = [model.n for model in self._models]
        try:
            for point in pending:
                known = np.vstack([known, self._fantasize(point, latent_goal)])
            X, value = np.empty((count, self.dim)), np.empty(count)
            for i in range(count):
                criteria = latent_goal.criteria(known)
                X[i], value[i] = maximizer.best(self.stack(criteria), criteria, X[i - 1] if i else None)
                if i + 1 < count:
                    known = np.vstack([known, self._fantasize(X[i], latent_goal)])
        finally:
            for column, model in enumerate(self._models[: self._modelled]):
                if model.n != before[column]:
                    model.n = before[column]
                    self._solve(column)
        return X, value

    def expected(self, goal: Goal, region: SearchRegion) -> FloatArray:
        """See `Surrogate.expected`. Posterior means, because the best of noisy readings is not the best point."""
        assert self._data is not None
        # Fixed inputs matter only where they have an influence.
        influential = self._inverse_scales[: self._modelled, list(region.fixed)] > math.exp(-0.5 * NO_INFLUENCE)
        latent = self._latent_with_fixed(region) if influential.any() else self._latent_at_observations()
        valid = np.isfinite(self._data.Y).all(axis=1, keepdims=True)
        gains = np.where(valid, self.latent_goal(goal).gains(latent), math.nan)[self._data.past :]
        return gains if region.reachable is None else np.where(region.reachable[:, None], gains, math.nan)

    def resolution(self, goal: Goal) -> float:
        """See `Surrogate.resolution`."""
        return self.latent_goal(goal).resolution

    def latent_goal(self, goal: Goal) -> LatentGoal:
        """The goal under the transforms in use."""
        used = self._models[: self._modelled]
        noise = np.array([np.median(self._noise[column, : model.n]) for column, model in enumerate(used)])
        return LatentGoal(goal, self._hard, [model.transform for model in used], self.outcomes, noise)

    def _latent_at_observations(self) -> FloatArray:
        """Posterior means at the observations, shape (n, models); NaN where a model does not use one.

        K includes the noise and K alpha = y - mean, so the posterior mean is y - noise alpha.
        """
        assert self._data is not None
        latent = np.full((len(self._data.X), self._modelled), math.nan)
        for column, model in enumerate(self._models[: self._modelled]):
            own = slice(0, model.n)
            latent[model.rows, column] = self._y[column, own] - self._noise[column, own] * self._alpha[column, own]
        return latent

    def _latent_with_fixed(self, region: SearchRegion) -> FloatArray:
        """Posterior means at the observations, but with the region's fixed inputs, shape (n, models)."""
        assert self._data is not None
        X = self._data.X.copy()
        for i, value in region.fixed.items():
            X[:, i] = value
        return self.latent_means(X, range(self._modelled))

    def stack(self, criteria: Criteria | None = None) -> ModelStack:
        """The models as the compiled functions take them. Active are those on which `criteria` depends, else all."""
        active = np.arange(self._modelled)
        if criteria is not None:
            ends = np.stack([criteria.low, criteria.high, criteria.hard_low, criteria.hard_high])
            bounded = np.isfinite(ends).any(axis=0)
            active = np.flatnonzero(bounded | (criteria.shares != 0.0).any(axis=0))
        return ModelStack(
            active,
            self._X,
            self._W,
            self._alpha,
            self._noise,
            np.array([model.n for model in self._models]),
            self._inverse_scales,
            self.inputs.caps,
            np.array([model.mean for model in self._models]),
            self._kind,
        )

    # -- details -----------------------------------------------------------------------------------------------

    def _column_data(self, data: Observations, column: int) -> tuple[np.ndarray, FloatArray, FloatArray]:
        """The rows where one outcome is known, their values and variances, shape (k,) each.

        For validity, the values are 1 or 0; there are no rows if every measurement was valid.
        """
        known = np.isfinite(data.Y)
        if column == self.outcomes:
            # A past experiment that did not measure all outcomes says nothing about validity.
            rows = np.flatnonzero((np.arange(len(known)) >= data.past) | known.all(axis=1) | ~known.any(axis=1))
            valid = np.asarray(known[rows].all(axis=1))
            if valid.all():
                return np.empty(0, dtype=int), np.empty(0), np.empty(0)
            return rows, valid.astype(float), np.full(len(valid), math.nan)
        rows = np.flatnonzero(known[:, column])
        if column in self._hard_columns:
            rows = rows[rows >= data.past]  # past experiments prove nothing about safety now
        return rows, data.Y[rows, column], data.Yvar[rows, column]

    def _latent(self, column: int, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Latent means and variances of one column at X, shape (s, d): shape (s,) each."""
        model, s = self._models[column], len(X)
        k, v = np.empty((s, model.n)), np.empty((s, model.n))
        mean, variance = np.empty(s), np.empty(s)
        acquisition.posterior(X, self.stack(), column, k, v, mean, variance)
        return mean, variance

    def _fantasize(self, point: FloatArray, latent_goal: LatentGoal) -> FloatArray:
        """Add `point` to the data as if its predicted mean had been measured.

        Without this, the same point would be proposed again (the "kriging believer" of Ginsbourger, Le Riche and
        Carraro 2010, "Kriging is well-suited to parallelize optimization").

        Returns
        -------
        FloatArray, shape (k, objectives)
            The objectives reached there: one row, or none if a constraint is broken.
        """
        predicted = np.empty((1, self._modelled))
        for column in range(self._modelled):
            model = self._models[column]
            n = model.n
            mean, _ = self._latent(column, point[None])
            predicted[0, column] = mean[0]
            if column in self._hard_columns:
                continue  # only a measurement proves that a point is safe
            self._X[column, n], self._y[column, n] = point, mean[0]
            # With more noise, the point would seem to be worth a second measurement.
            self._noise[column, n] = covariance.NOISE_BOUNDS[0]
            model.n = n + 1
            self._extend(column, n, n + 1)
            self._solve(column)
        gains = latent_goal.gains(predicted)
        return gains[~np.isnan(gains).any(axis=1)]


def _warm_up() -> None:
    """Load or compile everything once, so that the first decision of a run does not wait for it."""
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
    X, W, ones = np.zeros((2, 1)), np.eye(2), np.ones(2)
    outliers.judge_latest(
        X, W, ones, 0.0, np.ones(1), np.full(1, math.inf), covariance.MATERN52, 1, 2, np.zeros(2), 1.0, 1.0, 1
    )
