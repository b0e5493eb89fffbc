"""Preparation of a run before anything moves: agent, motors, gate, keys and stop rules.

All arguments are checked here, so that bad input is refused before a run is opened.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bluesky.protocols import NamedMovable, Readable
from bluesky.utils import MsgGenerator
from gest_api.generator import Generator

from ebl_autonomy import __version__
from ebl_autonomy.agents.making import make_agent
from ebl_autonomy.agents.protocols import HasPixels, PositionAware, TravelAware
from ebl_autonomy.errors import BadInputError, DeviceFailedError, DeviceTimeoutError
from ebl_autonomy.guard import Envelope, Gate, Interval
from ebl_autonomy.guard.envelope import renamed
from ebl_autonomy.plans.acquisition.point import AtPoint
from ebl_autonomy.plans.acquisition.protocol import Acquisition
from ebl_autonomy.plans.arguments import check_document_keys, check_integer
from ebl_autonomy.plans.bounds import bound_search, check_return
from ebl_autonomy.plans.deriving import Derivation, resolve_derivations
from ebl_autonomy.plans.devices import (
    check_devices,
    describe,
    motor_units,
    read_exposure,
    read_limits_and_travel,
    read_positions,
    units,
)
from ebl_autonomy.plans.failures import answering
from ebl_autonomy.plans.queueing import refuse_names
from ebl_autonomy.plans.readbacks import aliases_of, bind, device_name, joined
from ebl_autonomy.plans.readings import Readings
from ebl_autonomy.plans.stubs import TRIGGER_S
from ebl_autonomy.plans.tolerances import Tolerances, check_tolerances, find_tolerances
from ebl_autonomy.records import (
    ASKED,
    DECISION,
    LEFT_WHERE,
    MEAN,
    READING,
    RECOMMENDATION,
    ROW,
    STD,
    Finish,
    RunMetadata,
    json_limits,
)
from ebl_autonomy.space import Space, Travel, make_vocs, outcome_names, vocs_dict
from ebl_autonomy.steering import SteeringSession, Until

__all__ = ["Experiment", "check_staged", "generator_of", "prepare"]

_NUMBER = {"dtype": "number", "shape": []}
_NUMBERS = {"number", "integer", "boolean"}


@dataclass
class Experiment:
    """The prepared parts of a run; created by `prepare`.

    Attributes
    ----------
    session : SteeringSession
    acquisition : Acquisition
    motors : dict of str to motor
        All moving motors: those of the variables, by variable, and those of the acquisition, by name.
    baseline : list of Readable
    travel : Travel
        Speeds of the motors that report them.
    start : dict of str to float
        Positions of the motors at preparation, in motor units.
    functions : dict of str to Derivation
    finish : str
    units : dict of str to str
    tolerances : Tolerances
        Largest distances between targets and positions of the motors that are checked.
    routes : bool
        Whether a point that one move may not lead to is reached by several.
    searched : dict of str to (low, high)
        See `RunMetadata`.
    retries : int
        Number of retries for readings at the start and the end that failed.
    trigger_timeout_s, move_timeout_s : float, optional
        Wall seconds that a wait of a user's stub may take for triggers, and for moves; without limit by default.
    unnamed : list of str
        Variables whose motors read no key of their name; the plan adds it to the rows.
    rows : Readings
        Of the devices that are read into a row.
    ends : Readings
        Of the devices that are read at the start and the end.
    check_keys : callable
        Raises BadInputError if the readings that are known lack what the agent needs.
    hinted : list of str
        Outcomes that no device hints, for live plots and tables.
    prior : list of str
        Uids of the past runs that the agent has ingested.
    """

    session: SteeringSession
    acquisition: Acquisition
    motors: dict[str, NamedMovable[Any]]
    baseline: list[Readable[Any]]
    travel: Travel
    start: dict[str, float]
    functions: dict[str, Derivation]
    finish: Finish
    units: dict[str, str]
    tolerances: Tolerances = field(default_factory=Tolerances)
    routes: bool = False
    searched: dict[str, Interval] = field(default_factory=dict)
    retries: int = 1
    trigger_timeout_s: float | None = None
    move_timeout_s: float | None = None
    unnamed: list[str] = field(default_factory=list)
    rows: Readings = field(default_factory=lambda: Readings([]))
    ends: Readings = field(default_factory=lambda: Readings([]))
    check_keys: Callable[[], None] = lambda: None
    hinted: list[str] = field(default_factory=list)
    prior: list[str] = field(default_factory=list)

    @property
    def trigger_s(self) -> float:
        """Wall seconds that a trigger of a device in ``baseline=`` and each staging may take."""
        return TRIGGER_S if self.trigger_timeout_s is None else self.trigger_timeout_s

    @property
    def staged(self) -> list[Any]:
        """The devices that are staged for the whole run."""
        return [*self.acquisition.staged, *self.baseline, *self.motors.values()]

    @property
    def agent_name(self) -> str:
        """The agent's name in the streams."""
        agent = self.session.agent
        return str(getattr(agent, "name", type(agent).__name__))

    def agent_config(self) -> dict[str, Any]:
        """The agent as JSON; for a third-party generator, its class and VOCS."""
        config = getattr(self.session.agent, "config", None)
        if callable(config):
            return dict(config())
        kind = type(self.session.agent)
        vocs = vocs_dict(self.session.space.vocs)
        return {"agent": f"{kind.__module__}:{kind.__qualname__}", "vocs": vocs, "options": {}}

    def metadata(self) -> RunMetadata:
        """The experiment's metadata for the start document."""
        session = self.session
        return RunMetadata(
            package_version=__version__,
            agent=self.agent_config(),
            motors=list(self.motors),
            outcomes=session.outcomes,
            acquisition=self.acquisition.kind,
            rows_per_proposal=session.rows_per_proposal,
            positions_from_rows=sorted(session.layout.positions_from_rows),
            derived=list(self.functions),
            context=session.space.context,
            envelope=session.gate.envelope.model_dump(mode="json", exclude_defaults=True),
            until=session.until.model_dump(mode="json", exclude_defaults=True),
            limits=json_limits(session.gate.limits),
            searched=self.searched,
            position_tolerance=self.tolerances.fixed,
            position_share=self.tolerances.shares,
            units=self.units,
            prior=self.prior,
            max_points=session.max_points,
            batch=session.batch,
            finish=self.finish,
            clock=session.until.clock,
        )


