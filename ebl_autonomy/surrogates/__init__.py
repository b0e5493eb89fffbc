"""Models of the outcomes: Gaussian processes, and the acquisition functions that choose the next point from them.

``base`` holds the protocol `Surrogate` and the plain types that an agent hands to it. Two surrogates implement it:
``numba_surrogate`` is compiled and decides in milliseconds, ``botorch_surrogate`` decides in about a second.

The compiled surrogate is made of these parts.

==================== ==========================================================================================
``transforms``       The transform of an outcome to the latent scale on which it is modelled, and back.
``hyperparameters``  What is inferred for each outcome: length scales, noise, transform, drift, use of past data.
``covariance``       Compiled: kernels, factors that grow by rows, the posterior density of hyper-parameters, its fit.
``conditioning``     The models of all outcomes under the observations; the judgement of readings that no fit has seen.
``outliers``         Compiled: which readings lie.
``latent_goal``      The goal of the experiment on the latent scale.
``improvement``      Compiled: expected improvement, expected hypervolume improvement, probability of a constraint.
``acquisition``      Compiled: the acquisition function over all outcomes, its gradient, its ascent.
``maximization``     The search for the point with the largest acquisition.
``hypervolume``      Pareto fronts of two objectives and the area that they dominate.
==================== ==========================================================================================
"""

from __future__ import annotations

from ebl_autonomy.lazy import public_dir
from ebl_autonomy.surrogates.base import (
    Diagnosis,
    Goal,
    InputLayout,
    Observations,
    SafetyLimits,
    SearchRegion,
    Surrogate,
    Suspect,
)

__all__ = ["Diagnosis", "Goal", "InputLayout", "Observations", "SafetyLimits", "SearchRegion", "Surrogate", "Suspect"]

__dir__ = public_dir(__name__)
