"""Conversion of the Bayesian agent's options into its goal and surrogate; refuses inconsistent options."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from ebl_autonomy.agents.bayesian.options import BayesianOptions
from ebl_autonomy.errors import BadInputError, unknown_text
from ebl_autonomy.space import AxisTravel, Space, outcome_names
from ebl_autonomy.surrogates.base import Goal, InputLayout, SafetyLimits, Surrogate

__all__ = ["check", "engine_of", "goal_of", "is_timed", "make_surrogate", "outcomes_of"]


def check(options: BayesianOptions, space: Space) -> None:
    """Refuse options that name unknown outcomes or variables, or that contradict each other.

    Raises
    ------
    BadInputError
        The message names the option and the remedy.
    """
    known = outcome_names(space.vocs)
    clock = [options.clock] if options.clock else []
    for option, names in (("composite", options.composite), ("hard", options.hard), ("clock", clock)):
        if unknown := sorted(set(names) - set(known)):
            raise BadInputError(
                f"{option} names {unknown}, which are not outcomes of the VOCS: add them to its observables; "
                f"its outcomes are {known}"
            )
    if options.reference and (unknown := sorted(set(options.reference) ^ set(space.objectives))):
        raise BadInputError(f"reference must name exactly the objectives {space.objectives}: correct {unknown}")
    if len(space.objectives) > 1 and options.composite:
        raise BadInputError(f"composite needs a VOCS with one objective, this one has {space.objectives}")
    if both := sorted(set(options.composite) & set(options.hard)):
        raise BadInputError(
            f"{both} are factors of composite= and have hard= limits: a factor is modelled by its logarithm, "
            "an outcome with a hard limit as it is; leave one of the two out"
        )
    for name, axis in options.travel.items():
        if name not in space.names:
            raise BadInputError(f"travel names {name!r}, which is not a variable: the variables are {space.names}")
        fields = [field.name for field in dataclasses.fields(AxisTravel)]
        for key in axis:
            if key not in fields:
                raise BadInputError(f"travel.{name}.{key}: {unknown_text(key, fields)}")
        if not (velocity := axis.get("velocity", 0.0)) > 0.0:
            raise BadInputError(f"travel of {name!r} has the velocity {velocity!r}: it must be positive")
    engine_of(options, space)


def engine_of(options: BayesianOptions, space: Space) -> Literal["numba", "botorch"]:
    """The engine that computes model and acquisition function; with "auto", numba wherever it supports the options.

    Raises
    ------
    BadInputError
        If the requested engine does not support the options.
    """
    needs = [name for name in ("composite", "hard", "clock") if getattr(options, name)]
    needs += ["prior_mean"] * (options.prior_mean is not None) + ["drift='on'"] * (options.drift == "on")
    if options.engine == "botorch" and needs:
        raise BadInputError(f"{' and '.join(needs)} need engine='numba' (or 'auto')")
    if len(space.objectives) > 2:
        if options.engine == "numba" or needs:
            raise BadInputError(f"{len(space.objectives)} objectives need engine='botorch', without {needs or 'more'}")
        return "botorch"
    return "botorch" if options.engine == "botorch" else "numba"


def is_timed(options: BayesianOptions, space: Space) -> bool:
    """Whether the time of a measurement is an input of the model."""
    return options.drift == "on" or (options.drift == "auto" and engine_of(options, space) == "numba")


def outcomes_of(options: BayesianOptions, space: Space) -> list[str]:
    """The modelled outcomes, each once: objectives, constraints, factors, and outcomes with a hard limit."""
    return list(dict.fromkeys([*space.objectives, *space.limits, *options.composite, *options.hard]))


def goal_of(options: BayesianOptions, space: Space, outcomes: Sequence[str]) -> Goal:
    """The goal in terms of the columns of `outcomes`, whose first entries are the objectives."""
    index = list(outcomes).index
    signs = [float(sign) for sign in space.signs]
    return Goal(
        objective=0,
        sign=signs[0],
        limits=tuple((index(name), limit.low, limit.high) for name, limit in space.limits.items()),
        factors=tuple((index(name), float(power)) for name, power in options.composite.items()),
        others=tuple(zip(range(1, len(signs)), signs[1:], strict=True)),
        reference=tuple(options.reference[name] for name in space.objectives if options.reference),
    )


def make_surrogate(
    options: BayesianOptions,
    space: Space,
    inputs: InputLayout,
    outcomes: Sequence[str],
    goal: Goal,
    hard: SafetyLimits,
) -> Surrogate:
    """Make the surrogate; its module is imported here, because the import of torch takes seconds."""
    if engine_of(options, space) == "botorch":
        from ebl_autonomy.surrogates.botorch_surrogate import BotorchSurrogate

        return BotorchSurrogate(inputs, len(outcomes), kernel=options.kernel)
    from ebl_autonomy.surrogates.numba_surrogate import NumbaSurrogate

    return NumbaSurrogate(
        inputs,
        len(outcomes),
        kernel=options.kernel,
        logarithms=[column for column, _ in goal.factors],
        plain=[column for column, _ in goal.objectives] if goal.others else [],
        drift="on" if options.drift == "on" else "auto",
        hard=hard,
        step_s=options.max_decision_s,
    )
