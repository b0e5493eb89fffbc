"""The models of all outcomes, conditioned on observations: the arrays that the compiled functions read.

A new observation adds a row to the factor of a model, which is not computed anew. A reading that no fit has seen is
judged when its row is added: an outlier has an extra variance from then on, or until a later reading acquits it.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ebl_autonomy.space import FloatArray
from ebl_autonomy.surrogates import acquisition, covariance, outliers
from ebl_autonomy.surrogates.acquisition import Criteria, ModelStack
from ebl_autonomy.surrogates.base import InputLayout, Observations
from ebl_autonomy.surrogates.hyperparameters import HyperparameterFitter, Hyperparameters
from ebl_autonomy.surrogates.priors import OUTLIER_SHARE
from ebl_autonomy.surrogates.transforms import OutcomeTransform

__all__ = ["ConditionedModels", "OutcomeModel"]

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
class OutcomeModel:
    """The state of one outcome's model beside its arrays, which are rows of those of `ConditionedModels`."""

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


class ConditionedModels:
    """One Gaussian process per outcome, and a last one of validity, under the present hyper-parameters.

    Parameters
    ----------
    inputs : InputLayout
    outcomes : int
        The number of outcomes m.
    kind : int
        The kernel, as the compiled functions take it.
    fitter : HyperparameterFitter
    hard_columns : collection of int
        The outcomes with hard limits.

    Attributes
    ----------
    models : list of OutcomeModel
        Of each column, length m + 1.
    modelled : int
        The number of models in use: the last one, of validity, only if a measurement was invalid.
    data : Observations or None
    X : FloatArray, shape (m + 1, rows, d)
    y, noise, alpha : FloatArray, shape (m + 1, rows)
        Latent values, their noise variances, and K^-1 (y - mean).
    W : FloatArray, shape (m + 1, rows, rows)
        The inverses of the Cholesky factors of K.
    inverse_scales : FloatArray, shape (m + 1, d)
    """

    def __init__(
        self,
        inputs: InputLayout,
        outcomes: int,
        kind: int,
        fitter: HyperparameterFitter,
        hard_columns: Collection[int],
    ) -> None:
        self._inputs, self._outcomes, self._kind, self._fitter = inputs, outcomes, kind, fitter
        self._dim, self._hard_columns = inputs.dim, frozenset(hard_columns)
        columns = outcomes + 1
        self.models = [OutcomeModel() for _ in range(columns)]
        self.modelled = outcomes
        self.data: Observations | None = None
        self.X = np.zeros((columns, 0, self._dim))
        self.y, self.noise, self.alpha = np.zeros((3, columns, 0))
        self.W = np.zeros((columns, 0, 0))
        self.inverse_scales = np.ones((columns, self._dim))
        self.reserve(32)

    def reserve(self, rows: int) -> None:
        """Make room for this many observations, and keep those that are there."""
        columns, capacity = self.y.shape
        if rows <= capacity:
            return
        rows = max(rows, int(1.5 * capacity))
        for name, shape in (("X", (self._dim,)), ("y", ()), ("noise", ()), ("alpha", ()), ("W", (rows,))):
            grown = np.zeros((columns, rows, *shape))
            old = getattr(self, name)
            grown[(slice(None), slice(capacity), *(slice(n) for n in old.shape[2:]))] = old
            setattr(self, name, grown)

    def update(self, data: Observations) -> None:
        """Take the data, and extend the factors to them."""
        self.data = data
        self.reserve(len(data.X))
        self.modelled = self._outcomes
        for column, model in enumerate(self.models):
            rows, y, variance = self.column_data(data, column)
            if not len(rows):
                model.rows, model.n, model.factored = rows, 0, 0
                continue
            self.modelled = max(self.modelled, column + 1)
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
            self._update_column(column, model, data.X[rows], y, variance, rows, self.judged(data, column, rows))

    def _update_column(
        self,
        column: int,
        model: OutcomeModel,
        X: FloatArray,
        y: FloatArray,
        variance: FloatArray,
        rows: np.ndarray,
        judged: np.ndarray,
    ) -> None:
        """Write the data of one column, and extend its factor. Rows of the factor that still hold are kept."""
        theta = model.hyperparameters.theta if model.hyperparameters is not None else self._fitter.prior_mode(column)
        n = len(rows)
        noise = self._fitter.known_noise(column, model.transform, y, variance)
        if noise is None:
            noise = np.full(n, math.exp(theta[self._dim]))
        fitted = model.hyperparameters.extra[:n] if model.hyperparameters is not None else np.empty(0)
        kept = min(model.factored, n)
        if n < model.factored:
            kept = min(kept, len(fitted))  # later rows may have changed the verdict on earlier ones
        extra = np.zeros(n)
        extra[: len(fitted)] = fitted
        extra[len(fitted) : kept] = model.extra[len(fitted) : kept]
        if kept and not (
            np.array_equal(rows[:kept], model.rows[:kept])
            and np.array_equal(noise[:kept] + extra[:kept], self.noise[column, :kept])
            and np.array_equal(X[:kept], self.X[column, :kept])
        ):
            kept = 0
            extra[len(fitted) :] = 0.0
        self.X[column, :n], self.noise[column, :n] = X, noise + extra
        self.y[column, :n] = model.transform.forward(y)
        self.inverse_scales[column] = np.exp(-theta[: self._dim])
        model.rows, model.n, model.factored, model.extra = rows, n, n, extra
        # Beside past experiments a reading is judged by the next fit, which knows what the present ones say alone.
        is_judging = (
            model.hyperparameters is not None
            and model.transform == model.hyperparameters.transform
            and judged[kept:].any()
            and not self._inputs.has_past(X)
        )
        if not is_judging or len(fitted) < max(LEAST_FITTED, FITTED_PER_COORDINATE * self._inputs.searched):
            self.extend(column, kept, n)
            return
        self.extend(column, kept, max(kept, len(fitted)))
        for row in range(max(kept, len(fitted)), n):
            # One by one, so that the verdicts do not depend on how many rows come at once.
            self.extend(column, row, row + 1)
            self._judge(column, len(fitted), row + 1, noise, judged)

    def _judge(self, column: int, first: int, n: int, noise: FloatArray, judged: np.ndarray) -> None:
        """Find the outliers among the rows from `first` on, of which row n - 1 is new, and factor them anew.

        They are judged from scratch: a second reading that agrees with a suspect one acquits it.
        """
        model, mean = self.models[column], self.fitted_mean(column)
        if abs(covariance.dot(self.W[column, n - 1], self.y[column, :n] - mean, n)) < SURPRISING:
            return
        suspects = np.flatnonzero(model.extra[first:n])
        if len(suspects):
            model.extra[first:n] = 0.0
            self.noise[column, first:n] = noise[first:n]
            self.extend(column, first + int(suspects[0]), n)
        most = math.ceil(OUTLIER_SHARE * n)
        outliers.judge_latest(
            self.X[column],
            self.W[column],
            self.y[column],
            mean,
            self.inverse_scales[column],
            self._inputs.caps,
            self._kind,
            first,
            n,
            model.extra,
            judged,
            NEW_OUTLIER_COST,
            LEAST_NEW_OUTLIER,
            most,
        )
        if model.extra[first:n].any():
            self.noise[column, first:n] += model.extra[first:n]
            self.extend(column, first + int(np.flatnonzero(model.extra[first:n])[0]), n)

    def fitted_mean(self, column: int) -> float:
        """The constant mean of the observations that were fitted."""
        model = self.models[column]
        if model.fitted_mean is None:
            model.fitted_mean = self._mean(column, int(np.searchsorted(model.rows, model.fitted_to)))
        return model.fitted_mean

    def extend(self, column: int, start: int, stop: int) -> None:
        """Compute the rows of one column's factor from `start` to `stop`."""
        X, noise, scales = self.X[column], self.noise[column], self.inverse_scales[column]
        covariance.extend(X, noise, scales, self._inputs.caps, self._kind, start, stop, self.W[column])

    def solve(self, column: int) -> None:
        """Compute the mean and alpha of one column from its factor."""
        model = self.models[column]
        n = model.n
        model.mean = self._mean(column, n)
        covariance.solve(self.W[column], n, self.y[column, :n] - model.mean, self.alpha[column])

    def _mean(self, column: int, n: int) -> float:
        """The constant mean of the first n rows of a column."""
        # Far from all data the model predicts the mean. Under a hard limit that must not look safe: the mean is 0, for
        # which `HyperparameterFitter.transform` chose the scale.
        return 0.0 if column in self._hard_columns else covariance.constant_mean(self.W[column], n, self.y[column])

    def column_data(self, data: Observations, column: int) -> tuple[np.ndarray, FloatArray, FloatArray]:
        """The rows where one outcome is known, their values and variances, shape (k,) each.

        For validity, the values are 1 or 0; there are no rows if every measurement was valid.
        """
        known = np.isfinite(data.Y)
        if column == self._outcomes:
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

    def judged(self, data: Observations, column: int, rows: np.ndarray) -> np.ndarray:
        """Whether each of the rows of one outcome may be an outlier, shape (k,).

        Not in an outcome with a hard limit, where the reading that is beside the others may be the one that tells the
        truth. Nor in a past experiment, nor in an invalid measurement: where there is no beam, the other outcomes tell
        that there is none.
        """
        if column == self._outcomes or column in self._hard_columns:
            return np.zeros(len(rows), dtype=bool)
        return np.asarray(np.isfinite(data.Y[rows]).all(axis=1) & (rows >= data.past))

    def latent(self, column: int, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Latent means and variances of one column at X, shape (s, d): shape (s,) each."""
        model, s = self.models[column], len(X)
        k, v = np.empty((s, model.n)), np.empty((s, model.n))
        mean, variance = np.empty(s), np.empty(s)
        acquisition.posterior(X, self.stack(), column, k, v, mean, variance)
        return mean, variance

    def stack(self, criteria: Criteria | None = None) -> ModelStack:
        """The models as the compiled functions take them. Active are those on which `criteria` depends, else all."""
        active = np.arange(self.modelled)
        if criteria is not None:
            ends = np.stack([criteria.low, criteria.high, criteria.hard_low, criteria.hard_high])
            bounded = np.isfinite(ends).any(axis=0)
            active = np.flatnonzero(bounded | (criteria.shares != 0.0).any(axis=0))
        return ModelStack(
            active,
            self.X,
            self.W,
            self.alpha,
            self.noise,
            np.array([model.n for model in self.models]),
            self.inverse_scales,
            self._inputs.caps,
            np.array([model.mean for model in self.models]),
            self._kind,
        )
