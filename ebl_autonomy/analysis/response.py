"""Whether readings respond to the variables at all, as a ratio of probabilities."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

from ebl_autonomy.space import FloatArray
from ebl_autonomy.surrogates.transforms import OutcomeTransform

__all__ = ["response_factor"]

_SAME: Final = 1e-9
"""Values whose transforms differ by less are the same."""
_RATIOS: Final = (1.0, 10.0, 1e2, 1e4, 1e6)
"""Variances of a response over that of the noise: from as large as the noise to practically without noise."""
_DRIFTS: Final = ((0.0, 0.7), (3.0, 0.1), (1e2, 0.1), (1e4, 0.1))
"""Variances of a drift over that of the noise, and the probability of each before the run."""
_DRIFT_TIME: Final = 0.5
"""Correlation time of a drift, as a share of the run."""


def response_factor(unit: FloatArray, values: FloatArray) -> float:
    """How many times more probable the readings are if the variables matter than if they do not (a Bayes factor).

    The readings are those of a Gaussian process with a constant mean and normal noise, both unknown, on the scale of
    `OutcomeTransform`. In both cases they may drift with time (Uhlenbeck and Ornstein 1930, Phys. Rev. 36, 823). If the
    variables matter, a response is added to which all variables, or one of them, contribute, with a variance that is at
    least that of the noise. The mean and the noise are integrated out under the invariant prior, for which the factor
    has the expected value 1 without a response or drift (Pérez-Ortiz, Lardy, de Heide and Grünwald 2024, Ann. Stat. 52,
    1410).

    Parameters
    ----------
    unit : FloatArray, shape (n, d)
        In the unit cube, in the order of measurement.
    values : FloatArray, shape (n,)
        Finite.

    Returns
    -------
    float
        1 for fewer than three values, which say nothing of the noise; 0 if all are the same.
    """
    n = len(values)
    if n < 3:
        return 1.0
    usual = OutcomeTransform.of(values)
    if np.ptp(usual.forward(values)) < _SAME:
        return 0.0
    time = np.arange(n) / (n - 1.0)
    drift = np.exp(-np.abs(time[:, None] - time) / _DRIFT_TIME)
    noise = (1.0 + 1e-10) * np.eye(n)
    backgrounds = [(noise + ratio * drift, math.log(probability)) for ratio, probability in _DRIFTS]
    # A logarithm stretches the differences between the smallest values, which may be noise; without it, a few large
    # values may hide all others. The mean of factors is a factor that is as honest as each of them.
    factors = []
    for power in {1.0, usual.power}:
        z = OutcomeTransform.of(values, power).forward(values)
        without = [_log_evidence(background, z) + log for background, log in backgrounds]
        with_response = [
            _log_evidence(background + ratio * kernel, z) + log + math.log(probability / len(_RATIOS))
            for kernel, probability in _responses(unit)
            for ratio in _RATIOS
            for background, log in backgrounds
        ]
        factors.append(logsumexp(with_response) - logsumexp(without))
    return float(np.mean(np.exp(np.clip(factors, -700.0, 700.0))))


def _responses(unit: FloatArray) -> list[tuple[FloatArray, float]]:
    """Correlations of responses, shape (n, n), and the probability of each: half for all variables, half for one."""
    squares = (unit[:, None, :] - unit[None, :, :]) ** 2
    d = unit.shape[1]
    of_all = [_matern52(squares.sum(axis=2) / d, scale) for scale in (0.25, 0.7, 2.0)]
    of_one = [_matern52(squares[:, :, i], scale) for i in range(d) for scale in (0.25, 0.7)] if d > 1 else []
    share = 0.5 if of_one else 1.0
    return [(kernel, share / len(of_all)) for kernel in of_all] + [
        (kernel, (1.0 - share) / len(of_one)) for kernel in of_one
    ]


def _matern52(squares: FloatArray, scale: float) -> FloatArray:
    u = np.sqrt(5.0 * squares) / scale
    return np.asarray((1.0 + u + u * u / 3.0) * np.exp(-u))


def _log_evidence(covariance: FloatArray, z: FloatArray) -> float:
    """log p(z), up to a constant, with the mean and the scale of `covariance` integrated out.

    O'Hagan 1978, J. R. Stat. Soc. B 40, 1, with one regressor, the constant.
    """
    factor = np.linalg.cholesky(covariance)
    one, y = solve_triangular(factor, np.column_stack([np.ones(len(z)), z]), lower=True).T
    squares = float(one @ one)
    residual = y - one * float(one @ y) / squares
    half_determinant = float(np.log(np.diag(factor)).sum())
    return -half_determinant - 0.5 * math.log(squares) - 0.5 * (len(z) - 1) * math.log(float(residual @ residual))
