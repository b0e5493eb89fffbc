"""Bayesian optimisation that begins where the beamline stands.

Three phases, each a pure function of the results: the start; a look around it, a few probes along each motor; then a
Gaussian process and log expected improvement in a trust region. As long as nothing is to be seen, a search for the beam
in a growing box takes over. The numerics lie behind `ebl_autonomy.surrogates.Surrogate`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np
from scipy.stats import qmc

from ebl_autonomy.agents.base import Agent, AgentOptions, Point, Prediction, most_wanted
from ebl_autonomy.agents.bayesian import construction, prior_mean
from ebl_autonomy.agents.bayesian.coordinates import Coordinates
from ebl_autonomy.agents.bayesian.explanation import Drift, Explanation, explain, loss
from ebl_autonomy.agents.bayesian.hard_limits import HardLimits
from ebl_autonomy.agents.bayesian.options import BayesianOptions
from ebl_autonomy.agents.bayesian.probing import Probing, first_light
from ebl_autonomy.agents.bayesian.refitting import RefitSchedule
from ebl_autonomy.agents.bayesian.training_data import CLOCK_UNIT, TrainingData
from ebl_autonomy.agents.bayesian.travel_cost import TravelCost
from ebl_autonomy.agents.bayesian.trust_region import TrustRegion, improvements
from ebl_autonomy.errors import AgentError, BadInputError
from ebl_autonomy.records import Best, Decision
from ebl_autonomy.space import VOCS, FloatArray, Travel
from ebl_autonomy.surrogates import hypervolume
from ebl_autonomy.surrogates.acquisition import UNSAFE
from ebl_autonomy.surrogates.base import InputLayout, SearchRegion, Surrogate

__all__ = ["BayesianAgent", "BayesianOptions"]

FOLLOWING = TrustRegion(side=0.4)
"""Where something drifts, an improvement says nothing about the size of the box."""
SPREAD = 2
"""So many points are spread over the domain before the model of several objectives chooses."""
NEAR_FRONT = 16
"""Around so many points of a front, or safe points, the search is closest."""


class BayesianAgent(Agent):
    """Gaussian-process optimisation of one or more objectives under outcome constraints.

    Handles continuous and discrete variables (searched as continuous, snapped to their values), contextual variables
    (modelled, held at their latest value), outcome constraints, hard limits, invalid measurements, measured standard
    deviations, drift, past experiments, travel times, and batches.

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
        o = self._bayesian
        construction.check(o, self.space)
        self._hard = HardLimits(o.hard)
        named = [*self.space.objectives, *self.space.limits, *o.composite, *self._hard.names]
        self._outcomes = list(dict.fromkeys(named))
        self._several = len(self.space.objectives) > 1
        self._goal = construction.goal_of(o, self.space, self._outcomes)
        self.coordinates = Coordinates(self.space, o.coordinates)
        timed = o.drift == "on" or (o.drift == "auto" and construction.backend(o, self.space) == "numba")
        self._experience = TrainingData(self.space, self._outcomes, self.coordinates, timed, o.clock)
        self._looked: int | None = None
        self._learning = self._new_learning()
        self._expected_now: FloatArray | None = None
        if o.prior_mean is not None:
            function = prior_mean.load(o.prior_mean)
            self._remember(prior_mean.LABEL, prior_mean.sample(function, self.space, self._outcomes, seed))

    # -- what is known -----------------------------------------------------------------------------------------

    def ingest_prior(self, results: Sequence[Mapping[str, Any]], label: str = "prior") -> None:
        """See `Agent.ingest_prior`.

        The past enters the model as an experiment of its own, correlated with the present as far as the measurements
        of both say: a past that predicts badly is discounted. How far it is trusted is in `explain`.
        """
        taken = [self._checked(result) for result in results]
        if not taken:
            raise BadInputError(f"the past experiment {label!r} has no results")
        self._remember(label, taken)

    def _remember(self, label: str, results: Sequence[Point]) -> None:
        if construction.backend(self._bayesian, self.space) == "botorch":
            raise BadInputError(f"past {label!r} needs engine='numba': botorch's has no guard against a wrong one")
        self._experience.remember(label, results, np.array([self.space.score(result) for result in results]))
        self._learning = self._new_learning()
        self._looked = self._expected_now = None

    def set_travel(self, travel: Travel, measure_s: float) -> None:
        """Know how long moves and measurements take, unless the options say so or the agent has begun."""
        if self._results or self._pending or self._bayesian.travel:
            return
        axes = {name: asdict(axis) for name, axis in travel.axes.items() if name in self.space.names}
        self.options = self._bayesian.model_copy(update={"travel": axes, "measure_s": max(measure_s, 1e-3)})

    def _new_learning(self) -> RefitSchedule:
        hard = self._hard.for_engine(self._outcomes, self._bayesian.sigmas, self._bayesian.reach)
        surrogate = construction.make_surrogate(
            self._bayesian, self.space, self._experience.inputs, self._outcomes, self._goal, hard
        )
        first = 0 if self._experience.pasts else 2 * self.space.dim + 1
        return RefitSchedule(surrogate, self._experience.observations, first)

    def predict(self, points: Sequence[Mapping[str, Any]]) -> Prediction:
        """See `Agent.predict`; empty until there is something to model."""
        if not points or not self._ready():
            return {}
        surrogate = self._modelled()
        unit = self.space.unit(points)
        context = np.array([[float(p.get(n, now)) for n, now in self._context().items()] for p in points])
        X = self._experience.now(
            self.coordinates.search(unit), context.reshape(len(points), len(self.space.context)), self._scaled_at
        )
        mean, std = surrogate.predict(X)
        return {name: (mean[:, i], std[:, i]) for i, name in enumerate(self._outcomes)}

    def front(self) -> list[Best]:
        """The feasible measured points that no other one betters in all objectives, by rising first objective."""
        feasible = [r for r in self._results if self.space.feasible(r) and self._scored(r)]
        if not feasible:
            return []
        scores = np.array([[self.space.signs[i] * r[n] for i, n in enumerate(self.space.objectives)] for r in feasible])
        on = np.flatnonzero(hypervolume.undominated(scores))
        return [self._as_best(feasible[i], True) for i in on[np.argsort(scores[on, 0], kind="stable")]]

    @property
    def pasts(self) -> list[str]:
        """Labels of the past experiments that were taken, in their order."""
        return list(self._experience.pasts)

    def violations(self) -> int:
        """How many results broke a hard limit."""
        return self._hard.broken(self._results)

    def explain(self) -> Explanation:
        """How good the model is, what it believes, and why the latest points were chosen.

        Raises
        ------
        AgentError
            If there is no model yet.
        """
        if not self._results or not self._ready():
            raise AgentError(f"with {len(self._results)} results there is no model yet to explain")
        return explain(
            surrogate=self._modelled(),
            space=self.space,
            coordinates=self.coordinates,
            experience=self._experience,
            outcomes=self._outcomes,
            drift=self.drift(),
            violations=self.violations() if self._hard else None,
            decisions=self._decisions,
        )

    def drift(self) -> Drift:
        """Whether something drifts, and whether measuring again where it was best would pay."""
        if not self._results or not self._ready():
            return Drift(False)
        surrogate = self._modelled()
        if not self._drifts():
            return Drift(False)
        clock = surrogate.length_scales(self._goal.objective)[self._inputs.clock_at]
        holds_for = float(CLOCK_UNIT * clock)
        column, sign = self._goal.objective, self.space.signs[0]
        merits, n = self._merits(), len(self._results)
        good = np.flatnonzero(np.isfinite(merits) & (self._goal.violation(self._experience.table.Y) == 0.0))
        # Where it stands: the best of what was measured lately enough to tell.
        lately = good[good >= n - max(5, math.ceil(min(holds_for, n)))]
        if not len(lately):
            return Drift(True, holds_for)
        # The best there was, as the model sees it: the luckiest reading would make any noise look like a loss.
        once = good[np.argsort(-merits[good], kind="stable")[:NEAR_FRONT]]
        then = self._experience.observations(n, self._scaled_at).X[-n:][once]
        now = self._now(self._experience.searched[lately])
        return Drift(True, holds_for, *loss(surrogate, column, sign, then, now))

    # -- proposing ---------------------------------------------------------------------------------------------

    def _propose(self, count: int) -> list[tuple[FloatArray, Decision]]:
        proposals: list[tuple[FloatArray, Decision]] = []
        while len(proposals) < count:
            initial = self._initial(self._made + len(proposals))
            if initial is None:
                break
            point, reason = initial
            unit = self.coordinates.unit(point[None], self._best_measured())[0]
            proposals.append((unit, Decision(reason=reason, model_version="none")))
        if len(proposals) < count:
            proposals.extend(self._informed(count - len(proposals), [unit for unit, _ in proposals]))
        return proposals

    def _initial(self, made: int) -> tuple[FloatArray, str] | None:
        """The point, shape (d,), of proposal number `made`, if it belongs to the first phases, and why."""
        o, d = self._bayesian, self.space.dim
        if self._hard:
            return self._careful(made)
        if made == 0:
            if o.start == "random":
                return self._rng().random(d), "random start"
            return self._start(), "start"
        if self._experience.pasts:
            # The past has looked around already; its best point tells soonest whether it still holds.
            past = self._past_best() if made == 1 else None
            if past is not None or self._ready():
                return None if past is None else (past, "best of the past")
        if self._several:
            # Trade-offs run through the whole domain; around the start there is no best direction to follow.
            return (self._spread(made), "spread") if made <= SPREAD or not self._ready() else None
        if o.look_around == 0.0 and made <= 2 * d:
            return self._blind(made), "look nearby"
        point = self._looking().next(made, self._start()) if o.look_around else None
        if point is not None:
            return point, "look around"
        if self._ready() and self._first_light() <= len(self._results):
            return None
        return self._blind(made), "find the beam"

    def _careful(self, made: int) -> tuple[FloatArray, str] | None:
        """`_initial` under hard limits: nothing is tried that no measurement vouches for, or the user's word."""
        kept, table = self._kept(), self._experience.table
        told = np.isfinite(table.Y[:, self._hard.columns(self._outcomes)]).all(axis=1)
        if told.any() and not kept[int(np.argmax(told))]:
            broke = self._results[int(np.argmax(told))]
            raise AgentError(f"the first point broke a hard limit ({broke}): start where {self._bayesian.hard} hold")
        if not kept.any():
            return self._start(), "start"  # not measured yet, or it could not be
        point = self._looking().next(made, self._start())
        if point is not None:
            return point, "look around"
        if self._ready():
            return None
        safest = self._hard.safest(table, self._outcomes)
        return self.coordinates.search(safest[None])[0], "the safest known point once more"

    def _informed(self, count: int, out: Sequence[FloatArray]) -> list[tuple[FloatArray, Decision]]:
        """Points that the model chooses, in the unit cube of motors; `out` were proposed in the same breath."""
        surrogate = self._modelled()
        box, reason = self._box(out)
        under_way = np.vstack([self.space.unit(self._pending), *(unit[None] for unit in out)])
        pending = self._now(self.coordinates.search(under_way))
        seed = int(self._rng().integers(2**31))
        X, acquisition = surrogate.propose(self._goal, box, count, pending, seed)
        units = self.coordinates.unit(X[:, : self.space.dim], self._centre())
        if self._hard:
            safest = self._hard.safest(self._experience.table, self._outcomes)
            for i in np.flatnonzero(acquisition < 0.5 * UNSAFE):
                units[i] = safest  # nothing else is known to be safe: know it better
        # Predictions are of the point that will be measured, discrete values snapped.
        snapped = self.space.snap(units)
        mean, std = surrogate.predict(self._now(self.coordinates.search(snapped)))
        return [
            (
                unit,
                Decision(
                    mean=dict(zip(self._outcomes, map(float, mean[i]), strict=True)),
                    std=dict(zip(self._outcomes, map(float, std[i]), strict=True)),
                    acquisition=float(acquisition[i]) if acquisition[i] > 0.5 * UNSAFE else math.nan,
                    reason=reason if acquisition[i] > 0.5 * UNSAFE else "the safest known point once more",
                    model_version=surrogate.version,
                ),
            )
            for i, unit in enumerate(snapped)
        ]

    def _box(self, out: Sequence[FloatArray]) -> tuple[SearchRegion, str]:
        """Where to look, and what to call it; `out` as for `_informed`."""
        d, o = self.space.dim, self._bayesian
        fixed = self._experience.fixed(self._conditions, self._scaled_at)
        low, high = np.zeros(self._inputs.dim), np.ones(self._inputs.dim)
        seconds = None
        if o.per_second and o.travel:
            last = self.space.points(np.array(out[-1:])) if out else [*self._results[-1:], *self._pending[-1:]]
            here = last[-1] if last else self.space.standing()
            seconds = TravelCost(o, self.space, self.coordinates, self._centre(), here)
        reach = None if self.coordinates.plain and not self.space.choices else self._reachable
        name = "log-EHVI" if self._several else "log-EI"
        if self._several or self._hard:
            return SearchRegion(low, high, fixed, self._worthy(), seconds, reach), name
        near = self._now(self._centre()[None])
        if not o.trust_region or (self._goal.limits and self._turn_of_the_domain()):
            return SearchRegion(low, high, fixed, near, seconds, reach), name
        region = FOLLOWING
        if not self._drifts():
            region = TrustRegion()
            for improved in improvements(self._merits())[self._informed_from() :]:
                region = region.after(improved, d)
        taken = [column for column, _ in self._goal.factors] or [self._goal.objective]
        scales = np.min([self._modelled().length_scales(column)[:d] for column in taken], axis=0)
        low[:d], high[:d] = region.box(near[0, :d], scales)
        return SearchRegion(low, high, fixed, near, seconds, reach), f"{name} within {region.side:.3g} of the domain"

    def _turn_of_the_domain(self) -> bool:
        """Under limits, half the decisions look at all of it, drawn by lot: there may be several feasible places."""
        return bool(np.random.default_rng([self.options.seed, len(self._results)]).random() < 0.5)

    def _worthy(self) -> FloatArray:
        """Model inputs of the points to search around: the front, or those that are best and safe."""
        expected = self._expected()
        known = np.flatnonzero(np.isfinite(expected).all(axis=1) & self._kept())
        if not len(known):
            return self._now(self._start()[None])
        if self._several and expected.shape[1] == 2:
            known = known[hypervolume.front(expected[known])]
        else:
            known = known[np.argsort(-expected[known].sum(axis=1), kind="stable")]
        return self._now(self._experience.searched[known[:NEAR_FRONT]])

    def _reachable(self, X: FloatArray) -> FloatArray:
        """Model inputs, shape (k, inputs), drawn into the motors' domain, discrete values snapped."""
        d = self.space.dim
        units = self.space.snap(self.coordinates.unit(X[:, :d], self._centre()))
        return np.hstack([self.coordinates.search(units), X[:, d:]])

    # -- what the results say ----------------------------------------------------------------------------------

    @property
    def _bayesian(self) -> BayesianOptions:
        assert isinstance(self.options, BayesianOptions)
        return self.options

    @property
    def _inputs(self) -> InputLayout:
        return self._experience.inputs

    @property
    def _scaled_at(self) -> int:
        return self._learning.scaled_at(len(self._results))

    def _ready(self) -> bool:
        """Whether every outcome has two valid values, which is the least that a model can be made of."""
        present = (~np.isnan(self._experience.table.Y)).sum(axis=0)
        told = present + sum((~np.isnan(past.Y)).sum(axis=0) for past in self._experience.pasts.values())
        hard = self._hard.columns(self._outcomes)  # of which the past says nothing
        return bool((told >= 2).all() and (present[hard] >= 2).all())

    def _first_light(self) -> int:
        """How many results it took to see any outcome respond; see `first_light`."""
        table = self._experience.table
        return min(first_light(y, std) for y, std in zip(table.Y.T, table.std.T, strict=True))

    def _looking(self) -> Probing:
        searched, merits = self._experience.searched, self._merits()
        if self._hard:  # a probe without a view would be a leap
            return Probing(searched, merits, 0, self._bayesian.safe_step)
        return Probing(searched, merits, self._first_light(), self._bayesian.look_around)

    def _informed_from(self) -> int:
        """The first result that the model asked for."""
        if self._looked is not None:
            return self._looked
        n = len(self._results)
        if self._experience.pasts:
            return 2
        if self._bayesian.look_around:
            looked = max(self._looking().over(n, self._start()), min(self._first_light(), n))
        else:
            looked = max(2 * self.space.dim + 1, min(self._first_light(), n))
        if looked < n:  # both phases depend on the first results alone: once over, they are over
            self._looked = looked
        return looked

    def _learn(self) -> None:
        table = self._experience.table
        table.extend(self._results[len(table) :])

    def _modelled(self) -> Surrogate:
        """The surrogate, brought to the results."""
        if self._learning.conditioned != len(self._results):
            self._expected_now = None
        return self._learning.bring_to(len(self._results))

    def _merits(self) -> FloatArray:
        """One number per result, more is better: feasible points by score, the others by how little they violate."""
        Y = self._experience.table.Y
        scores = self._goal.sign * Y[:, self._goal.objective]
        violation = self._goal.violation(Y)
        worst = np.nanmin(scores) if np.isfinite(scores).any() else 0.0
        spread = np.nanmax(scores) - worst if np.isfinite(scores).any() else 0.0
        merits = np.where(violation > 0.0, worst - spread - 1.0 - violation, scores)
        return np.where(np.isfinite(merits) & self._kept(), merits, math.nan)

    def _expected(self) -> FloatArray:
        """What is expected now where the results were measured; see `Surrogate.expected`."""
        surrogate = self._modelled()  # which forgets what was expected with fewer results
        if self._expected_now is None:
            fixed = self._experience.fixed(self._conditions, self._scaled_at)
            self._expected_now = surrogate.expected(self._goal, SearchRegion(np.zeros(0), np.zeros(0), fixed))
        return self._expected_now

    def _drifts(self) -> bool:
        """Whether the model believes that measurements of the objective grow old."""
        clock = self._inputs.clock_at
        if clock is None or self._learning.conditioned != len(self._results):
            return False
        return bool(np.isfinite(self._modelled().length_scales(self._goal.objective)[clock]))

    def _centre(self) -> FloatArray:
        """The point that is expected to be the best of those measured, in searched coordinates; at first the start."""
        searched = self._experience.searched
        if self._learning.conditioned == len(self._results):
            # The luckiest of many noisy readings is not the best point, nor the best point of an hour ago.
            expected = self._expected()[:, 0]
            if not np.isnan(expected).all():
                return np.array(searched[int(np.nanargmax(expected))])
        return self._best_measured()

    def _best_measured(self) -> FloatArray:
        """The best point that was measured, in searched coordinates; at first the start."""
        merits = self._merits()
        if np.isnan(merits).all():
            return self._start()
        return np.array(self._experience.searched[int(np.nanargmax(merits))])

    def _past_best(self) -> FloatArray | None:
        """The best point of the past experiments, in searched coordinates; None if nothing in them was valid."""
        best, found = -math.inf, None
        for past in self._experience.pasts.values():
            told = np.asarray(np.isfinite(past.Y).any(axis=0))
            scores = np.where(self._goal.violation(past.Y, told) > 0.0, math.nan, past.Y[:, self._goal.objective])
            scores = self._goal.sign * scores
            if np.isfinite(scores).any() and np.nanmax(scores) > best:
                best, found = float(np.nanmax(scores)), past.X[int(np.nanargmax(scores)), : self.space.dim]
        return found

    def _kept(self) -> np.ndarray:
        """Whether each result kept the hard limits, shape (n,)."""
        return self._hard.kept(self._experience.table, self._outcomes)

    def _trusted(self, feasible: Sequence[int]) -> Sequence[int]:
        # At the edge of what can be seen, one lucky measurement does not make a place to end.
        if not self._ready():
            return feasible
        likely = np.flatnonzero(np.isfinite(self._expected()).all(axis=1))
        return sorted(set(feasible) & set(likely.tolist()))

    def _best_index(self, candidates: Sequence[Point]) -> int:
        # The luckiest of many noisy readings is not the best point: the model's mean says which is.
        prediction = self.predict(candidates)
        if not prediction:
            return super()._best_index(candidates)
        gains = np.array(
            [sign * prediction[name][0] for name, sign in zip(self.space.objectives, self.space.signs, strict=True)]
        )
        return most_wanted(gains)

    # -- inputs ------------------------------------------------------------------------------------------------

    def _start(self) -> FloatArray:
        return np.asarray(self.coordinates.search(self.space.unit([self.space.standing()]))[0])

    @property
    def _conditions(self) -> FloatArray:
        """The latest value of each contextual variable, shape (c,)."""
        return np.array(list(self._context().values()))

    def _now(self, searched: FloatArray) -> FloatArray:
        """Model inputs of searched coordinates, shape (n, d), under the present conditions."""
        return self._experience.now(searched, self._conditions, self._scaled_at)

    def _blind(self, made: int) -> FloatArray:
        """A random point in a box around the start that grows until it is the domain."""
        u = np.random.default_rng([self.options.seed, made]).random(self.space.dim)
        half = min(1.0, 0.1 * (1.0 + made / (2.0 * self.space.dim)))
        return np.clip(self._start() + half * (2.0 * u - 1.0), 0.0, 1.0)

    def _spread(self, made: int) -> FloatArray:
        """A quasi-random point of the domain."""
        points = qmc.Sobol(self.space.dim, seed=self.options.seed).random_base2(math.ceil(math.log2(made + 1)))
        return np.asarray(points[made - 1])

    # -- construction ------------------------------------------------------------------------------------------

    def _validate_vocs(self, vocs: VOCS) -> None:
        if not vocs.objectives:
            raise BadInputError("the VOCS has no objective: name at least one as {name: 'MINIMIZE'} or 'MAXIMIZE'")
