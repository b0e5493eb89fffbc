"""From the options of the Bayesian agent to its goal and its surrogate; what does not go together is refused here."""

from __future__ import annotations

from collections.abc import Sequence

from ebl_autonomy.agents.bayesian.options import BayesianOptions
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.space import AxisTravel, Space, outcome_names
from ebl_autonomy.surrogates.base import Goal, InputLayout, SafetyLimits, Surrogate

__all__ = ["backend", "check", "goal_of", "make_surrogate"]


def check(o: BayesianOptions, space: Space) -> None:
    """Refuse options that name what is not there, or that do not go together.

    Raises
    ------
    BadInputError
        Names the option and the remedy.
    """
    known = outcome_names(space.vocs)
    for option, names in (("composite", o.composite), ("hard", o.hard), ("clock", [o.clock] if o.clock else [])):
        if unknown := sorted(set(names) - set(known)):
            raise BadInputError(
                f"{option} names {unknown}, which are no outcomes of the VOCS: add them to its observables, "
                f"beside {known}"
            )
    if o.reference and (unknown := sorted(set(o.reference) ^ set(space.objectives))):
        raise BadInputError(f"reference must name every objective, {space.objectives}: {unknown} differ")
    if len(space.objectives) > 1 and o.composite:
        raise BadInputError(f"composite stands for one objective, the VOCS has {space.objectives}")
    if both := sorted(set(o.composite) & set(o.hard)):
        raise BadInputError(
            f"{both} are factors of composite= and have hard= limits: a factor is modelled by its logarithm, "
            "what has a hard limit as it is; leave one of the two out"
        )
    for name, axis in o.travel.items():
        if name not in space.names:
            raise BadInputError(f"travel names {name!r}, which is no variable: there are {space.names}")
        try:
            velocity = AxisTravel(**axis).velocity
        except TypeError as error:
            raise BadInputError(f"travel of {name!r}: {error}; its fields are those of AxisTravel") from error
        if not velocity > 0.0:
            raise BadInputError(f"travel of {name!r} has the velocity {velocity!r}: it must be positive")
    backend(o, space)


def backend(o: BayesianOptions, space: Space) -> str:
    """Which surrogate: numba's for what it can do, if there is a choice.

    Raises
    ------
    BadInputError
        If the one that was asked for cannot do it.
    """
    needs = [name for name in ("composite", "hard", "clock") if getattr(o, name)]
    needs += ["prior_mean"] * (o.prior_mean is not None) + ["drift='on'"] * (o.drift == "on")
    if o.engine == "botorch" and needs:
        raise BadInputError(f"{' and '.join(needs)} need engine='numba' (or 'auto')")
    if len(space.objectives) > 2:
        if o.engine == "numba" or needs:
            raise BadInputError(f"{len(space.objectives)} objectives need engine='botorch', without {needs or 'more'}")
        return "botorch"
    return "botorch" if o.engine == "botorch" else "numba"


def goal_of(o: BayesianOptions, space: Space, outcomes: Sequence[str]) -> Goal:
    """What is wanted, by columns of the outcomes; the objectives are the first of these."""
    index = list(outcomes).index
    signs = [float(sign) for sign in space.signs]
    return Goal(
        objective=0,
        sign=signs[0],
        limits=tuple((index(name), limit.low, limit.high) for name, limit in space.limits.items()),
        factors=tuple((index(name), float(power)) for name, power in o.composite.items()),
        others=tuple(zip(range(1, len(signs)), signs[1:], strict=True)),
        reference=tuple(o.reference[name] for name in space.objectives if o.reference),
    )


def make_surrogate(
    o: BayesianOptions, space: Space, inputs: InputLayout, outcomes: Sequence[str], goal: Goal, hard: SafetyLimits
) -> Surrogate:
    """The surrogate; loaded when it is wanted, because torch takes seconds."""
    if backend(o, space) == "botorch":
        from ebl_autonomy.surrogates.botorch_surrogate import BotorchSurrogate

        return BotorchSurrogate(inputs.dim, len(outcomes), kernel=o.kernel)
    from ebl_autonomy.surrogates.numba_surrogate import NumbaSurrogate

    return NumbaSurrogate(
        inputs,
        len(outcomes),
        kernel=o.kernel,
        logarithms=[column for column, _ in goal.factors],
        plain=[column for column, _ in goal.objectives] if goal.others else [],
        drift="on" if o.drift == "on" else "auto",
        hard=hard,
    )
