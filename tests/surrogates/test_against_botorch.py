"""The compiled surrogate agrees with gpytorch and botorch: posterior, likelihood, log EI, EHVI and all gradients."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from botorch.acquisition.analytic import LogExpectedImprovement
from botorch.models.gp_regression import SingleTaskGP
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from gpytorch.mlls import ExactMarginalLogLikelihood
from hypothesis import given, settings
from hypothesis import strategies as st

from ebl_autonomy.surrogates import acquisition, covariance, hypervolume, improvement
from ebl_autonomy.surrogates.base import Goal, Observations, SearchRegion
from ebl_autonomy.surrogates.hyperparameters import Hyperparameters
from ebl_autonomy.surrogates.numba_surrogate import NumbaSurrogate
from ebl_autonomy.surrogates.priors import NOISE_PRIOR

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore")]  # botorch's advice on scaling


def problem(n: int, d: int, seed: int = 0, noise: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.random((n, d))
    y = np.sin(3.0 * X).sum(axis=1) + noise * rng.standard_normal(n)
    return X, (y - y.mean()) / y.std()


def ours(X: np.ndarray, y: np.ndarray, kernel: str, variance: float | None = None) -> NumbaSurrogate:
    surrogate = NumbaSurrogate(X.shape[1], 1, kernel=kernel)
    Yvar = np.full((len(y), 1), math.nan if variance is None else variance)
    data = Observations(X, y[:, None], Yvar)
    surrogate.fit(data)
    surrogate.condition_on(data)
    return surrogate


def hyperparameters_of(surrogate: NumbaSurrogate) -> Hyperparameters:
    hyperparameters = surrogate._gps.models[0].hyperparameters
    assert hyperparameters is not None
    return hyperparameters


def theirs(surrogate: NumbaSurrogate, X: np.ndarray, y: np.ndarray, kernel: str, variance: float | None = None) -> Any:
    """botorch's model of the latent values, with the hyper-parameters of our surrogate."""
    d = X.shape[1]
    transform, Yvar = hyperparameters_of(surrogate).transform, None
    if variance is not None:
        # Outliers have a variance of their own.
        own = transform.variance(y, np.full(len(y), variance)) + surrogate._gps.models[0].extra
        Yvar = torch.as_tensor(own)[:, None]
    model = SingleTaskGP(
        torch.as_tensor(X),
        torch.as_tensor(transform.forward(y))[:, None],
        train_Yvar=Yvar,
        outcome_transform=None,
        covar_module=get_covar_module_with_dim_scaled_prior(ard_num_dims=d, use_rbf_kernel=kernel == "rbf"),
    )
    theta = hyperparameters_of(surrogate).theta
    model.covar_module.lengthscale = torch.as_tensor(np.exp(theta[:d]))
    model.mean_module.constant.data.fill_(surrogate._gps.models[0].mean)
    if variance is None:
        model.likelihood.noise = float(np.exp(theta[d]))
    return model


CASES = [("matern52", None), ("matern52", 0.01), ("rbf", None), ("rbf", 0.01)]


@pytest.mark.parametrize(("kernel", "variance"), CASES)
@pytest.mark.parametrize(("n", "d"), [(12, 1), (60, 6), (150, 3)])
def test_posterior_and_likelihood(kernel: str, variance: float | None, n: int, d: int) -> None:
    X, y = problem(n, d)
    surrogate = ours(X, y, kernel, variance)
    model = theirs(surrogate, X, y, kernel, variance)
    at = np.random.default_rng(1).random((50, d)) * 1.4 - 0.2
    mean, std = surrogate.predict_latent(at)
    model.train()
    output = model.likelihood(model(*model.train_inputs))
    likelihood = float(output.log_prob(model.train_targets))
    model.eval()
    with torch.no_grad():
        posterior = model.posterior(torch.as_tensor(at))
    assert mean[:, 0] == pytest.approx(posterior.mean[:, 0].numpy(), abs=1e-6)
    assert std[:, 0] ** 2 == pytest.approx(posterior.variance[:, 0].numpy(), abs=1e-6)
    assert surrogate.log_marginal_likelihood(0) == pytest.approx(likelihood, rel=1e-8, abs=1e-6)


