"""Everything that is settled before anything moves: who is who, what is allowed, what will be recorded.

All refusals of bad input happen here, so that a run which starts is a run that makes sense.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bluesky.protocols import NamedMovable, Readable
from bluesky.utils import MsgGenerator
from gest_api.generator import Generator

from ebl_autonomy import __version__
from ebl_autonomy.agents.base import PositionAware, TravelAware, make_agent
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.guard import Envelope, Gate
from ebl_autonomy.plans.deriving import Derivation, resolve_derivations
from ebl_autonomy.plans.devices import (
    check_devices,
    describe,
    read_exposure,
    read_limits,
    read_position,
    read_travel,
    units,
)
from ebl_autonomy.plans.stopping import Until
from ebl_autonomy.records import DECISION, ROW, RunMetadata
from ebl_autonomy.space import VOCS, AxisTravel, Space, Travel, make_vocs, outcome_names, vocs_dict

__all__ = ["Experiment", "Finish", "prepare"]

Finish = Literal["best", "stay", "return"]

_NUMBERS = {"number", "integer", "boolean"}


@dataclass
class Experiment:
    """What a run needs to know; made by `prepare`."""

    agent: Generator
    vocs: VOCS
    space: Space
    motors: dict[str, NamedMovable[float]]
    detectors: list[Readable[Any]]
    baseline: list[Readable[Any]]
    gate: Gate
    travel: Travel
    start: dict[str, float]
    functions: dict[str, Derivation]
    until: Until
    max_points: int
    batch: int
    finish: Finish
    outcomes: list[str]
    limits: dict[str, tuple[float, float] | None]
    units: dict[str, str]
    hinted: list[str] = field(default_factory=list)
    prior: list[str] = field(default_factory=list)

    def agent_config(self) -> dict[str, Any]:
        """The agent as JSON; of somebody else's generator, its class and VOCS."""
        config = getattr(self.agent, "config", None)
        if callable(config):
            return dict(config())
        kind = type(self.agent)
        return {"agent": f"{kind.__module__}:{kind.__qualname__}", "vocs": vocs_dict(self.vocs), "options": {}}

    def metadata(self) -> RunMetadata:
        """The start document's part on the experiment."""
        return RunMetadata(
            package_version=__version__,
            agent=self.agent_config(),
            motors=list(self.motors),
            outcomes=self.outcomes,
            derived=list(self.functions),
            context=self.space.context,
            envelope=self.gate.envelope.model_dump(mode="json", exclude_defaults=True),
            until=self.until.model_dump(mode="json", exclude_defaults=True),
            limits=self.gate.limits,
            units=self.units,
            prior=self.prior,
            max_points=self.max_points,
            batch=self.batch,
            finish=self.finish,
            clock=self.until.clock,
        )


def prepare(
    detectors: Sequence[Readable[Any]],
    motors: Sequence[Any],
    agent: Any,
    *,
    vocs: Any,
    max_points: int,
    batch: int,
    until: Any,
    measured: bool,
    derive: Any,
    envelope: Any,
    baseline: Sequence[Readable[Any]],
    finish: Finish,
) -> MsgGenerator[Experiment]:
    """Check everything and ask the devices what must be known; nothing moves.

    Parameters are those of `optimize`; `measured` says that a stub of the user's gives the outcomes.

    Raises
    ------
    BadInputError
        Names the value and the remedy.
    """
    _check_count("max_points", max_points)
    _check_count("batch", batch)
    if finish not in ("best", "stay", "return"):
        raise BadInputError(f"finish={finish!r}: use 'best', 'stay' or 'return'")
    for label, given in (("detectors", detectors), ("baseline", baseline)):
        if not isinstance(given, Sequence):
            raise BadInputError(f"{label}={given!r}: give a list of devices")
    check_devices([*detectors, *baseline], motors)
    rules, allowed = Until.of(until), Envelope.of(envelope)
    functions = resolve_derivations(derive)
    generator, space = _agent_of(agent, vocs)
    by_name = {motor.name: motor for motor in motors}
    _check_variables(space, by_name)

    described = yield from describe([*motors, *([] if measured else detectors)])
    _check_keys(space, described, functions, measured, [rules.clock, allowed.dose_key])

    start: dict[str, float] = {}
    limits: dict[str, tuple[float, float] | None] = {}
    axes: dict[str, AxisTravel] = {}
    for name, motor in by_name.items():
        limits[name] = yield from read_limits(motor)
        axis = yield from read_travel(motor)
        if axis is not None:
            axes[name] = axis
    gate = Gate(space.vocs, allowed, limits)
    gate.check_domain()
    for name, motor in by_name.items():
        start[name] = yield from read_position(motor)
    if isinstance(generator, PositionAware):
        generator.start_from(start)
        space = Space(getattr(generator, "vocs", space.vocs))
    if isinstance(generator, TravelAware) and axes:
        exposures = []
        for detector in detectors:
            exposures.append((yield from read_exposure(detector)))
        generator.set_travel(Travel(axes), max((s for s in exposures if s is not None), default=1.0))
    outcomes = outcome_names(space.vocs)
    return Experiment(
        agent=generator,
        vocs=space.vocs,
        space=space,
        motors=by_name,
        detectors=list(detectors),
        baseline=list(baseline),
        gate=gate,
        travel=Travel(axes),
        start=start,
        functions=functions,
        until=rules,
        max_points=max_points,
        batch=batch,
        finish=finish,
        outcomes=outcomes,
        limits=limits,
        units=units(described, [*by_name, *outcomes]),
        hinted=[name for name in outcomes if name in functions or measured],
    )


