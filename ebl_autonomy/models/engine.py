"""The seam between an agent's strategy and the numerics: what is observed, what is wanted, where to look.

An agent decides where to search and when to stop; an engine models the outcomes and maximises an acquisition function
within the box that it is given. Engines are exchanged behind `Engine` without touching an agent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ebl_autonomy.space import FloatArray

__all__ = ["Box", "Engine", "Goal", "Observations"]


@dataclass(frozen=True)
class Observations:
    """Measured points.

    Attributes
    ----------
    X : FloatArray, shape (n, d)
        Inputs, scaled to about the unit cube.
    Y : FloatArray, shape (n, m)
        Outcomes in their own units; NaN where the measurement was invalid.
    Yvar : FloatArray, shape (n, m)
        Variances of the measured values; NaN where unknown.
    """

    X: FloatArray
    Y: FloatArray
    Yvar: FloatArray

    def first(self, count: int) -> Observations:
        """The first `count` of them."""
        return Observations(self.X[:count], self.Y[:count], self.Yvar[:count])


@dataclass(frozen=True)
class Goal:
    """What is wanted of the outcomes.

    Attributes
    ----------
    objective : int
        Column of Y.
    sign : float
        +1 to maximise, -1 to minimise.
    limits : tuple of (column, low, high)
        Outcome constraints; an end may be infinite.
    factors : tuple of (column, power)
        Positive outcomes the product of whose powers is the objective, up to a constant; each is modelled alone. An
        engine may leave this out of account and model the objective itself.
    """

    objective: int
    sign: float
    limits: tuple[tuple[int, float, float], ...] = ()
    factors: tuple[tuple[int, float], ...] = ()

    def violation(self, Y: FloatArray) -> FloatArray:
        """How far rows of outcomes, shape (n, m), break the constraints: 0 if they hold, NaN counts as infinite.

        Each constraint's excess is measured in units of its bound, so that excesses of different outcomes add up.
        """
        total = np.zeros(len(Y))
        for column, low, high in self.limits:
            for bound, excess in ((low, low - Y[:, column]), (high, Y[:, column] - high)):
                if math.isfinite(bound):
                    total += np.maximum(excess, 0.0) / max(abs(bound), 1e-12)
        return np.where(np.isnan(total), np.inf, total)


@dataclass(frozen=True)
class Box:
    """Where to look.

    Attributes
    ----------
    low, high : FloatArray, shape (d,)
    fixed : dict of int to float
        Inputs that are not chosen (contextual variables) and their values.
    """

    low: FloatArray
    high: FloatArray
    fixed: dict[int, float] = field(default_factory=dict)


class Engine(Protocol):
    """A model of the outcomes and an acquisition function over it.

    An engine is a pure function of the calls made to it: the same calls in the same order give the same answers, bit
    for bit.
    """

    version: str
    """Name and kind of the model, written with every decision."""

    def learn(self, data: Observations) -> None:
        """Infer hyper-parameters from `data`, starting from the ones inferred before."""

    def condition(self, data: Observations) -> None:
        """Take `data` as what is known, with the hyper-parameters as they are."""

    def predict(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Means and standard deviations, shape (k, m) each, in the outcomes' units, at points of shape (k, d)."""

    def length_scales(self, column: int) -> FloatArray:
        """Length scales of one outcome's model, shape (d,), in units of the inputs."""

    def propose(
        self, goal: Goal, box: Box, count: int, pending: FloatArray, seed: int
    ) -> tuple[FloatArray, FloatArray]:
        """Points to measure next.

        Parameters
        ----------
        goal : Goal
        box : Box
        count : int
        pending : FloatArray, shape (p, d)
            Points that are being measured.
        seed : int

        Returns
        -------
        X : FloatArray, shape (count, d)
        acquisition : FloatArray, shape (count,)
        """