@pytest.mark.parametrize("signal_prior", [0.0, 0.75])
@pytest.mark.parametrize("infers_noise", [True, False])
@pytest.mark.parametrize("kernel", ["matern52", "rbf"])
def test_the_gradient_of_the_posterior_of_the_hyper_parameters(
    kernel: str, infers_noise: bool, signal_prior: float
) -> None:
    X, y = problem(25, 4)
    kind = {"matern52": covariance.MATERN52, "rbf": covariance.RBF}[kernel]
    given = np.random.default_rng(3).uniform(0.0, 0.1, 25)
    X[:, 2] = np.round(4.0 * X[:, 2]) / 4.0
    caps = np.array([math.inf, math.inf, 0.25, math.inf])  # the third input is a category
    prior = np.array([(2.0, 1.7)] * 3 + [(0.0, 0.0)])  # no prior for the last input
    work, gradient = np.zeros((2, 25, 25)), np.empty(6)

    def value(theta: np.ndarray, into: np.ndarray) -> float:
        data = (X, y, given, infers_noise, caps, kind, prior, NOISE_PRIOR, signal_prior)
        return float(covariance.negative_log_posterior(theta, *data, into, work))

    theta = np.array([-1.0, -0.5, 0.3, 1.0, -4.0, 0.4 if signal_prior else 0.0])
    value(theta, gradient)
    free = np.array([True] * 4 + [infers_noise, signal_prior > 0.0])
    assert (gradient[~free] == 0.0).all()
    for j in np.flatnonzero(free):
        ends = [theta.copy(), theta.copy()]
        ends[0][j] -= 1e-5
        ends[1][j] += 1e-5
        slope = (value(ends[1], np.empty(6)) - value(ends[0], np.empty(6))) / 2e-5
        assert gradient[j] == pytest.approx(slope, rel=1e-5, abs=1e-6)


def test_the_likelihood_of_a_scaled_signal_is_that_of_a_scaled_covariance() -> None:
    """Against the multivariate normal density written out, noise and known variances included."""
    from scipy.stats import multivariate_normal

    X, y = problem(15, 2)
    given, scale = np.random.default_rng(4).uniform(0.0, 0.1, 15), 1.7
    theta = np.log([0.4, 0.8, 0.05, scale])
    none = (0.0, 1.0)
    data, priors = (X, y, given, True, np.full(2, math.inf), covariance.RBF), (np.zeros((2, 2)), none, 1.0)
    reached = covariance.negative_log_posterior(theta, *data, *priors, np.empty(4), np.zeros((2, 15, 15)))
    level = theta[2] + 2.0 * theta[3]
    without_priors = reached - 0.5 * level**2 - level - 0.5 * theta[3] ** 2
    distances = np.sum(((X[:, None] - X[None]) / np.exp(theta[:2])) ** 2, axis=-1)
    K = scale**2 * (np.exp(-0.5 * distances) + 0.05 * np.eye(15)) + np.diag(given)
    inverse = np.linalg.inv(K)
    mean = inverse.sum(axis=0) @ y / inverse.sum()
    assert without_priors == pytest.approx(-multivariate_normal(np.full(15, mean), K).logpdf(y), abs=1e-8)


def test_the_fit_is_as_likely_as_botorchs() -> None:
    from botorch.fit import fit_gpytorch_mll
    from gpytorch.priors import LogNormalPrior

    X, y = problem(60, 4, noise=0.2)
    surrogate = ours(X, y, "matern52")
    model = theirs(surrogate, X, y, "matern52")
    signal = math.log(hyperparameters_of(surrogate).transform.whole_scale / y.std())
    prior = LogNormalPrior(NOISE_PRIOR[0] - 2.0 * signal, NOISE_PRIOR[1])
    model.likelihood.noise_covar.register_prior("noise_prior", prior, lambda module: module.noise)
    mll = ExactMarginalLogLikelihood(model.likelihood, model)

    def posterior_density() -> float:
        model.train()
        return float(mll(model(*model.train_inputs), model.train_targets))

    reached = posterior_density()
    fit_gpytorch_mll(mll)
    assert reached >= posterior_density() - 1e-3


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_log_ei_and_its_gradient_are_botorchs(sign: float) -> None:
    X, y = problem(30, 3)
    surrogate = ours(X, y, "matern52")
    model = theirs(surrogate, X, y, "matern52")
    model.eval()
    best = float(np.nanmax(surrogate.expected(Goal(0, sign), SearchRegion(np.zeros(3), np.ones(3)))))
    reference = LogExpectedImprovement(model, best_f=sign * best, maximize=sign > 0)
    at = np.random.default_rng(2).random((40, 3))
    tensor = torch.as_tensor(at)[:, None, :].requires_grad_()
    expected = reference(tensor)
    expected.sum().backward()
    value, gradient = acquired(surrogate, at, sign, best)
    assert value == pytest.approx(expected.detach().numpy(), rel=1e-6, abs=1e-6)
    assert gradient == pytest.approx(tensor.grad[:, 0].numpy(), rel=1e-4, abs=1e-4)


