"""The surrogate on botorch: exact Gaussian processes, one per outcome, and noisy log expected improvement.

Models: Matérn-5/2 or RBF with ARD and the dimension-scaled log-normal prior (Hvarfner et al. 2024, ICML, "Vanilla
Bayesian optimization performs great in high dimensions"). Acquisition: qLogNoisyExpectedImprovement (Ament et al. 2023,
NeurIPS, "Unexpected improvements to expected improvement") with outcome constraints, or
qLogNoisyExpectedHypervolumeImprovement of several objectives. Invalid measurements never enter an outcome's model. A
model of validity learns from them, and its probability weighs the acquisition like a constraint.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

# By default, MKL's matrix products depend on where in memory their operands lie, and a replayed run would not make the
# same decisions. The library reads this setting at its first use.
os.environ.setdefault("MKL_CBWR", "COMPATIBLE")

import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.acquisition.multi_objective.objective import GenericMCMultiOutputObjective
from botorch.acquisition.objective import GenericMCObjective
from botorch.exceptions.errors import ModelFittingError
from botorch.exceptions.warnings import BotorchWarning
from botorch.fit import fit_gpytorch_mll
from botorch.models.gp_regression import SingleTaskGP
from botorch.models.kernels.categorical import CategoricalKernel
from botorch.models.model_list_gp_regression import ModelListGP
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from botorch.optim.optimize import optimize_acqf, optimize_acqf_discrete, optimize_acqf_mixed
from botorch.sampling.normal import SobolQMCNormalSampler
from gpytorch.mlls import ExactMarginalLogLikelihood
from linear_operator.utils.warnings import NumericalWarning

from ebl_autonomy.space import FloatArray
from ebl_autonomy.surrogates.base import Diagnosis, Goal, InputLayout, Observations, SafetyLimits, SearchRegion, Suspect
from ebl_autonomy.surrogates.latent_goal import LatentGoal
from ebl_autonomy.surrogates.maximization import combinations_of
from ebl_autonomy.surrogates.priors import VALIDITY_NOISE
from ebl_autonomy.surrogates.transforms import OutcomeTransform, in_units

__all__ = ["BotorchSurrogate"]

CLIMBED: Final = 8
"""The largest number of combinations of categories for each of which the acquisition is followed uphill."""

# More than one thread turns milliseconds into hundreds of them on a busy two-core machine.
torch.set_num_threads(1)


class BotorchSurrogate:
    """Gaussian processes of botorch, one per outcome; see `ebl_autonomy.surrogates.Surrogate`.

    Parameters
    ----------
    inputs : InputLayout or int
        What the columns of X are. A number stands for that many searched coordinates and nothing else.
    outcomes : int
        The number of outcomes m.
    kernel : {"matern52", "rbf"}
    samples : int
        Monte-Carlo samples of the acquisition function.
    restarts : int
        Starting points of its ascent.
    raw_samples : int
        Points from which the starting points are chosen.
    """

    fits_in_background = False  # settings of gpytorch and torch hold for all threads
    _warm = False

    def __init__(
        self,
        inputs: InputLayout | int,
        outcomes: int,
        *,
        kernel: str = "matern52",
        samples: int = 64,
        restarts: int = 4,
        raw_samples: int = 128,
    ) -> None:
        self.version = f"botorch/SingleTaskGP-{kernel}+qLogNEI"
        self.inputs = inputs if isinstance(inputs, InputLayout) else InputLayout(inputs)
        self.dim = self.inputs.dim
        self.outcomes = outcomes
        self._kernel = kernel
        self._samples, self._restarts, self._raw_samples = samples, restarts, raw_samples
        self._hyper: dict[int, dict[str, torch.Tensor]] = {}
        self._models: list[SingleTaskGP] = []
        self._transforms: list[OutcomeTransform] = []
        self._data: Observations | None = None
        if not BotorchSurrogate._warm:
            BotorchSurrogate._warm = True
            _warm_up()

    def clone(self) -> BotorchSurrogate:
        """See `Surrogate.clone`."""
        clone = BotorchSurrogate(
            self.inputs,
            self.outcomes,
            kernel=self._kernel,
            samples=self._samples,
            restarts=self._restarts,
            raw_samples=self._raw_samples,
        )
        clone._hyper = dict(self._hyper)
        return clone

    def standardized_residuals(self, data: Observations) -> FloatArray:
        """See `Surrogate.standardized_residuals`. All unknown: fits follow the schedule, whatever is measured."""
        return np.full(self.outcomes + 1, math.nan)

    def fit(self, data: Observations) -> None:
        """Infer hyper-parameters by maximum a posteriori; see `Surrogate.fit`."""
        for column in range(self.outcomes + 1):
            model, _ = self._model(data, column)
            if model is None:
                continue
            mll = ExactMarginalLogLikelihood(model.likelihood, model)
            with _quiet():
                try:
                    fit_gpytorch_mll(mll, optimizer_kwargs={"options": {"maxiter": 75}}, max_attempts=1)
                except ModelFittingError:
                    continue  # keep the hyper-parameters of the previous fit
            self._hyper[column] = _hyper_parameters(model)

    def fit_in_steps(self, data: Observations) -> Iterator[float]:
        """See `Surrogate.fit_in_steps`. One step: a fit of botorch cannot be interrupted."""
        yield 0.0
        self.fit(data)

    def condition_on(self, data: Observations) -> None:
        """See `Surrogate.condition_on`."""
        self._data = data
        self._models, self._transforms = [], []
        for column in range(self.outcomes + 1):
            model, transform = self._model(data, column)
            if model is None and column == self.outcomes:
                break  # every measurement was valid
            if model is None:
                raise ValueError(f"outcome {column} has no valid value: there is nothing to condition on")
            model.eval()
            self._models.append(model)
            self._transforms.append(transform)

    def predict(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `Surrogate.predict`."""
        return in_units(*self.predict_latent(X), self._transforms)

    def predict_latent(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `Surrogate.predict_latent`."""
        means, stds = np.empty((2, len(X), self.outcomes))
        with torch.no_grad(), _quiet():
            for column in range(self.outcomes):
                posterior = self._models[column].posterior(torch.as_tensor(X, dtype=torch.double))
                means[:, column] = posterior.mean[:, 0].numpy()
                stds[:, column] = posterior.variance[:, 0].clamp_min(0.0).sqrt().numpy()
        return means, stds

    def latent_means(self, X: FloatArray, columns: Sequence[int]) -> FloatArray:
        """See `Surrogate.latent_means`."""
        with torch.no_grad(), _quiet():
            at = torch.as_tensor(X, dtype=torch.double)
            return np.stack([self._models[column].posterior(at).mean[:, 0].numpy() for column in columns], axis=1)

    def length_scales(self, column: int) -> FloatArray:
        """See `Surrogate.length_scales`."""
        scales = np.empty(self.dim)
        for part in _factors(self._models[column].covar_module):
            own = slice(None) if part.active_dims is None else part.active_dims.numpy()
            scales[own] = part.lengthscale.detach().numpy().reshape(-1)
        return scales * self.inputs.units

    def diagnose(self, column: int) -> Diagnosis:
        """See `Surrogate.diagnose`."""
        assert self._data is not None
        model, transform = self._models[column], self._transforms[column]
        rows = np.flatnonzero(~np.isnan(self._data.Y[:, column]))
        with torch.no_grad(), _quiet():
            X = model.train_inputs[0]
            noise = np.broadcast_to(model.likelihood.noise.numpy(), (len(rows),))
            K = model.covar_module(X).to_dense().numpy() + np.diag(noise)
            y = model.train_targets.numpy() - float(model.mean_module.constant)
        inverse = np.linalg.inv(K)
        left_out = model.train_targets.numpy() - (inverse @ y) / np.diag(inverse)
        mean, std = transform.backward(left_out, 1.0 / np.sqrt(np.diag(inverse)))
        middle, variance = np.median(model.train_targets.numpy()), np.median(noise)
        noise_std = float(transform.backward(np.array([middle]), np.sqrt(np.array([variance])))[1][0])
        present, past = rows >= self._data.past, self._data.past
        scales = self.length_scales(column)
        return Diagnosis(transform.in_words, noise_std, scales, rows[present] - past, mean[present], std[present])

    def columns(self, goal: Goal) -> list[int]:
        """See `Surrogate.columns`: this model knows no factors."""
        return [column for column, _ in goal.objectives]

    def suspects(self, column: int) -> tuple[Suspect, ...]:
        """See `Surrogate.suspects`: this model knows no outliers."""
        return ()

    def resolution(self, goal: Goal) -> float:
        """See `Surrogate.resolution`; the noise of this model is not told."""
        return 0.0

    def drift_evidence(self, column: int) -> float:
        """See `Surrogate.drift_evidence`. This surrogate does not ask."""
        return -math.inf

    def expected(self, goal: Goal, region: SearchRegion) -> FloatArray:
        """See `Surrogate.expected`."""
        assert self._data is not None
        X = self._data.X.copy()
        for i, value in region.fixed.items():
            X[:, i] = value
        with torch.no_grad(), _quiet():
            at = torch.as_tensor(X, dtype=torch.double)
            latent = np.stack([model.posterior(at).mean[:, 0].numpy() for model in self._models], axis=1)
        gains = self._latent_goal(goal).gains(latent)
        valid = np.isfinite(self._data.Y).all(axis=1, keepdims=True)
        gains = np.where(valid, gains, math.nan)[self._data.past :]
        return gains if region.reachable is None else np.where(region.reachable[:, None], gains, math.nan)

    def propose(
        self, goal: Goal, region: SearchRegion, count: int, pending: FloatArray, seed: int
    ) -> tuple[FloatArray, FloatArray]:
        """See `Surrogate.propose`."""
        assert self._data is not None
        valid = ~np.isnan(self._data.Y).any(axis=1)
        if region.reachable is not None:
            valid &= region.reachable
        valid |= not valid.any()  # all points, if none is valid in all outcomes
        # optimize_acqf draws its restarts from the global generator, which is the user's.
        with _quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            shared: dict[str, Any] = {
                "model": ModelListGP(*self._models),
                "X_baseline": torch.as_tensor(self._data.X[valid], dtype=torch.double),
                "sampler": SobolQMCNormalSampler(sample_shape=torch.Size([self._samples]), seed=seed),
                "constraints": self._constraints(goal) or None,
                "X_pending": torch.as_tensor(pending, dtype=torch.double) if len(pending) else None,
                "prune_baseline": True,
            }
            if goal.others:
                gains = self.expected(goal, region)
                corner = self._latent_goal(goal).corner(gains[~np.isnan(gains).any(axis=1)]).tolist()
                acquisition: Any = qLogNoisyExpectedHypervolumeImprovement(
                    ref_point=corner, objective=_objectives(goal), **shared
                )
            else:
                acquisition = qLogNoisyExpectedImprovement(objective=_objective(goal), **shared)
            if region.candidates is not None:
                choices = torch.as_tensor(region.candidates, dtype=torch.double)
                return self._as_arrays(*optimize_acqf_discrete(acquisition, q=count, choices=choices))
            effort: dict[str, Any] = {
                "bounds": torch.as_tensor(np.stack([region.low, region.high]), dtype=torch.double),
                "q": count,
                "num_restarts": self._restarts,
                "raw_samples": self._raw_samples,
                "options": {"maxiter": 60, "seed": seed},
            }
            if region.categories:
                fixed = self._fixed(region, acquisition, seed)
                X, value = optimize_acqf_mixed(acquisition, fixed_features_list=fixed, **effort)
            else:
                X, value = optimize_acqf(
                    acquisition, fixed_features=region.fixed or None, sequential=count > 1, **effort
                )
        return self._as_arrays(X, value)

    def _fixed(self, region: SearchRegion, acquisition: Any, seed: int) -> list[dict[int, float]]:
        """The fixed inputs with each of the combinations of categories that promise most around the near point."""
        columns = sorted(region.categories)
        combinations = combinations_of(region, np.random.default_rng(seed))
        near = 0.5 * (region.low + region.high) if region.near is None else region.near[0]
        points = np.tile(near, (len(combinations), 1))
        points[:, columns] = combinations
        with torch.no_grad():
            promise = acquisition(torch.as_tensor(points[:, None], dtype=torch.double)).numpy()
        best = np.argsort(-promise, kind="stable")[:CLIMBED]
        return [{**region.fixed, **dict(zip(columns, map(float, combinations[i]), strict=True))} for i in best]

    def _covariance(self) -> Any:
        """The kernel of one outcome; categories have an exchangeable one, which multiplies that of all other inputs."""
        rbf, categories = self._kernel == "rbf", [column for column, _ in self.inputs.categories]
        if not categories:
            return get_covar_module_with_dim_scaled_prior(ard_num_dims=self.dim, use_rbf_kernel=rbf)
        exchangeable = CategoricalKernel(ard_num_dims=len(categories), active_dims=categories)
        if not (others := [column for column in range(self.dim) if column not in categories]):
            return exchangeable
        smooth = get_covar_module_with_dim_scaled_prior(
            ard_num_dims=len(others), active_dims=others, use_rbf_kernel=rbf
        )
        return smooth * exchangeable

    def _as_arrays(self, X: torch.Tensor, value: torch.Tensor | None) -> tuple[FloatArray, FloatArray]:
        """Points, shape (k, d), and their acquisition, shape (k,), of which botorch may give one value for all."""
        assert value is not None
        points = X.detach().numpy().reshape(-1, self.dim)
        return points, np.broadcast_to(value.detach().numpy().reshape(-1), (len(points),)).copy()

    def _latent_goal(self, goal: Goal) -> LatentGoal:
        return LatentGoal(goal, SafetyLimits(), self._transforms, self.outcomes)

    def _constraints(self, goal: Goal) -> list[Callable[[torch.Tensor], torch.Tensor]]:
        """The constraints as botorch takes them: functions of the modelled outcomes, negative where they hold."""
        constraints: list[Callable[[torch.Tensor], torch.Tensor]] = []
        for column, low, high in goal.limits:
            transform = self._transforms[column]
            for bound, side in ((low, -1.0), (high, 1.0)):
                z = float(transform.forward(np.array([bound]))[0])
                if math.isfinite(z):
                    constraints.append(_bound(column, side, z))
        if len(self._models) > self.outcomes:
            constraints.append(_bound(self.outcomes, -1.0, float(self._transforms[-1].forward(np.array([0.5]))[0])))
        return constraints

    def _model(self, data: Observations, column: int) -> tuple[SingleTaskGP | None, OutcomeTransform]:
        """The model of one outcome, or of validity (column m); None if there is nothing to model."""
        if column == self.outcomes:
            y = (~np.isnan(data.Y).any(axis=1)).astype(float)
            variance = np.full(len(y), np.nan)
            used = np.full(len(y), not y.all())
        else:
            y, variance = data.Y[:, column], data.Yvar[:, column]
            used = ~np.isnan(y)
        transform = OutcomeTransform.of(y[used])
        if not used.any():
            return None, transform
        X = torch.as_tensor(data.X[used], dtype=torch.double)
        Y = torch.as_tensor(transform.forward(y[used]), dtype=torch.double)[:, None]
        Yvar = transform.variance(y[used], variance[used])
        if column == self.outcomes:
            Yvar = np.full(len(Yvar), VALIDITY_NOISE / transform.whole_scale**2)
        given = (
            torch.as_tensor(np.maximum(Yvar, 1e-8), dtype=torch.double)[:, None] if np.isfinite(Yvar).all() else None
        )
        with _quiet():
            model = SingleTaskGP(
                X,
                Y,
                train_Yvar=given,
                outcome_transform=None,
                covar_module=self._covariance(),
            )
        previous = self._hyper.get(column)
        if previous is not None:
            parameters = dict(model.named_parameters())
            for name, value in previous.items():
                if name in parameters:
                    parameters[name].data.copy_(value)
        return model, transform


def _warm_up() -> None:
    """Make one proposal for three made-up points, because torch imports hundreds of modules at its first optimisation.

    An import holds the interpreter's lock, and in the middle of a run it would stall the RunEngine's event loop.
    """
    surrogate = BotorchSurrogate(1, 1, samples=2, restarts=1, raw_samples=2)
    data = Observations(np.array([[0.0], [0.5], [1.0]]), np.array([[0.0], [1.0], [0.5]]), np.full((3, 1), np.nan))
    surrogate.fit(data)
    surrogate.condition_on(data)
    surrogate.propose(Goal(0, 1.0), SearchRegion(np.zeros(1), np.ones(1)), 1, np.empty((0, 1)), 0)


def _objective(goal: Goal) -> GenericMCObjective:
    def signed(Y: torch.Tensor, X: torch.Tensor | None = None) -> torch.Tensor:
        return goal.sign * Y[..., goal.objective]

    return GenericMCObjective(signed)


def _objectives(goal: Goal) -> GenericMCMultiOutputObjective:
    def signed(Y: torch.Tensor, X: torch.Tensor | None = None) -> torch.Tensor:
        return torch.stack([sign * Y[..., column] for column, sign in goal.objectives], dim=-1)

    return GenericMCMultiOutputObjective(signed)


def _factors(kernel: Any) -> list[Any]:
    """The kernels whose product a kernel is."""
    return list(getattr(kernel, "kernels", [kernel]))


def _bound(column: int, side: float, z: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda Y: side * (Y[..., column] - z)


def _hyper_parameters(model: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence botorch's warnings about data scaling and line searches, and compute in double precision.

    A fit that fails raises an error all the same. The default precision is set because other packages change it when
    they are imported.
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.double)
    try:
        with warnings.catch_warnings():
            for category in (BotorchWarning, NumericalWarning, RuntimeWarning):
                warnings.simplefilter("ignore", category)
            yield
    finally:
        torch.set_default_dtype(default)
