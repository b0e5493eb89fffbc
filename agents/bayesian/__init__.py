"""Bayesian optimisation that begins at the present position of the beamline.

A search consists of phases. Each phase is an object with a method ``propose``. `BayesianAgent` asks the phases in the
order of `agent.order_of_phases`, and the first phase with a proposal decides.

================  ==========================================================  ========================================
phase             when it is active                                           source
================  ==========================================================  ========================================
`Start`           the first point: the present position                       Decision 6 (``docs/decisions``)
`RandomStart`     the first point, with ``start="random"``
`BestOfPast`      the second point, with past experiments                     Decision 8
`Survey`          then a few points of the whole domain, which tell whether   Sobol points (Owen 1998, J. Complexity);
                  the start is near a peak; not if readings tell their noise  Decision 28
`Probing`         then two to four points per motor, around the start; left   an operator's first moves; Decision 6
                  out if a point of the survey is better than the start
`Nearby`          instead of both, with ``look_around=0``
`Spread`          instead of both, with several objectives                    Sobol points
`Blind`           after these, until an outcome responds: random points in a
                  growing box, and Sobol points of the whole domain
`Confirming`      whenever a suspect reading would be the best: there again   Decision 29
`ModelBased`      afterwards: the point with the largest expected             Ament et al. 2023 (NeurIPS), log EI;
                  improvement of a Gaussian process; with one objective,      Eriksson et al. 2019 (NeurIPS), TuRBO
                  within a trust region; where this pays no more, every       Decision 28
                  other point is a Sobol point of the whole domain
`SafeStart`       under hard limits: the first point                          Decision 10
`SafestAgain`     under hard limits, until a model exists                     Decision 10
================  ==========================================================  ========================================

The phases depend only on the `SearchState`, which is a function of the configuration and the results, so an agent can
be restored from a run. The numerics are behind `ebl_autonomy.surrogates.Surrogate`.

===================  =======================================================================================
module               contents
===================  =======================================================================================
``agent``            `BayesianAgent`: the order of the phases, and the public methods
``options``          `BayesianOptions`
``phases``           the protocol of phases, and all phases except the last
``model_based``      the last phase: the search region, and the proposals in it
``survey``           the points of the whole domain, and what the first of them tell
``probing``          the sequence of probes, motor by motor
``confirming``       the phase that measures a suspect reading again
``elsewhere``        when the search around the best point pays no more
``trust_region``     the size of the box around the best point
``travel_cost``      the seconds that a point takes
``state``            `SearchState`: results, past experiments and the model
``training_data``    results and past experiments as model inputs; ``result_table`` holds the results by columns
``refitting``        the schedule of hyper-parameter fits; ``fit_under_way`` is one that takes effect later
``coordinates``      linear combinations of motors as search directions
``hard_limits``      limits that no proposal may risk to violate
``prior_mean``       a function that is known beforehand, as a past experiment
``drift``            detection of drift
``explanation``      the model and its quality, in numbers and in words
``construction``     conversion of options into the goal and the surrogate
===================  =======================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebl_autonomy.lazy import lazy_attributes

if TYPE_CHECKING:
    from ebl_autonomy.agents.bayesian.agent import BayesianAgent
    from ebl_autonomy.agents.bayesian.options import BayesianOptions

# Loaded on demand, because the agent loads numba and a plan needs only the label of the prior mean.

__all__ = ["BayesianAgent", "BayesianOptions"]


__getattr__, __dir__ = lazy_attributes(__name__, {"BayesianAgent": ".agent", "BayesianOptions": ".options"})