def test_the_gain_of_a_noisy_point_is_that_of_the_posterior_mean_after_the_measurement() -> None:
    """E[max(mean after x is measured - best, 0)], by fantasies: botorch's models of each possible reading."""
    from gpytorch import settings as gpytorch_settings

    X, y = problem(25, 2, noise=0.5)
    surrogate = ours(X, y, "matern52", 0.2)
    model = theirs(surrogate, X, y, "matern52", 0.2)
    (own,) = hyperparameters_of(surrogate).transform.variance(y[:1], np.array([0.2]))
    model.eval()
    at, best = np.random.default_rng(3).random((6, 2)), 0.4
    value, gradient = acquired(surrogate, at, 1.0, best, noise=own)
    nodes = np.linspace(-6.0, 6.0, 601)
    weights = np.exp(-0.5 * nodes**2)
    for x, reached in zip(torch.as_tensor(at), value, strict=True):
        with torch.no_grad(), gpytorch_settings.fast_computations(False, False, False):
            now = model.posterior(x[None])
            readings = now.mean.item() + np.sqrt(now.variance.item() + own) * nodes
            then = model.condition_on_observations(
                x[None, None].expand(601, 1, 2),
                torch.as_tensor(readings)[:, None, None],
                noise=torch.full((601, 1, 1), own, dtype=torch.double),
            ).posterior(x[None, None].expand(601, 1, 2))
        gain = np.maximum(then.mean[:, 0, 0].numpy() - best, 0.0) @ weights / weights.sum()
        assert np.exp(reached) == pytest.approx(gain, rel=1e-3, abs=1e-6)
    for j in range(2):
        step = np.zeros(2)
        step[j] = 1e-5
        up, down = (acquired(surrogate, at + side * step, 1.0, best, noise=own)[0] for side in (1.0, -1.0))
        assert gradient[:, j] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-5)


