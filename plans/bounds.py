"""Where motors may go: the part of the domain that an agent searches, and motors that have no limits of their own."""

import logging
from collections.abc import Mapping

from gest_api.generator import Generator

from ebl_autonomy.agents.protocols import AvoidsBoxes, BoundsAware
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.guard import Gate, Interval
from ebl_autonomy.plans.tolerances import Tolerances

__all__ = ["bound_search", "check_return", "into_limits"]

logger = logging.getLogger(__name__)


def bound_search(generator: Generator, gate: Gate, start: Mapping[str, float]) -> dict[str, Interval]:
    """Let the generator search only where the motors may be, and log how the limits differ from the domain.

    Parameters
    ----------
    generator : Generator
    gate : Gate
    start : mapping of str to float
        Positions, in motor units, of motors that reach only one side of a region that no way leads around.

    Returns
    -------
    dict of str to (low, high)
        The part of the domain that the generator searches, of all variables in motor units; empty if that is the whole
        domain, or if the generator cannot search a part.

    Raises
    ------
    BadInputError
        If a motor cannot reach its variable's domain.
    """
    bounds = gate.search_bounds(start)
    boxes = gate.envelope.boxes_over(bounds)
    idle = not getattr(generator, "pending", ())
    avoider = generator if isinstance(generator, AvoidsBoxes) and (boxes or idle) else None
    if avoider is not None:  # an agent may have avoided others in an earlier run, and searched a part
        avoider.avoid([])
    if gate.bounded_by_domain:
        motors = ", ".join(f"{name} in {_text(gate.limits[name])}" for name in gate.bounded_by_domain)
        logger.warning("motors without limits of their own stay within the domain of the VOCS: %s", motors)
    narrowed = gate.narrowed(bounds)
    parts = ", ".join(f"{name} in {_text(bounds[name])}" for name in narrowed)
    searcher = generator if isinstance(generator, BoundsAware) else None
    if searcher is not None and (narrowed or idle):
        searcher.search_within(bounds)
    if avoider is not None:
        avoider.avoid(boxes)  # judged in the part that is searched now
    if not narrowed:
        return {}
    if searcher is None:
        logger.warning(
            "the domain reaches beyond the limits, within which is only %s; %s cannot be told so (it has no "
            "search_within), and its proposals beyond will be refused",
            parts,
            type(generator).__name__,
        )
        return {}
    walls = [str(region.box) for region in gate.walls(start)]
    beyond = f"the limits or the forbidden regions {', '.join(walls)}" if walls else "the limits"
    remedy = "; a region with 'sweep': False may be passed through" if walls else ""
    logger.warning("the domain reaches beyond %s: the agent searches only %s%s", beyond, parts, remedy)
    return bounds


def check_return(gate: Gate, start: Mapping[str, float], tolerances: Tolerances) -> None:
    """Check that motors which only the domain bounds could be moved back to where they stand.

    Raises
    ------
    BadInputError
        If one stands outside the domain by more than its tolerance.
    """
    inside = into_limits(gate, start)
    for name in gate.bounded_by_domain:
        if abs(start[name] - inside[name]) > (tolerances.of(name, inside[name]) or 0.0):
            raise BadInputError(
                f"finish='return' could not move {name!r} back to {start[name]!r}: it has no limits of its own, and "
                f"the VOCS's domain {_text(gate.limits[name])} bounds it. Give limits that hold both with "
                f"envelope={{'limits': {{{name!r}: [low, high]}}}}, move it into the domain first, or use "
                "finish='best' or 'stay'"
            )


def into_limits(gate: Gate, positions: Mapping[str, float]) -> dict[str, float]:
    """Positions, with those of motors that only the domain bounds moved to the nearest bound if they lie outside."""
    moved = dict(positions)
    for name in gate.bounded_by_domain:
        low, high = gate.limits[name]
        moved[name] = min(max(moved[name], low), high)
    return moved


def _text(interval: Interval) -> str:
    return f"[{interval[0]:.6g}, {interval[1]:.6g}]"
