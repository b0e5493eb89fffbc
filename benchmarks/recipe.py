"""botorch's own recipe, as in its tutorials: what a decision costs and reaches without this package.

SingleTaskGP with its default priors and inferred noise, fitted anew before every point; noisy log expected improvement
(of the hypervolume if there are two objectives, under outcome constraints if there are any); `optimize_acqf` with 10
restarts, 512 raw samples and at most 200 iterations. The first 2d points are quasi-random. Values that are NaN are left
out, outcome by outcome. As long as an outcome has fewer than two valid values, the points are quasi-random.
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

    def suggest(self, num_points: int | None = None) -> list[dict[str, float]]:
        n, count = len(self.results), num_points or 1
        if n < len(self.start):
            return self.space.points(self.start[n : n + count])
        values = {name: self._values(name) for name in [*self.space.objectives, *self.space.limits]}
        judged = np.all([np.isfinite(values[name]) for name in self.space.objectives], axis=0)
        if min(np.count_nonzero(valid) for valid in [judged, *map(np.isfinite, values.values())]) < ENOUGH:
            return self.space.points(self.sequence.random(count))
        return self.space.points(self._chosen(count, values, judged))

    def ingest(self, results: Sequence[Mapping[str, float]]) -> None:
        self.results.extend(results)

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
        from botorch.fit import fit_gpytorch_mll
        from botorch.models.gp_regression import SingleTaskGP
        from botorch.models.model_list_gp_regression import ModelListGP
        from botorch.optim.optimize import optimize_acqf
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