def prepare(
    acquisition: Acquisition,
    motors: Sequence[Any],
    agent: Any,
    *,
    max_points: int,
    vocs: Any = None,
    batch: int = 1,
    until: Any = None,
    derive: Any = None,
    envelope: Any = None,
    baseline: Sequence[Readable[Any]] = (),
    finish: Finish = "best",
    position_tolerance: Mapping[str, float] | None = None,
    pixels: Mapping[str, float] | None = None,
    routes: bool = False,
) -> MsgGenerator[Experiment]:
    """Check all arguments and query the devices; nothing moves.

    Parameters are the same as for `optimize`; `acquisition` defines how a proposal becomes rows, and `pixels` is the
    size of a map's pixels along each axis, in motor units, by default that of the agent's. With `routes`, a point that
    one move may not lead to is reached by several, around forbidden regions.

    Raises
    ------
    BadInputError
        If an argument is invalid; the message names the value and the remedy.
    """
    check_integer("max_points", max_points, 1)
    check_integer("batch", batch, 1)
    if finish not in ("best", "stay", "return"):
        raise BadInputError(f"finish={finish!r}: use 'best', 'stay' or 'return'")
    refuse_names("baseline", baseline)
    if not isinstance(baseline, Sequence):
        raise BadInputError(f"baseline={baseline!r}: give a list of devices")
    check_devices([*acquisition.detectors, *baseline], motors)
    rules, allowed = Until.of(until), Envelope.of(envelope)
    functions = resolve_derivations(derive)
    generator, space = generator_of(agent, vocs)
    motor_keys: dict[str, dict[str, Any]] = {}
    for motor in motors:
        motor_keys[motor.name] = yield from describe([motor])
    if pixels is None and isinstance(generator, HasPixels):
        pixels = generator.pixel_sizes
    by_name = bind(space.names, motors, motor_keys)
    _check_variables(space, by_name)
    _check_rules(space, rules)

    moved = joined(by_name, acquisition.motors)
    aliases = aliases_of(moved, motor_keys)
    allowed = allowed.renamed(aliases)
    if isinstance(position_tolerance, Mapping):
        position_tolerance = renamed(position_tolerance, aliases)
    given_tolerance = check_tolerances(position_tolerance, moved, space)
    wanted = [key for key in (rules.clock, allowed.dose_key) if key]
    keys = yield from _describe_run(acquisition, moved, motor_keys, baseline, space, functions, wanted)
    _check_lines(acquisition, space)

    limits, travel = yield from read_limits_and_travel(moved)
    gate = Gate(space.vocs, allowed, limits)
    try:
        start = yield from read_positions(moved)
    except (DeviceFailedError, DeviceTimeoutError) as error:
        raise BadInputError(f"where the motors stand is not known: {error}") from error
    gate.check_start(start)
    searched = bound_search(generator, gate, start if routes else {})
    tolerances = yield from find_tolerances(moved, space, given_tolerance, pixels)
    if finish == "return":
        check_return(gate, start, tolerances)
    yield from _tell_agent(generator, start, travel, acquisition.detectors)
    session = SteeringSession(
        generator,
        gate,
        vocs=space.vocs,
        until=rules,
        max_points=max_points,
        batch=batch,
        rows_per_proposal=acquisition.rows_per_proposal,
        positions_from_rows={*space.continuous, *acquisition.positions_from_rows},
    )
    measured_units = units(keys.described, [*acquisition.motors, *session.outcomes])
    experiment = Experiment(
        session=session,
        acquisition=acquisition,
        motors=moved,
        baseline=list(baseline),
        travel=travel,
        start=start,
        functions=functions,
        finish=finish,
        units={**measured_units, **motor_units(by_name, motor_keys)},
        tolerances=tolerances,
        routes=routes,
        searched=searched,
        unnamed=keys.unnamed,
        rows=keys.rows,
        ends=keys.ends,
        check_keys=keys.check,
        hinted=[name for name in session.outcomes if name in functions or not keys.outcomes_known],
    )
    check_document_keys("agent", experiment.agent_config())
    return experiment


