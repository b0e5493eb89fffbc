"""Bayesian optimisation that begins where the beamline stands.

Three phases, each a pure function of the results: the start; a look around it, a few probes along each motor; then a
Gaussian process and log expected improvement in a trust region. As long as nothing is to be seen, a search for the beam
in a growing box takes over. The numerics lie behind `ebl_autonomy.models.Engine`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from ebl_autonomy.agents.base import Agent, AgentOptions, Point, Prediction
from ebl_autonomy.agents.looking import LookAround, first_light
from ebl_autonomy.agents.table import ResultTable
from ebl_autonomy.agents.trust_region import TrustRegion, improvements
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.models.engine import Box, Engine, Goal, Observations
from ebl_autonomy.records import Decision
from ebl_autonomy.space import VOCS, FloatArray, outcome_names

__all__ = ["BayesianAgent", "BayesianOptions"]

REFIT_GROWTH = 1.1
"""Hyper-parameters are inferred again when the number of results has grown by this factor."""


class BayesianOptions(AgentOptions):
    """Options of `BayesianAgent`.

    Attributes
    ----------
    start : {"here", "random"}
        Begin where the beamline stands (the variables' default values; mid-domain for those that have none), or at
        a random point.
    look_around : float
        Step of the probes around the start, as a share of the domain; 0 leaves them out and takes Sobol points.
    trust_region : bool
        Search in a box around the best point; otherwise in the whole domain.
    composite : dict of str to float
        Positive observables and the powers the product of which is the objective, up to a constant: for a beam's area,
        ``{"width_x": 1, "width_y": 1}``. Each is modelled alone, and fewer motors matter to each than to the product.
    engine : {"numba", "botorch"}
        What computes the model and its acquisition: compiled by numba, in milliseconds; or by botorch.
    """

    start: str = Field(default="here", pattern="^(here|random)$")
    look_around: float = Field(default=0.12, ge=0.0, le=0.5)
    trust_region: bool = True
    composite: dict[str, float] = {}
    engine: str = Field(default="numba", pattern="^(numba|botorch)$")


class BayesianAgent(Agent):
    """Gaussian-process optimisation of one objective under outcome constraints.

    Handles continuous and discrete variables (searched as continuous, snapped to their values), contextual variables
    (modelled, held at their latest value), outcome constraints, invalid measurements, measured standard deviations and
    batches. Two objectives are refused.

    Parameters
    ----------
    vocs : VOCS or mapping
    seed : int
    **options
        See `BayesianOptions`.
    """

    name = "bayesian"
    Options: ClassVar[type[AgentOptions]] = BayesianOptions

    def __init__(self, vocs: VOCS | Mapping[str, Any], seed: int = 0, **options: Any) -> None:
        super().__init__(vocs, seed, **options)
        composite = self._bayesian.composite
        self._outcomes = list(dict.fromkeys([*self.space.objectives, *self.space.limits, *composite]))
        if unknown := sorted(set(composite) - set(outcome_names(self.vocs))):
            raise BadInputError(
                f"composite names {unknown}, which are no outcomes of the VOCS: add them to its observables, "
                f"beside {outcome_names(self.vocs)}"
            )
        self._goal = Goal(
            objective=0,
            sign=float(self.space.signs[0]),
            limits=tuple(
                (self._outcomes.index(name), limit.low, limit.high) for name, limit in self.space.limits.items()
            ),
            factors=tuple((self._outcomes.index(name), float(power)) for name, power in composite.items()),
        )
        self._inputs = self.space.dim + len(self.space.context)
        self._table = ResultTable(self.space, self._outcomes)
        self._looked: int | None = None
        factors = [column for column, _ in self._goal.factors]
        self._engine = _make_engine(self._bayesian.engine, self._inputs, len(self._outcomes), factors)
        self._learned = 0
        self._conditioned = -1

    def predict(self, points: Sequence[Mapping[str, Any]]) -> Prediction:
        """See `Agent.predict`; empty until there is something to model."""
        if not points or not self._ready():
            return {}
        self._learn_and_condition()
        mean, std = self._engine.predict(self._scaled(points))
        return {name: (mean[:, i], std[:, i]) for i, name in enumerate(self._outcomes)}

    # -- proposing ---------------------------------------------------------------------------------------------

    def _propose(self, count: int) -> list[tuple[FloatArray, Decision]]:
        proposals: list[tuple[FloatArray, Decision]] = []
        while len(proposals) < count:
            out = [point for point, _ in proposals]
            initial = self._initial(out)
            if initial is None:
                break
            proposals.append(initial)
        if len(proposals) < count:
            proposals.extend(self._informed(count - len(proposals), [point for point, _ in proposals]))
        return proposals

    def _initial(self, out: Sequence[FloatArray]) -> tuple[FloatArray, Decision] | None:
        """A point of the first two phases; `out` are proposals made in the same breath. None once they are over."""
        made = self._made + len(out)
        options = self._bayesian
        if made == 0:
            if options.start == "random":
                return self._rng().random(self.space.dim), Decision(reason="random start", model_version="none")
            return self._start(), Decision(reason="start", model_version="none")
        if options.look_around == 0.0 and made <= 2 * self.space.dim:
            return self._blind(made), Decision(reason="sobol", model_version="none")
        point = self._looking().next(made, self._start()) if options.look_around else None
        if point is not None:
            return point, Decision(reason="look around", model_version="none")
        if self._ready() and self._first_light() <= len(self._results):
            return None
        return self._blind(made), Decision(reason="find the beam", model_version="none")

    def _informed(self, count: int, out: Sequence[FloatArray]) -> list[tuple[FloatArray, Decision]]:
        """Points that the model chooses."""
        self._learn_and_condition()
        box, reason = self._box()
        pending = [*self._scaled(self._pending), *(self._with_context(point) for point in out)]
        seed = int(self._rng().integers(2**31))
        X, acquisition = self._engine.propose(
            self._goal, box, count, np.array(pending).reshape(len(pending), self._inputs), seed
        )
        points = X[:, : self.space.dim]
        # Predictions are of the point that will be measured, discrete values snapped.
        snapped = self.space.unit(self.space.points(points))
        mean, std = self._engine.predict(np.array([self._with_context(point) for point in snapped]))
        return [
            (
                point,
                Decision(
                    mean=dict(zip(self._outcomes, map(float, mean[i]), strict=True)),
                    std=dict(zip(self._outcomes, map(float, std[i]), strict=True)),
                    acquisition=float(acquisition[i]),
                    reason=reason,
                    model_version=self._engine.version,
                ),
            )
            for i, point in enumerate(snapped)
        ]

    def _box(self) -> tuple[Box, str]:
        d = self.space.dim
        fixed = {d + i: value for i, value in enumerate(self._with_context(np.zeros(d))[d:])}
        low, high = np.zeros(self._inputs), np.ones(self._inputs)
        for i, value in fixed.items():
            low[i], high[i] = min(value, 0.0), max(value, 1.0)
        if not self._bayesian.trust_region:
            return Box(low, high, fixed), "log-EI"
        region = TrustRegion()
        for improved in improvements(self._merits())[self._informed_from() :]:
            region = region.after(improved, d)
        taken = [column for column, _ in self._goal.factors] or [self._goal.objective]
        scales = np.min([self._engine.length_scales(column)[:d] for column in taken], axis=0)
        low[:d], high[:d] = region.box(self._centre(len(self._results)), scales)
        return Box(low, high, fixed), f"log-EI within {region.side:.3g} of the domain"

    # -- what the results say ----------------------------------------------------------------------------------

    @property
    def _bayesian(self) -> BayesianOptions:
        assert isinstance(self.options, BayesianOptions)
        return self.options

    def _ready(self) -> bool:
        """Whether every outcome has two valid values, which is the least that a model can be made of."""
        valid = ~np.isnan(self._table.Y)
        return bool(len(valid)) and bool((valid.sum(axis=0) >= 2).all())

    def _first_light(self) -> int:
        """How many results it took to see any outcome respond; see `first_light`."""
        return min(first_light(y, std) for y, std in zip(self._table.Y.T, self._table.std.T, strict=True))

    def _looking(self) -> LookAround:
        return LookAround(self._table.unit, self._merits(), self._first_light(), self._bayesian.look_around)

    def _informed_from(self) -> int:
        """The first result that the model asked for."""
        if self._looked is None:  # both phases depend on the first results alone: once over, they are over
            n = len(self._results)
            looked = self._looking().over(n, self._start()) if self._bayesian.look_around else 2 * self.space.dim + 1
            self._looked = max(looked, min(self._first_light(), n))
        return self._looked

    def _learn(self) -> None:
        self._table.extend(self._results[len(self._table) :])
        self._conditioned = -1

    def _learn_and_condition(self) -> None:
        """Bring the engine to the results, through the same refits whatever the batches were."""
        data, n = self._observations(), len(self._results)
        while True:
            size = max(2 * self.space.dim + 1, math.ceil(self._learned * REFIT_GROWTH), self._learned + 1)
            if size > n:
                break
            part = data.first(size)
            if ((~np.isnan(part.Y)).sum(axis=0) >= 2).all():
                self._engine.learn(part)
            self._learned = size
        if self._conditioned != n:
            self._engine.condition(data)
            self._conditioned = n

    def _observations(self) -> Observations:
        return self._table.observations(self._with_scaled(self._table.unit, self._table.context))

    def _merits(self) -> FloatArray:
        """One number per result, more is better: feasible points by score, the others by how little they violate."""
        scores = self._goal.sign * self._table.Y[:, self._goal.objective]
        violation = self._goal.violation(self._table.Y)
        worst = np.nanmin(scores) if np.isfinite(scores).any() else 0.0
        spread = np.nanmax(scores) - worst if np.isfinite(scores).any() else 0.0
        merits = np.where(violation > 0.0, worst - spread - 1.0 - violation, scores)
        return np.where(np.isfinite(merits), merits, math.nan)

    def _centre(self, count: int) -> FloatArray:
        """The best of the first `count` results, in the unit cube; the start if none is valid."""
        merits = self._merits()[: max(count, 0)]
        if np.isnan(merits).all():
            return self._start()
        return np.array(self._table.unit[int(np.nanargmax(merits))])

    def _best_index(self, candidates: Sequence[Point]) -> int:
        # The luckiest of many noisy readings is not the best point: the model's mean says which is.
        prediction = self.predict(candidates)
        if not prediction:
            return super()._best_index(candidates)
        mean, _ = prediction[self.space.objectives[0]]
        return int(np.argmax(self.space.signs[0] * mean))

    # -- inputs ------------------------------------------------------------------------------------------------

    def _start(self) -> FloatArray:
        return np.asarray(self.space.unit([self.space.standing()])[0])

    def _blind(self, made: int) -> FloatArray:
        """A quasi-random point in a box around the start that grows until it is the domain."""
        u = np.random.default_rng([self.options.seed, made]).random(self.space.dim)
        half = min(1.0, 0.1 * (1.0 + made / (2.0 * self.space.dim)))
        return np.clip(self._start() + half * (2.0 * u - 1.0), 0.0, 1.0)

    def _scaled(self, points: Sequence[Mapping[str, Any]]) -> FloatArray:
        """Model inputs, shape (n, inputs): variables in the unit cube, context scaled by what was seen of it."""
        values = np.array([[float(p[name]) for name in self.space.context] for p in points])
        return self._with_scaled(self.space.unit(points), values.reshape(len(points), len(self.space.context)))

    def _with_scaled(self, unit: FloatArray, context: FloatArray) -> FloatArray:
        if not self.space.context:
            return unit
        low, span = self._context_scale()
        return np.hstack([unit, (context - low) / span])

    def _with_context(self, unit: FloatArray) -> FloatArray:
        if not self.space.context:
            return unit
        low, span = self._context_scale()
        now = np.array([self._context()[name] for name in self.space.context])
        return np.concatenate([unit, (now - low) / span])

    def _context_scale(self) -> tuple[FloatArray, FloatArray]:
        if not self._results:
            return np.zeros(len(self.space.context)), np.ones(len(self.space.context))
        seen = self._table.context
        low, high = np.nanmin(seen, axis=0), np.nanmax(seen, axis=0)
        return low, np.where(high > low, high - low, 1.0)


def _make_engine(name: str, dim: int, outcomes: int, factors: Sequence[int]) -> Engine:
    """The engine of that name; loaded when it is wanted, because torch takes seconds."""
    if name == "botorch":
        from ebl_autonomy.models.botorch_engine import BotorchEngine

        if factors:
            raise BadInputError("composite= needs engine='numba': botorch's models the objective as a whole")
        return BotorchEngine(dim, outcomes)
    from ebl_autonomy.models.numba_engine import NumbaEngine

    return NumbaEngine(dim, outcomes, logarithms=factors)
