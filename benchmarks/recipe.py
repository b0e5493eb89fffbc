"""botorch's own recipe, written out as its tutorials have it: what a decision costs and reaches without this package.

SingleTaskGP with its default priors and inferred noise, fitted anew before every point; noisy log expected improvement
(of the hypervolume if there are two objectives; under outcome constraints if there are any); `optimize_acqf` with 10
restarts and 512 raw samples. The first 2d points are quasi-random.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import qmc

from ebl_autonomy.space import VOCS, Space

RESTARTS = 10
RAW_SAMPLES = 512


class BotorchRecipe:
    """A generator by suggest and ingest.

    Parameters
    ----------
    vocs : VOCS
        Continuous variables, one objective or two, upper limits.
    seed : int
    reference : mapping of str to float, optional
        The worst values that count, of two objectives.
    """

    def __init__(self, vocs: VOCS, seed: int, reference: Mapping[str, float] | None = None) -> None:
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(seed)
        self.space = Space(vocs)
        self.reference = reference
        self.signs = dict(zip(self.space.objectives, self.space.signs, strict=True))
        size = math.ceil(math.log2(2 * self.space.dim))
        self.start = qmc.Sobol(self.space.dim, rng=seed).random_base2(size)[: 2 * self.space.dim]
        self.results: list[Mapping[str, float]] = []

    def suggest(self, count: int = 1) -> list[dict[str, float]]:
        n = len(self.results)
        if n < len(self.start):
            return self.space.points(self.start[n : n + count])
        return self.space.points(self._chosen(count))

    def ingest(self, results: Sequence[Mapping[str, float]]) -> None:
        self.results.extend(results)

    def _chosen(self, count: int) -> Any:
        """The points with the best acquisition, shape (count, d), in the unit cube."""
        import torch
        from botorch.acquisition.logei import qLogNoisyExpectedImprovement
        from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
        from botorch.acquisition.objective import GenericMCObjective
        from botorch.fit import fit_gpytorch_mll
        from botorch.models.gp_regression import SingleTaskGP
        from botorch.models.model_list_gp_regression import ModelListGP
        from botorch.optim.optimize import optimize_acqf
        from gpytorch.mlls import ExactMarginalLogLikelihood
        from gpytorch.mlls.sum_marginal_log_likelihood import SumMarginalLogLikelihood

        X = torch.tensor(self.space.unit(self.results))
        outcomes = [*self.space.objectives, *self.space.limits]
        models = [SingleTaskGP(X, torch.tensor(self._column(name))) for name in outcomes]
        if len(models) == 1:
            (model,) = models
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        else:
            model = ModelListGP(*models)
            fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
        if len(self.space.objectives) > 1:
            assert self.reference is not None
            worst = [self.signs[name] * self.reference[name] for name in self.space.objectives]
            acquisition: Any = qLogNoisyExpectedHypervolumeImprovement(model, worst, X, prune_baseline=True)
        elif self.space.limits:
            acquisition = qLogNoisyExpectedImprovement(
                model,
                X,
                prune_baseline=True,
                objective=GenericMCObjective(lambda Y, X=None: Y[..., 0]),
                constraints=[
                    lambda Y, i=i, high=limit.high: Y[..., 1 + i] - high
                    for i, limit in enumerate(self.space.limits.values())
                ],
            )
        else:
            acquisition = qLogNoisyExpectedImprovement(model, X, prune_baseline=True)
        cube = torch.tensor([[0.0] * self.space.dim, [1.0] * self.space.dim], dtype=torch.double)
        points, _ = optimize_acqf(acquisition, cube, q=count, num_restarts=RESTARTS, raw_samples=RAW_SAMPLES)
        return points.numpy()

    def _column(self, name: str) -> Any:
        """An outcome, shape (n, 1); an objective such that more is better."""
        return np.array([[self.signs.get(name, 1.0) * result[name]] for result in self.results])