def check_staged(experiment: Experiment) -> MsgGenerator[None]:
    """Ask the devices that can describe themselves only after they were staged; nothing has moved.

    Raises
    ------
    BadInputError
        As for `prepare`.
    """
    if not (experiment.rows.late or experiment.ends.late):
        return
    for readings in (experiment.rows, experiment.ends):
        yield from readings.ask("staged")
    experiment.check_keys()
    experiment.units.update(units(experiment.rows.keys, [*experiment.motors, *experiment.session.outcomes]))


def generator_of(agent: Any, vocs: Any) -> tuple[Generator, Space]:
    """The generator and its space, from an object, a name or a JSON mapping."""
    if isinstance(agent, str):
        if vocs is None:
            raise BadInputError(
                f"agent {agent!r} was given by name without a VOCS: pass vocs={{...}} too, or "
                f"agent={{'agent': {agent!r}, 'vocs': {{...}}}}"
            )
        agent = {"agent": agent, "vocs": make_vocs(vocs)}
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
    outcomes = outcome_names(space.vocs)
    if clash := sorted(
        {name + suffix for name in outcomes for suffix in (MEAN, STD, READING)} & {*space.vocs.variables}
    ):
        raise BadInputError(f"the variables {clash} have names that the run uses for predictions: rename the outcomes")
    if clash := sorted({name + ASKED for name in space.names} & {*space.vocs.variables, *outcomes}):
        raise BadInputError(
            f"the names {clash} are used for what was asked of the motors: rename the devices or outcomes"
        )
    if idle := [name for name in motors if name not in space.names]:
        raise BadInputError(f"the motors {idle} are not variables of the VOCS: add them, or leave them out of motors")
    reserved = {*vars(ROW).values(), *vars(DECISION).values(), *vars(RECOMMENDATION).values(), LEFT_WHERE}
    if clash := sorted(reserved & {*space.vocs.variables, *outcome_names(space.vocs)}):
        raise BadInputError(f"the names {clash} are used by the run's own streams: rename the devices or outcomes")


def _check_rules(space: Space, until: Until) -> None:
    if not space.objectives and (until.target is not None or until.improvement is not None):
        raise BadInputError(
            "until: target and improvement are rules on an objective, and the VOCS has none; the error of a map or "
            "of a spectrum ends a run by the agent's option target_error"
        )


def _check_lines(acquisition: Acquisition, space: Space) -> None:
    """Let the acquisition fail here, before anything moves, if it cannot make its line or names no variables."""
    if unknown := sorted(acquisition.positions_from_rows - {*space.names, *acquisition.motors}):
        raise BadInputError(f"positions_from_rows names {unknown}, which are not variables: use some of {space.names}")
    acquisition.line(dict(zip(space.names, (0.5 * (space.low + space.high)).tolist(), strict=True)))


