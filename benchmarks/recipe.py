"""botorch's own recipe, as in its tutorials: what a decision costs and reaches without this package.

SingleTaskGP with its default priors and inferred noise, fitted anew before every point; noisy log expected improvement
(of the hypervolume if there are two objectives, under outcome constraints if there are any); `optimize_acqf` with 10
restarts, 512 raw samples and at most 200 iterations. The first 2d points are quasi-random. Values that are NaN are left
out, outcome by outcome. As long as an outcome has fewer than two valid values, the points are quasi-random. A batch is
chosen jointly, and points under way are pending. Discrete values are rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import qmc

from ebl_autonomy.space import VOCS, FloatArray, Space

RESTARTS = 10
RAW_SAMPLES = 512
ITERATIONS = 200
ENOUGH = 2
"""The number of valid values from which an outcome is modelled."""


class BotorchRecipe:
    """A generator in the sense of gest-api.

    Parameters
    ----------
    vocs : VOCS
        Continuous variables, one objective or two, constraints of any kind.
    seed : int
    reference : mapping of str to float, optional
        With two objectives, the worst value of each that is worth anything.
    """

    def __init__(self, vocs: VOCS, seed: int, reference: Mapping[str, float] | None = None) -> None:
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(seed)
        self.vocs = vocs
        self.space = Space(vocs)
        self.reference = reference
        self.signs = dict(zip(self.space.objectives, self.space.signs, strict=True))
        size = math.ceil(math.log2(2 * self.space.dim))
        self.sequence = qmc.Sobol(self.space.dim, rng=seed)
        self.start = self.sequence.random_base2(size)[: 2 * self.space.dim]
        self.results: list[Mapping[str, float]] = []
        self.pending: list[dict[str, float]] = []

    def suggest(self, num_points: int | None = None) -> list[dict[str, float]]:
        points = self.space.points(self._next(num_points or 1))
        self.pending.extend(points)
        return points

    def ingest(self, results: Sequence[Mapping[str, float]]) -> None:
        for result in results:
            self.results.append(result)
            if self.pending:
                # A motor may stop elsewhere than asked: the answer is then to the oldest proposal.
                answers = [all(result[name] == point[name] for name in point) for point in self.pending]
                del self.pending[answers.index(True) if any(answers) else 0]

    def recommended(self) -> Mapping[str, float] | None:
        """The measured point with the largest posterior mean of the objective, among those whose constraints hold.

        The constraints are judged by their posterior means. None without such a point, or without a model.
        """
        import torch

        values, judged = self._measured()
        if not self._can_model(values, judged):
            return None
        X = torch.tensor(self.space.unit(self.results))[judged]
        model = self._model(values)
        with torch.no_grad():
            mean = model.posterior(X).mean
        holds = torch.ones(len(X), dtype=torch.bool)
        for constraint in self._constraints(values):
            holds &= constraint(mean) <= 0.0
        if not bool(holds.any()):
            return None
        best = int(torch.where(holds, mean[:, 0], -torch.inf).argmax())
        return self.results[int(np.flatnonzero(judged)[best])]

    def _next(self, count: int) -> FloatArray:
        """The next points of the unit cube, shape (count, d)."""
        n = len(self.results) + len(self.pending)
        if n < len(self.start):
            first = self.start[n : n + count]
            return np.vstack([first, self.sequence.random(count - len(first))])
        values, judged = self._measured()
        if not self._can_model(values, judged):
            return np.asarray(self.sequence.random(count))
        return np.asarray(self._chosen(count, values, judged))

    def _measured(self) -> tuple[dict[str, FloatArray], Any]:
        """The values of each outcome, shape (n,), objectives first; and where all objectives are valid, shape (n,)."""
        values = {name: self._values(name) for name in [*self.space.objectives, *self.space.limits]}
        return values, np.all([np.isfinite(values[name]) for name in self.space.objectives], axis=0)

    def _can_model(self, values: Mapping[str, FloatArray], judged: Any) -> bool:
        return min(np.count_nonzero(valid) for valid in [judged, *map(np.isfinite, values.values())]) >= ENOUGH

    def _chosen(self, count: int, values: Mapping[str, FloatArray], judged: Any) -> Any:
        """The points with the largest acquisition, shape (count, d), in the unit cube.

        Parameters
        ----------
        count : int
        values : mapping of str to FloatArray, shape (n,)
            Of the outcomes: objectives, then limits.
        judged : bool array, shape (n,)
            Whether all objectives are valid: the points to improve on.
        """
        import torch
        from botorch.acquisition.logei import qLogNoisyExpectedImprovement
        from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
        from botorch.acquisition.multi_objective.objective import IdentityMCMultiOutputObjective
        from botorch.acquisition.objective import GenericMCObjective
        from botorch.optim.optimize import optimize_acqf

        model = self._model(values)
        X = torch.tensor(self.space.unit(self.results))
        baseline, constraints = X[judged], self._constraints(values)
        acquisition: Any
        if len(self.space.objectives) > 1:
            assert self.reference is not None
            worst = [self.signs[name] * self.reference[name] for name in self.space.objectives]
            acquisition = qLogNoisyExpectedHypervolumeImprovement(
                model,
                worst,
                baseline,
                prune_baseline=True,
                objective=IdentityMCMultiOutputObjective(outcomes=list(range(len(worst)))),
                constraints=constraints or None,
            )
        elif constraints:
            acquisition = qLogNoisyExpectedImprovement(
                model,
                baseline,
                prune_baseline=True,
                objective=GenericMCObjective(lambda Y, X=None: Y[..., 0]),
                constraints=constraints,
            )
        else:
            acquisition = qLogNoisyExpectedImprovement(model, baseline, prune_baseline=True)
        if self.pending:
            acquisition.set_X_pending(torch.tensor(self.space.unit(self.pending)))
        cube = torch.tensor([[0.0] * self.space.dim, [1.0] * self.space.dim], dtype=torch.double)
        points, _ = optimize_acqf(
            acquisition,
            cube,
            q=count,
            num_restarts=RESTARTS,
            raw_samples=RAW_SAMPLES,
            options={"maxiter": ITERATIONS},
        )
        return points.numpy()

    def _model(self, values: Mapping[str, FloatArray]) -> Any:
        """A Gaussian process of each outcome, fitted to its valid values."""
        import torch
        from botorch.fit import fit_gpytorch_mll
        from botorch.models.gp_regression import SingleTaskGP
        from botorch.models.model_list_gp_regression import ModelListGP
        from gpytorch.mlls import ExactMarginalLogLikelihood
        from gpytorch.mlls.sum_marginal_log_likelihood import SumMarginalLogLikelihood

        X = torch.tensor(self.space.unit(self.results))
        models = []
        for column in values.values():
            valid = np.isfinite(column)
            models.append(SingleTaskGP(X[valid], torch.tensor(column[valid, None])))
        if len(models) == 1:
            (model,) = models
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        else:
            model = ModelListGP(*models)
            fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
        return model

    def _constraints(self, values: Mapping[str, FloatArray]) -> list[Callable[[Any], Any]]:
        """One function of samples of the outcomes for each finite end of a limit, negative where it holds.

        It is in units of the outcome's spread, because botorch smooths a constraint over 1e-3. For an outcome in
        counts, the gradient would vanish nearly everywhere, and an ascent would take minutes.
        """
        constraints: list[Callable[[Any], Any]] = []
        for i, (name, limit) in enumerate(self.space.limits.items(), start=len(self.space.objectives)):
            unit = float(np.nanstd(values[name])) or 1.0
            if math.isfinite(limit.low):
                constraints.append(lambda Y, i=i, low=limit.low, unit=unit: (low - Y[..., i]) / unit)
            if math.isfinite(limit.high):
                constraints.append(lambda Y, i=i, high=limit.high, unit=unit: (Y[..., i] - high) / unit)
        return constraints

    def _values(self, name: str) -> FloatArray:
        """The values of an outcome, shape (n,); of an objective, signed so that more is better."""
        return self.signs.get(name, 1.0) * np.array([result[name] for result in self.results], dtype=float)
