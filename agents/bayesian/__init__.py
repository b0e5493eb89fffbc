"""Bayesian optimisation that begins where the beamline stands.

A search goes through phases. Each is an object with one method, ``propose``; `BayesianAgent` asks them in order, and
the first one that has a proposal decides. The order is in `agent.order_of_phases`.

================  ==========================================================  ========================================
phase             when it has the say                                         where it comes from
================  ==========================================================  ========================================
`Start`           the first point: where the beamline stands                  Decision 6 (``docs/decisions``)
`RandomStart`     the first point, with ``start="random"``
`BestOfPast`      the second point, if there are past experiments             Decision 8
`Probing`         then two to four points per motor, around the start         an operator's first moves; Decision 6
`Nearby`          instead of `Probing`, with ``look_around=0``
`Spread`          instead of `Probing`, with several objectives               Sobol points (Owen 1998, J. Complexity 14)
`Blind`           after these, as long as no outcome has responded: random
                  points in a box that grows
`ModelBased`      from then on: the point with the largest expected           Ament et al. 2023 (NeurIPS), log EI;
                  improvement, by a Gaussian process; with one objective,     Eriksson et al. 2019 (NeurIPS), TuRBO
                  within a trust region
`SafeStart`       under hard limits: the first point                          Decision 10
`SafestAgain`     under hard limits, until there is a model                   Decision 10
================  ==========================================================  ========================================

The phases look at nothing but the `SearchState`, which is a function of the configuration and the results: so an agent
can be made again from a run. The numerics lie behind `ebl_autonomy.surrogates.Surrogate`.

===================  =======================================================================================
module               what it holds
===================  =======================================================================================
``agent``            `BayesianAgent`: the order of the phases, and what can be asked of an agent
``options``          `BayesianOptions`
``phases``           the protocol, and all phases but the last
``model_based``      the last phase: where to look, and what to propose there
``probing``          the sequence of probes, motor by motor
``trust_region``     the size of the box around the best point
``travel_cost``      seconds that a point costs
``state``            `SearchState`: results, pasts and the model, and what they say
``training_data``    results and pasts in the form that a model takes; ``result_table`` holds the results by columns
``refitting``        when the model's hyper-parameters are inferred again
``coordinates``      linear combinations of motors to search along
``hard_limits``      limits that may not be risked
``prior_mean``       a function that somebody knew beforehand, as a past experiment
``drift``            whether measurements grow old
``explanation``      what the agent believes, in numbers and in words
``construction``     from options to the goal and the surrogate
===================  =======================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebl_autonomy.lazy import lazy_attributes

if TYPE_CHECKING:
    from ebl_autonomy.agents.bayesian.agent import BayesianAgent
    from ebl_autonomy.agents.bayesian.options import BayesianOptions

# Loaded when asked for: the agent brings numba, and a plan needs no more than the name of the prior mean's past.

__all__ = ["BayesianAgent", "BayesianOptions"]


__getattr__, __dir__ = lazy_attributes(__name__, {"BayesianAgent": ".agent", "BayesianOptions": ".options"})