def _tell_agent(
    generator: Generator, start: Mapping[str, float], travel: Travel, detectors: Sequence[Readable[Any]]
) -> MsgGenerator[None]:
    """Tell the agent where the motors stand and how long moves and measurements take, as far as it wants to know."""
    if isinstance(generator, PositionAware):
        generator.start_from(start)
    if isinstance(generator, TravelAware) and travel.axes:
        exposures = []
        for detector in detectors:
            with answering(detector):
                exposures.append((yield from read_exposure(detector)))
        generator.set_travel(travel, max((s for s in exposures if s is not None), default=1.0))


@dataclass
class _Keys:
    """The data keys of a run's rows, as far as the devices have told them.

    Attributes
    ----------
    described : dict of str to mapping
        The data keys of the motors, and those that the acquisition describes.
    outcomes_known : bool
        False for a user's stub, whose outcomes are known only after it has run.
    unnamed, rows, ends
        See `Experiment`.
    space : Space
    functions : mapping of str to Derivation
    wanted : list of str
        Keys that the rows must have, beside the outcomes and the contextual variables.
    """

    described: dict[str, Any]
    outcomes_known: bool
    unnamed: list[str]
    rows: Readings
    ends: Readings
    space: Space
    functions: Mapping[str, Derivation]
    wanted: list[str]

    def check(self) -> None:
        """See `Experiment.check_keys`."""
        described = {**dict.fromkeys(self.unnamed, _NUMBER), **self.described, **self.rows.keys}
        given = {*described, *self.functions}
        if clash := sorted(set(self.functions) & set(described)):
            raise BadInputError(f"the derivations {clash} have the names of readings: rename them")
        if clash := sorted({*vars(ROW).values()} & given):
            raise BadInputError(f"the readings {clash} have names that the run itself uses: rename the devices")
        if not self.outcomes_known:
            return
        needed = [*outcome_names(self.space.vocs), *self.space.context, *self.wanted]
        if not self.rows.late and (missing := [name for name in needed if name not in given]):
            raise BadInputError(
                f"no detector gives {missing}: there are "
                f"{sorted(key for key in given - set(self.space.names) if not self.rows.is_external(key))}. "
                "Add the detector to detectors=, or a function to derive=."
            )
        for name in needed:
            if self.rows.is_external(name):
                raise BadInputError(self.rows.external_text(name))
            key = described.get(name)
            if key is not None and (key["dtype"] not in _NUMBERS or math.prod(key.get("shape") or [1]) != 1):
                raise BadInputError(
                    f"{name!r} is a {key['dtype']} of shape {list(key.get('shape') or [])}: an outcome must be one "
                    "number. Reduce it with derive={...: function of the readings}."
                )


def _describe_run(
    acquisition: Acquisition,
    moved: Mapping[str, Any],
    motor_keys: Mapping[str, Mapping[str, Any]],
    baseline: Sequence[Readable[Any]],
    space: Space,
    functions: Mapping[str, Derivation],
    wanted: list[str],
) -> MsgGenerator[_Keys]:
    """Ask all devices what they read, and check what is known already.

    Parameters
    ----------
    moved : mapping of str to motor
        All moving motors, by variable or name.
    motor_keys : mapping of str to mapping
        The data keys of the motors of the variables, by the motor's name.
    """
    described = {key: found for keys in motor_keys.values() for key, found in keys.items()}
    unnamed = [name for name in space.names if name not in motor_keys[device_name(moved, name)]]
    measured = yield from acquisition.describe()
    described.update(measured or {})
    if clash := sorted(set(unnamed) & set(described) - set(acquisition.motors)):
        raise BadInputError(
            f"the motors {clash} read no key of their own names, but other devices do: rename the other devices"
        )
    detectors = acquisition.detectors if isinstance(acquisition, AtPoint) else ()
    rows = Readings([*moved.values(), *detectors], list(moved.values()))
    ends = Readings([*baseline, *moved.values()])
    for readings in (rows, ends):
        yield from readings.ask("given")
    keys = _Keys(described, measured is not None, unnamed, rows, ends, space, functions, wanted)
    keys.check()
    return keys