def acquired(
    surrogate: NumbaSurrogate,
    at: np.ndarray,
    sign: float,
    best: float,
    strips: np.ndarray | None = None,
    noise: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    columns, n = surrogate.outcomes + 1, len(surrogate._gps.models[0].rows)
    shares = np.zeros((1 if strips is None else 2, columns))
    np.fill_diagonal(shares, sign)
    none = np.full(columns, math.inf)
    front = np.empty((0, 3)) if strips is None else strips
    none_of_each = np.zeros(columns)
    criteria = acquisition.Criteria(
        shares, -none, none, -none, none, 2.0, best, front, np.full(columns, noise), none_of_each
    )
    work = np.empty((2, columns, len(at), n))
    value, gradient = np.empty(len(at)), np.empty_like(at)
    acquisition.values(at, surrogate._gps.stack(criteria), criteria, True, work[0], work[1], value, gradient)
    return value, gradient


@pytest.mark.parametrize("n", [1, 6, 40])
def test_log_ehvi_and_its_gradient_are_botorchs(n: int) -> None:
    """The exact expected hypervolume improvement of two objectives, the front being that of n observed points."""
    from botorch.acquisition.multi_objective.analytic import ExpectedHypervolumeImprovement
    from botorch.models import ModelListGP
    from botorch.utils.multi_objective.box_decompositions.non_dominated import FastNondominatedPartitioning

    X, y = problem(40, 3)
    _, z = problem(40, 3, seed=1)
    Y = np.stack([y, z - 0.5 * y], axis=1)
    surrogate = NumbaSurrogate(3, 2, plain=(0, 1))
    data = Observations(X, Y, np.full(Y.shape, math.nan))
    surrogate.fit(data)
    surrogate.condition_on(data)
    known = surrogate.expected(Goal(0, 1.0, others=((1, 1.0),)), SearchRegion(np.zeros(3), np.ones(3)))[:n]
    corner = hypervolume.reference(known)
    models = []
    for column in (0, 1):
        single = ours(X, Y[:, column], "matern52")
        model = theirs(single, X, Y[:, column], "matern52")
        model.eval()
        models.append(model)
    partitioning = FastNondominatedPartitioning(torch.as_tensor(corner), torch.as_tensor(known))
    reference = ExpectedHypervolumeImprovement(ModelListGP(*models), torch.as_tensor(corner), partitioning)
    at = np.random.default_rng(2).random((40, 3))
    tensor = torch.as_tensor(at)[:, None, :].requires_grad_()
    expected = reference(tensor)
    expected.sum().backward()
    value, gradient = acquired(surrogate, at, 1.0, -math.inf, hypervolume.strips(known, corner))
    theirs_expected = expected.detach().numpy()
    assert np.exp(value) == pytest.approx(theirs_expected, rel=1e-5, abs=1e-9)
    assert gradient * theirs_expected[:, None] == pytest.approx(tensor.grad[:, 0].numpy(), rel=1e-4, abs=1e-6)


@settings(deadline=None, max_examples=300)
@given(u=st.floats(-200.0, 20.0), std=st.floats(1e-6, 1e3))
def test_log_ei_holds_far_into_the_tail(u: float, std: float) -> None:
    from botorch.acquisition.analytic import _log_ei_helper

    value, by_mean, by_std = improvement.log_ei(u * std, std, 0.0)
    expected = float(_log_ei_helper(torch.tensor(u, dtype=torch.double))) + math.log(std)
    assert value == pytest.approx(expected, rel=1e-8, abs=1e-8)
    assert by_mean > 0
    assert by_std > 0


ends = st.one_of(st.floats(-50.0, 50.0), st.sampled_from([-math.inf, math.inf]))


@settings(deadline=None, max_examples=300)
@given(
    low=ends,
    width=st.floats(1e-3, 100.0),
    mean=st.floats(-20.0, 20.0),
    std=st.floats(1e-2, 10.0),
    bounded=st.booleans(),
)
def test_the_mass_between_two_limits(low: float, width: float, mean: float, std: float, bounded: bool) -> None:
    from scipy.stats import norm

    if low == math.inf:
        low = 0.0
    high = low + width if bounded and math.isfinite(low) else math.inf
    value, by_mean, by_std = improvement.log_mass(mean, std, low, high)
    assert math.isfinite(value)
    assert value <= 1e-12
    exact = norm.cdf(high, mean, std) - norm.cdf(low, mean, std)
    if exact > 1e-8:
        assert value == pytest.approx(math.log(exact), rel=1e-5, abs=1e-6)
        for slope, shift in ((by_mean, (1e-5 * std, 0.0)), (by_std, (0.0, 1e-5 * std))):
            up = improvement.log_mass(mean + shift[0], std + shift[1], low, high)[0]
            down = improvement.log_mass(mean - shift[0], std - shift[1], low, high)[0]
            assert slope == pytest.approx((up - down) / (2e-5 * std), rel=1e-3, abs=1e-3 / std)


def test_the_maximum_is_as_large_as_the_one_that_botorch_finds() -> None:
    """botorch's optimiser of the same acquisition function finds no point that is clearly better."""
    from botorch.optim.optimize import optimize_acqf

    X, y = problem(40, 4)
    surrogate = ours(X, y, "matern52")
    model = theirs(surrogate, X, y, "matern52")
    model.eval()
    best = float(np.nanmax(surrogate.expected(Goal(0, 1.0), SearchRegion(np.zeros(4), np.ones(4)))))
    bounds = torch.stack([torch.zeros(4), torch.ones(4)]).double()
    torch.manual_seed(0)
    _, reference = optimize_acqf(
        LogExpectedImprovement(model, best_f=best), bounds=bounds, q=1, num_restarts=8, raw_samples=256
    )
    _, value = surrogate.propose(Goal(0, 1.0), SearchRegion(np.zeros(4), np.ones(4)), 1, np.empty((0, 4)), 0)
    assert value[0] >= float(reference) - 0.05