def _check_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadInputError(f"{name}={value!r}: give a positive integer")


def _agent_of(agent: Any, vocs: Any) -> tuple[Generator, Space]:
    """The generator and its space, from an object, a name or a JSON mapping."""
    if isinstance(agent, str):
        if vocs is None:
            raise BadInputError(
                f"agent {agent!r} was given by name without a VOCS: pass vocs={{...}} too, or "
                f"agent={{'agent': {agent!r}, 'vocs': {{...}}}}"
            )
        agent = {"agent": agent, "vocs": vocs}
    elif vocs is not None and not isinstance(agent, Mapping):
        if hasattr(agent, "vocs"):
            raise BadInputError("vocs= goes with an agent that is given by name: this agent has its own")
    elif vocs is not None:
        raise BadInputError("vocs= goes with an agent that is given by name: put it into the agent's 'vocs'")
    if isinstance(agent, Mapping):
        agent = make_agent(agent)
    if not (callable(getattr(agent, "suggest", None)) and callable(getattr(agent, "ingest", None))):
        raise BadInputError(
            f"agent {agent!r} has no suggest() and ingest(): give a gest-api generator, a registered name or a mapping"
        )
    known = getattr(agent, "vocs", vocs)
    if known is None:
        raise BadInputError(f"agent {type(agent).__name__} has no attribute 'vocs': pass vocs= beside it")
    return agent, Space(make_vocs(known))


def _check_variables(space: Space, motors: Mapping[str, Any]) -> None:
    if unknown := [name for name in space.names if name not in motors]:
        raise BadInputError(
            f"the variables {unknown} are no motors: there are {list(motors)}. A variable has its motor's name."
        )
    if idle := [name for name in motors if name not in space.names]:
        raise BadInputError(f"the motors {idle} are no variables of the VOCS: add them, or leave them out of motors")
    reserved = {*vars(ROW).values(), *vars(DECISION).values()}
    if clash := sorted(reserved & {*space.vocs.variables, *outcome_names(space.vocs)}):
        raise BadInputError(f"the names {clash} are used by the run's own streams: rename the devices or outcomes")


def _check_keys(
    space: Space,
    described: Mapping[str, Any],
    functions: Mapping[str, Derivation],
    measured: bool,
    wanted: Sequence[str | None],
) -> None:
    if clash := sorted(set(functions) & set(described)):
        raise BadInputError(f"the derivations {clash} have the names of readings: rename them")
    if clash := sorted({*vars(ROW).values()} & {*described, *functions}):
        raise BadInputError(f"the readings {clash} have names that the run itself uses: rename the devices")
    if measured:
        return  # what the user's stub returns is known only once it has run
    given = {*described, *functions}
    needed = [*outcome_names(space.vocs), *space.context, *(key for key in wanted if key)]
    if missing := [name for name in needed if name not in given]:
        raise BadInputError(
            f"no detector gives {missing}: there are {sorted(given - set(space.names))}. "
            "Add the detector to detectors=, or a function to derive=."
        )
    for name in needed:
        key = described.get(name)
        if key is not None and (key["dtype"] not in _NUMBERS or math.prod(key.get("shape") or [1]) != 1):
            raise BadInputError(
                f"{name!r} is a {key['dtype']} of shape {list(key.get('shape') or [])}: an outcome must be one number. "
                f"Reduce it with derive={{...: function of the readings}}."
            )
