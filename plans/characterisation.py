"""From a coarse map to phases: regions of interest, the energies that tell phases apart, and a map of the phases."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from bluesky.protocols import Flyable, NamedMovable, Readable
from bluesky.utils import MsgGenerator, plan

from ebl_autonomy.agents import make_agent
from ebl_autonomy.analysis.regions import Region
from ebl_autonomy.analysis.spectra import References, fit_phases
from ebl_autonomy.errors import BadInputError, RefusedError
from ebl_autonomy.guard import Envelope
from ebl_autonomy.pixels import PixelGrid
from ebl_autonomy.plans.arguments import check_document_keys, check_integer, check_seconds
from ebl_autonomy.plans.devices import check_devices, describe, motor_units
from ebl_autonomy.plans.queueing import checked_by_queue, refuse_names
from ebl_autonomy.plans.raster import Raster, fixed_motors
from ebl_autonomy.plans.result import RunResult
from ebl_autonomy.plans.setpoints import SoftArrays
from ebl_autonomy.plans.steered_run import LEAVES_MOTORS, check_steered, steer
from ebl_autonomy.plans.surveying import Survey, found_regions, make_survey
from ebl_autonomy.plans.thinking import thought
from ebl_autonomy.records import ASKED, SURVEY
from ebl_autonomy.scales import FloatArray

__all__ = ["CharacteriseResult", "PhaseMap", "characterise"]


@dataclass(frozen=True)
class PhaseMap:
    """The phases of one region.

    Attributes
    ----------
    region : Region
    x, y : FloatArray, shape (nx,) and (ny,)
        Centres of the pixels, in motor units.
    energies : FloatArray, shape (n,)
        At which the region was mapped, ascending.
    names : tuple of str
        The phases.
    amounts, std : dict of str to FloatArray, shape (ny, nx)
        Amount of each phase, in units of its reference, and its standard deviation.
    fractions : dict of str to FloatArray, shape (ny, nx)
        Amounts as shares of their sum; NaN where nothing is.
    spectrum : RunResult
        The run that chose the energies.
    maps : tuple of RunResult
        One run for each energy.
    """

    region: Region
    x: FloatArray
    y: FloatArray
    energies: FloatArray
    names: tuple[str, ...]
    amounts: Mapping[str, FloatArray]
    std: Mapping[str, FloatArray]
    fractions: Mapping[str, FloatArray]
    spectrum: RunResult
    maps: tuple[RunResult, ...]


@dataclass(frozen=True)
class CharacteriseResult:
    """The return value of `characterise`.

    Attributes
    ----------
    uid : str
        The run that holds the phase maps, one stream ``phases_<number>`` for each region.
    coarse : RunResult
    regions : tuple of Region
        The regions that were approved, best first.
    phase_maps : tuple of PhaseMap
        One for each region whose maps at all energies were measured.
    stop_reason : str
    """

    uid: str
    coarse: RunResult
    regions: tuple[Region, ...]
    phase_maps: tuple[PhaseMap, ...] = field(repr=False)
    stop_reason: str = ""


@checked_by_queue
@plan
def characterise(
    detectors: Sequence[Readable[Any]],
    x: NamedMovable[float],
    y: NamedMovable[float],
    energy: NamedMovable[float],
    *,
    channels: Sequence[str],
    absorption: str,
    references: dict[str, list[float]],
    reference_energies: list[float],
    coarse_step: float,
    energies: list[float] | None = None,
    max_energies: int = 16,
    target_error: float | None = None,
    energy_dwell_s: float | None = None,
    area: dict[str, list[float]] | None = None,
    coarse_dwell_s: float = 0.05,
    fine_step: float | None = None,
    regions: dict[str, Any] | None = None,
    max_regions: int = 5,
    i0: str | None = None,
    live: str | None = None,
    dwell: NamedMovable[float] | None = None,
    flyers: Sequence[Flyable] = (),
    approve: Any = None,
    realign: Any = None,
    until: Any = None,
    envelope: Any = None,
    overhead_s: float | None = None,
    md: dict[str, Any] | None = None,
    retries: int = 1,
    max_failures: int | None = None,
    move_timeout_s: float | None = None,
    trigger_timeout_s: float | None = None,
    position_tolerance: dict[str, float] | None = None,
) -> MsgGenerator[CharacteriseResult]:
    """Map the phases of a sample: a coarse map, its regions of interest, and each of them at a few energies.

    In the brightest pixel of each region, an `EnergyAgent` measures the energies that tell the phases apart, as many as
    the target needs. The region is then mapped at these energies, upwards, and the phases of each pixel are fitted.
    Each scan is a run of its own, linked as those of `roi_survey`; the last run holds the phase maps, also those before
    a failure or the user's stop. The motors return to where they were.

    Parameters
    ----------
    detectors : sequence of Readable
        Triggered and read at every point. At least one, also with `flyers`: energies are chosen at a point.
    x, y, channels, coarse_step, area, coarse_dwell_s, fine_step, regions, max_regions, i0, live, dwell,
    flyers, approve, realign, until, envelope, overhead_s, md, retries, max_failures, move_timeout_s, trigger_timeout_s,
    position_tolerance
        As for `roi_survey`. The coarse map is measured at the present energy.
    energy : Movable
        In eV.
    absorption : str
        Event key of the absorption, such as ln(I0 / I).
    references : dict of str to list of float
        Reference spectra of the phases in the unit of `absorption`.
    reference_energies : list of float
        Their energies in eV, ascending.
    energies : list of float, optional
        The energies to choose from; by default all between the first and the last reference energy.
    max_energies : int
        Energies for each region at most.
    target_error : float, optional
        Largest standard deviation of a phase's fraction with which the choice of energies ends.
    energy_dwell_s : float, optional
        Seconds for each pixel at each energy; by default what is suggested for the region.

    Returns
    -------
    CharacteriseResult

    Raises
    ------
    BadInputError
        If an argument is invalid; nothing has moved.
    AgentError, MeasurementError, UserFunctionError
        As for `optimize`.
    """
    refuse_names("energy", energy)
    if not detectors:
        raise BadInputError("detectors=[]: give detectors that are read at a point, where the energies are chosen")
    check_devices([], [energy])
    check_integer("max_energies", max_energies, len(references) + 1 if isinstance(references, Mapping) else 1)
    if energy_dwell_s is not None:
        check_seconds("energy_dwell_s", energy_dwell_s)
    known = _references(references, reference_energies)
    domain = _energies(energies, known)
    variable = domain if energies is None else {"type": "DiscreteVariable", "values": domain}
    vocs = {"variables": {energy.name: variable}, "observables": [absorption]}
    options = {"references": references, "reference_energies": reference_energies, "target_error": target_error}
    config = {"agent": "energy", "vocs": vocs, "options": options}
    make_agent(config)  # bad references are refused before anything moves
    check_document_keys("references", references)
    settings: dict[str, Any] = {
        "retries": retries,
        "max_failures": max_failures,
        "move_timeout_s": move_timeout_s,
        "trigger_timeout_s": trigger_timeout_s,
        "position_tolerance": position_tolerance,
    }
    survey = yield from make_survey(
        "characterise",
        detectors,
        x,
        y,
        channels=channels,
        coarse_step=coarse_step,
        area=area,
        coarse_dwell_s=coarse_dwell_s,
        fine_step=fine_step,
        fine_dwell_s=energy_dwell_s,
        regions=regions,
        max_regions=max_regions,
        i0=i0,
        live=live,
        dwell=dwell,
        flyers=flyers,
        approve=approve,
        realign=realign,
        until=until,
        envelope=envelope,
        overhead_s=overhead_s,
        md=md,
        settings=settings,
        others={energy: (min(domain), max(domain))},
    )
    yield from _check_choice(survey, energy, absorption, config, max_energies)

    coarse_runs: list[RunResult] = []
    phase_maps: list[PhaseMap] = []

    def steps() -> MsgGenerator[CharacteriseResult]:
        coarse, ranked, reason = yield from found_regions(survey)
        coarse_runs.append(coarse)
        for number, region in enumerate(ranked):
            if survey.budget.spent:
                break
            link = survey.link(coarse, number, len(ranked), region)
            one = _OneRegion(survey, region, energy, absorption, config, known, link)
            try:
                found = yield from one.measure(max_energies)
            except (BadInputError, RefusedError) as error:
                survey.leave_out(region, error)
                continue
            if found is not None:
                phase_maps.append(found)
        if ranked and not phase_maps:
            reason = "in no region were more energies measured than there are phases"
        stop = survey.end(reason)
        uid = yield from _record(phase_maps, coarse, survey, stop)
        yield from survey.return_home()
        return CharacteriseResult(uid, coarse, tuple(ranked), tuple(phase_maps), stop)

    def back(error: Exception) -> MsgGenerator[None]:
        """Keep the phase maps of the regions before the one that failed."""
        if phase_maps:
            yield from _record(phase_maps, coarse_runs[0], survey)
        if not isinstance(error, LEAVES_MOTORS):
            yield from survey.return_home()

    result: CharacteriseResult = yield from bpp.contingency_wrapper(steps(), except_plan=back, auto_raise=True)
    return result


@dataclass
class _OneRegion:
    """The measurement of one region: the choice of energies, then a map at each."""

    survey: Survey
    region: Region
    energy: Any
    absorption: str
    config: Mapping[str, Any]
    references: References
    link: Mapping[str, Any]

    def measure(self, max_energies: int) -> MsgGenerator[PhaseMap | None]:
        """The phases of the region; None if a budget ended the measurement before its end."""
        survey, stage = self.survey, self.survey.stage
        yield from survey.realigned()
        if survey.budget.spent:
            return None
        agent = make_agent(self.config)
        spot = survey.brightest(self.region)
        seconds = survey.fine_seconds(self.region)
        fixed = {stage.x: spot[0], stage.y: spot[1], **({} if stage.dwell is None else {stage.dwell: seconds})}
        yield from fixed_motors(fixed, stage, survey.budget)
        spectrum = yield from self._choose(agent, max_energies)
        survey.budget = survey.budget.after(spectrum)
        name = self.energy.name
        # As asked for: where the monochromator was read may lie just beyond its limits or the references.
        chosen = sorted({float(result.get(name + ASKED, result[name])) for result in agent.results})
        if len(chosen) <= len(self.references.names):
            return None
        raster = yield from survey.raster(self.region, [self.absorption])
        cube, runs = [], []
        for value in chosen:
            if survey.budget.spent:
                return None
            yield from fixed_motors({self.energy: value}, stage, survey.budget)
            raster = replace(raster)  # with an agent of its own
            more = {SURVEY: {**self.link, "energy": value}}
            runs.append((yield from survey.scan(raster, more)))
            cube.append(raster.map_of(self.absorption))
        return (yield from thought(lambda: self._fitted(raster.grid, np.array(chosen), np.array(cube), spectrum, runs)))

    def _choose(self, agent: Any, max_energies: int) -> MsgGenerator[RunResult]:
        survey = self.survey
        md = {**survey.md, SURVEY: {**self.link, "spot": True}}
        rules = yield from survey.budget.rules_for([self.energy], survey.stage)
        settings = _choice_settings(survey, self.energy.name, rules, max_energies, len(self.references.names))
        return (yield from steer(survey.stage.at_point(), [self.energy], agent, md=md, **settings))

    def _fitted(
        self, grid: PixelGrid, energies: FloatArray, cube: FloatArray, spectrum: RunResult, runs: Sequence[RunResult]
    ) -> PhaseMap:
        """Fit all pixels that were measured at every energy; the others are NaN."""
        pixels = cube.reshape(len(energies), -1)
        whole = np.isfinite(pixels).all(axis=0)
        parts = {part: np.full((len(self.references.names), pixels.shape[1]), np.nan) for part in ("a", "s", "f")}
        if whole.any():
            fit = fit_phases(energies, pixels[:, whole], self.references)
            parts["a"][:, whole], parts["f"][:, whole] = fit.weights, fit.fractions
            parts["s"][:, whole] = np.sqrt(np.diagonal(fit.covariance, axis1=1, axis2=2)).T

        def maps(part: str) -> dict[str, FloatArray]:
            return {n: row.reshape(grid.shape) for n, row in zip(self.references.names, parts[part], strict=True)}

        return PhaseMap(
            self.region,
            grid.centres_x,
            grid.centres_y,
            energies,
            tuple(self.references.names),
            maps("a"),
            maps("s"),
            maps("f"),
            spectrum,
            tuple(runs),
        )


def _choice_settings(survey: Survey, energy: str, rules: Envelope, max_energies: int, phases: int) -> dict[str, Any]:
    """The arguments of `steer` for the choice of energies, but for the devices, the agent and the metadata."""
    return {
        "plan_name": "characterise",
        "max_points": max_energies,
        "batch": max(phases, 4),
        "until": survey.budget.until,
        "envelope": rules,
        "finish": "stay",
        **survey.stage.settings_for([energy]),
    }


def _check_choice(
    survey: Survey, energy: Any, absorption: str, config: Mapping[str, Any], max_energies: int
) -> MsgGenerator[None]:
    """Raise what the choice of energies and the maps at each would raise, before anything moves."""
    stage = survey.stage
    # Where the stage will stand is not known yet, so forbidden regions are left to the runs.
    rules = survey.budget.envelope.model_copy(update={"forbidden": []}).with_standing([energy.name], {})
    settings = _choice_settings(survey, energy.name, rules, max_energies, len(config["options"]["references"]))
    yield from check_steered(stage.at_point(), [energy], make_agent(config), md=survey.md, **settings)
    yield from Raster(stage, survey.grid, [absorption], survey.coarse_dwell_s).check(
        survey.budget, survey.plan_name, survey.md
    )


def _references(given: Any, energies: Any) -> References:
    """The reference spectra, as arrays.

    Raises
    ------
    BadInputError
        If they are not numbers by name, or no references for the energies.
    """
    if not isinstance(given, Mapping):
        raise BadInputError(f"references={given!r:.200}: give {{phase: list of numbers}}")
    return References(
        _numbers("reference_energies", energies),
        {name: _numbers(f"references[{name!r}]", values) for name, values in given.items()},
    )


def _numbers(name: str, given: Any) -> FloatArray:
    try:
        return np.asarray(given, dtype=float)
    except (TypeError, ValueError) as error:
        raise BadInputError(f"{name}={given!r:.200}: give a list of numbers") from error


def _energies(given: Sequence[float] | None, references: References) -> list[float]:
    """The ends of the domain of the energy, or the energies to choose from, ascending."""
    if given is None:
        return [float(references.energies[0]), float(references.energies[-1])]
    values = _numbers("energies", given)
    if values.ndim != 1 or len(np.unique(values)) < 2 or not np.isfinite(values).all():
        raise BadInputError(f"energies={given!r:.200}: give at least two different energies in eV")
    return [float(value) for value in np.unique(values)]


def _record(phase_maps: Sequence[PhaseMap], coarse: RunResult, survey: Survey, reason: str = "") -> MsgGenerator[str]:
    """The run that holds the phase maps; its stop document tells the reason why there are no more."""
    motors = {motor.name: motor for motor in (survey.stage.x, survey.stage.y)}
    units: dict[str, str] = {}
    with contextlib.suppress(BadInputError):  # a motor that has failed must not cost the phase maps
        for name, motor in motors.items():
            units |= motor_units({name: motor}, {name: (yield from describe([motor]))})
    described = [
        {"label": one.region.label, "phases": list(one.names), "energies": one.energies.tolist()} for one in phase_maps
    ]
    told = {"coarse": coarse.uid, "phase_maps": described, "units": units}
    uid = yield from bps.open_run({"plan_name": "characterise", **survey.md, "motors": list(motors), SURVEY: told})
    for number, one in enumerate(phase_maps):
        arrays = {
            "x": one.x,
            "y": one.y,
            **{
                f"{kind}_{name}": values
                for kind, maps in (("amount", one.amounts), ("std", one.std))
                for name, values in maps.items()
            },
        }
        yield from bps.create(f"phases_{number}")
        yield from bps.read(SoftArrays("phases", arrays))
        yield from bps.save()
    yield from bps.close_run(reason=reason)
    return str(uid)
