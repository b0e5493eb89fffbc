"""The Bayesian agent: the order of its phases, and its public methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np

from ebl_autonomy.agents.base import Agent, AgentOptions, Point, Prediction, most_wanted
from ebl_autonomy.agents.bayesian import prior_mean
from ebl_autonomy.agents.bayesian.confirming import Confirming
from ebl_autonomy.agents.bayesian.drift import DriftEstimate, estimate_drift
from ebl_autonomy.agents.bayesian.explanation import Explanation, explain
from ebl_autonomy.agents.bayesian.model_based import ModelBased
from ebl_autonomy.agents.bayesian.options import BayesianOptions
from ebl_autonomy.agents.bayesian.phases import (
    BestOfPast,
    Blind,
    Nearby,
    OpeningPhase,
    Phase,
    Probing,
    Proposal,
    RandomStart,
    Request,
    SafestAgain,
    SafeStart,
    Spread,
    Start,
    Survey,
)
from ebl_autonomy.agents.bayesian.state import SearchState
from ebl_autonomy.errors import AgentError, BadInputError
from ebl_autonomy.records import Recommendation
from ebl_autonomy.space import VOCS, Travel
from ebl_autonomy.surrogates import hypervolume

__all__ = ["BayesianAgent", "order_of_phases"]


def order_of_phases(options: BayesianOptions, several_objectives: bool, has_past: bool) -> list[Phase]:
    """The phases of a search in the order in which they are asked; the first phase with a proposal decides."""
    if options.hard:
        # Only points that a measurement or the user's `safe_step` supports are proposed.
        return [SafeStart(), Probing(options.safe_step), SafestAgain(), ModelBased(options)]
    start: OpeningPhase = RandomStart() if options.start == "random" else Start()
    looking: list[OpeningPhase]
    if several_objectives:
        looking = [Spread(options.seed)]
    elif options.look_around:
        first = Survey(options.seed)
        looking = [first, Probing(options.look_around, after=first), Blind(options.seed)]
    else:
        looking = [Nearby(options.seed), Blind(options.seed)]
    if has_past:
        # Past experiments replace the probes, unless they hold too little data for a model.
        return [start, BestOfPast(), Confirming(), ModelBased(options, after=[start, BestOfPast()]), *looking]
    return [start, *looking, Confirming(), ModelBased(options, after=[start, *looking])]


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
        See `ebl_autonomy.agents.BayesianOptions`.
    """

    name = "bayesian"
    Options: ClassVar[type[AgentOptions]] = BayesianOptions

    def __init__(self, vocs: VOCS | Mapping[str, Any], seed: int = 0, **options: Any) -> None:
        super().__init__(vocs, seed, **options)
        self._pasts: dict[str, list[Point]] = {}
        self._space_changed()

    def _space_changed(self) -> None:
        self._state = SearchState(self.space, self._bayesian_options)
        if self._bayesian_options.prior_mean is not None:
            function, seed = prior_mean.load(self._bayesian_options.prior_mean), self._bayesian_options.seed
            sampled = prior_mean.sample(function, self.space, self._state.outcomes, seed)
            self._state.add_past(prior_mean.LABEL, sampled)
        for label, results in self._pasts.items():
            self._state.add_past(label, results)
        self._learn()
        self._choose_phases()

    def _validate_vocs(self, vocs: VOCS) -> None:
        if not vocs.objectives:
            raise BadInputError("the VOCS has no objective: name at least one as {name: 'MINIMIZE'} or 'MAXIMIZE'")

    @property
    def _bayesian_options(self) -> BayesianOptions:
        assert isinstance(self.options, BayesianOptions)
        return self.options

    # -- proposing ---------------------------------------------------------------------------------------------

    def _choose_phases(self) -> None:
        several = len(self.space.objectives) > 1
        self._phases = order_of_phases(self._bayesian_options, several, has_past=bool(self._state.data.pasts))

    def _propose(self, count: int) -> list[Proposal]:
        proposals: list[Proposal] = []
        while len(proposals) < count:
            request = Request(
                number=self._made + len(proposals),
                count=count - len(proposals),
                pending=self._pending,
                same_call=[unit for unit, _ in proposals],
                rng=self._rng(),
            )
            answers = (phase.propose(self._state, request) for phase in self._phases)
            proposals.extend(next(filter(None, answers)))
        return proposals

    # -- learning ----------------------------------------------------------------------------------------------

    def _learn(self) -> None:
        new = range(len(self._state.results), len(self._results))
        results, asked = [self._results[i] for i in new], [self._asked[i] for i in new]
        self._state.add(results, [self._reachable(i) for i in new], asked)

    def ingest_prior(self, results: Sequence[Mapping[str, Any]], label: str = "prior") -> None:
        """See `Agent.ingest_prior`.

        The past experiment enters the model as a separate task, whose correlation with the present one is inferred from
        the measurements of both, so a past that predicts badly is discounted. `explain` reports the correlation.

        Raises
        ------
        BadInputError
            If there are no results, a key is missing, the label is known already, or there are too many pasts.
        """
        taken = [self._checked(result) for result in results]
        if not taken:
            raise BadInputError(f"the past experiment {label!r} has no results")
        self._state.add_past(label, taken)
        self._pasts[label] = taken
        self._choose_phases()

    def set_travel(self, travel: Travel, measure_s: float) -> None:
        """Take the duration of moves and measurements (s), unless the options give `travel` or the agent has begun."""
        if self._results or self._pending or self._bayesian_options.travel:
            return
        axes = {name: asdict(axis) for name, axis in travel.axes.items() if name in self.space.names}
        self.options = self._bayesian_options.model_copy(update={"travel": axes, "measure_s": max(measure_s, 1e-3)})
        self._choose_phases()

    # -- queries -----------------------------------------------------------------------------------------------

    def predict(self, points: Sequence[Mapping[str, Any]]) -> Prediction:
        """See `Agent.predict`; empty until there is enough data for a model."""
        if not points or not self._state.can_model:
            return {}
        mean, std = self._state.predict(points)
        return {name: (mean[:, i], std[:, i]) for i, name in enumerate(self._state.outcomes)}

    def front(self) -> list[Recommendation]:
        """The Pareto front of the feasible measured points inside the searched part, without suspect readings.

        Sorted by the first objective, worst first.
        """
        suspects = self._state.suspects if self._state.can_model else {}
        inside = [r for i, r in enumerate(self._results) if self._reachable(i) and i not in suspects]
        feasible = [r for r in inside if self.space.feasible(r) and self._scored(r)]
        if not feasible:
            return []
        scores = np.array([[r[name] for name in self.space.objectives] for r in feasible]) * self.space.signs
        on_front = np.flatnonzero(hypervolume.undominated(scores))
        by_first = on_front[np.argsort(scores[on_front, 0], kind="stable")]
        return [self._as_best(feasible[i], True) for i in by_first]

    @property
    def pasts(self) -> list[str]:
        """Labels of the past experiments, in the order in which they were added."""
        return list(self._state.data.pasts)

    def suspects(self) -> dict[str, list[int]]:
        """The results that the model takes for outliers, by outcome; empty without a model.

        They are numbered from 0 in the order of `ingest`, as in `explain`. They hardly count, and are never recommended
        while there is another feasible result. An invalid measurement is no suspect, whatever else was read.
        """
        if not self._state.can_model:
            return {}
        state = self._state
        found = {name: {suspect.row for suspect in state.suspects_of(i)} for i, name in enumerate(state.outcomes)}
        if state.goal.factors:  # a product is as doubtful as its factors
            found[state.outcomes[state.goal.objective]] |= set(state.suspects)
        return {name: sorted(rows) for name, rows in found.items() if rows}

    def violations(self) -> int:
        """Number of results that violate a hard limit."""
        return self._state.hard_violations

    def drift(self) -> DriftEstimate:
        """Whether the objective drifts, and whether a realignment would pay."""
        return estimate_drift(self._state)

    def explain(self) -> Explanation:
        """The model, its quality, and the reasons for the latest proposals.

        Raises
        ------
        AgentError
            If there is not enough data for a model.
        """
        if not self._results or not self._state.can_model:
            raise AgentError(f"with {len(self._results)} results there is no model yet to explain: measure more points")
        return explain(self._state, self._decisions)

    # -- the best point ----------------------------------------------------------------------------------------

    def _trusted(self, feasible: Sequence[int]) -> Sequence[int]:
        # One lucky measurement at the edge of feasibility is not a point to recommend.
        if not self._state.can_model:
            return feasible
        likely = set(np.flatnonzero(np.isfinite(self._state.expected).all(axis=1)).tolist())
        likely.difference_update(self._state.suspects)  # nor is one that the model takes for an outlier
        return sorted(set(feasible) & likely)

    def _best_index(self, candidates: Sequence[Point]) -> int:
        # The posterior mean decides, because the luckiest of many noisy readings is not the best point.
        if not self._state.can_model:
            return super()._best_index(candidates)
        return most_wanted(self._state.expected_objectives(candidates).T)
