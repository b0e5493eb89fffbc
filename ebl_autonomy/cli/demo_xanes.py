"""The chemical phases of a simulated sample: its regions of interest, each at a few energies; and the report."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.ndimage import map_coordinates

from ebl_autonomy.cli.interrupt import GracefulInterrupt
from ebl_autonomy.cli.measuring import Measured, Storage, measured
from ebl_autonomy.cli.samples import COARSE, FEW, grid_of, sample_of, survey_of, true_counts
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans import PhaseMap, characterise
from ebl_autonomy.report import write_report
from ebl_autonomy.report.phase_figures import phase_figure
from ebl_autonomy.report.wording import duration, number, percent
from ebl_autonomy.sim_devices import SimMicroprobe, SimSample
from ebl_autonomy.space import FloatArray

__all__ = ["PhasesFound", "XanesResult", "run_demo_xanes"]

DWELL_S: Final = 0.05
FINE: Final = 2.0
"""Pixels of the sample along the side of a pixel of a phase map."""
EVERY: Final = 4
"""Of the sample's energies, every so many may be chosen."""
TARGET: Final = 0.01
"""Standard deviation of a phase's fraction at which no more energies are chosen."""
ABSORPTION: Final = "xanes_mu"
THIN: Final = 0.1
"""Pixels with less than this share of the largest amount in a region have no fractions to compare."""
TRACE: Final = 0.05
"""Phases with a smaller share of a region are not named."""


class PhasesFound(BaseModel):
    """The phases of one region.

    Attributes
    ----------
    label : str
    energies : list of float
        At which the region was mapped, eV.
    found, truth : dict of str to float
        Share of each phase of all that is in the region.
    rms_error : float or None
        Of the fractions of its pixels; None if all are empty.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    energies: list[float]
    found: dict[str, float]
    truth: dict[str, float]
    rms_error: float | None


class XanesResult(BaseModel):
    """What the demo found.

    Attributes
    ----------
    uid : str
        Of the coarse map, which names the survey.
    regions : int
        Found.
    energies_known : int
        From which the energies were chosen.
    phases : list of PhasesFound
        One for each region that was mapped at all of its energies.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    uid: str
    sample: str
    seed: int
    fly: bool
    regions: int
    energies_known: int
    phases: list[PhasesFound]
    seconds_wall: float
    seconds_beamline: float
    stop_reason: str
    report: str

    def lines(self) -> list[str]:
        """The result in words."""
        told = [
            f"{len(self.phases)} of {self.regions} regions mapped in {duration(self.seconds_beamline)} on the "
            f"beamline's clock, {duration(self.seconds_wall)} here"
        ]
        for one in self.phases:
            error = "" if one.rms_error is None else f"; error of the fractions {number(one.rms_error, 2)} (rms)"
            told.append(
                f"{one.label}: {_shares(one.found)} (truth: {_shares(one.truth)}) from {len(one.energies)} of "
                f"{self.energies_known} energies{error}"
            )
        return told


def run_demo_xanes(
    sample: str,
    seed: int,
    regions: int,
    energies: int,
    fly: bool,
    output: Path,
    storage: Storage,
    quiet: bool = False,
) -> XanesResult:
    """Map the phases of a simulated sample; write ``report.html`` and ``summary.json`` into `output`.

    One Ctrl-C ends the measurement; what was measured is reported.

    Parameters
    ----------
    sample : str
        See `sample_of`; it must have phases.
    seed : int
    regions : int
        Regions at most.
    energies : int
        Energies for each region at most.
    fly : bool
        Whether rows are flown.
    output : Path
    storage : Storage
    quiet : bool
        Whether to leave out the progress bar.

    Raises
    ------
    BadInputError
        If an argument is out of range, or the sample has no phases.
    KeyboardInterrupt
        If Ctrl-C came before a run was open, so that there is nothing to report.
    """
    if regions < 1:
        raise BadInputError(f"--regions={regions}: give at least 1")
    made = sample_of(sample, seed, FEW)
    depth = made.depth
    if len(depth.names) < 2 or depth.energies_ev.size < 2:
        raise BadInputError(f"--sample={sample!r} has no chemical phases: use particles or grains")
    if energies <= len(depth.names):
        raise BadInputError(
            f"--energies={energies}: {len(depth.names)} phases need at least {len(depth.names) + 1} energies"
        )
    probe = SimMicroprobe(made, seed=seed, dwell_s=DWELL_S)
    known = depth.energies_ev[::EVERY].tolist()
    output.mkdir(parents=True, exist_ok=True)  # that it cannot be made is told before anything is measured
    plan = characterise(
        **survey_of(probe, fly),
        energy=probe.energy,
        absorption=ABSORPTION,
        references={name: mu.tolist() for name, mu in zip(depth.names, depth.mu, strict=True)},
        reference_energies=depth.energies_ev.tolist(),
        energies=known,
        max_energies=energies,
        target_error=TARGET,
        energy_dwell_s=DWELL_S,
        coarse_dwell_s=DWELL_S,
        fine_step=FINE * made.step_um[0],
        max_regions=regions,
        md={"seed": seed, "sample": sample},
    )
    command = f"ebl-autonomy demo xanes --sample {sample} --seed {seed} --regions {regions} --energies {energies}"
    began = time.monotonic()
    with GracefulInterrupt() as ctrl_c, measured(plan, ctrl_c, storage, quiet) as runs:
        record = runs.record(0)
        seconds = probe.clock.now()
        mapped: tuple[PhaseMap, ...] = () if runs.result is None else runs.result.phase_maps
        truths = [true_amounts(made, one.x, one.y) for one in mapped]
        page = write_report(
            record,
            output,
            client=runs.client,
            truth=true_counts(probe, grid_of(made, COARSE), DWELL_S),
            facts={"command": f"{command}{' --fly' * fly}"},
            more_figures={
                f"Phases of {one.region.label}, from {len(one.energies)} energies": phase_figure(
                    one.x, one.y, one.amounts, truth, (probe.x.name, probe.y.name)
                )
                for one, truth in zip(mapped, truths, strict=True)
            },
        )
        result = XanesResult(
            uid=record.uid,
            sample=sample,
            seed=seed,
            fly=fly,
            regions=_regions(runs),
            energies_known=len(known),
            phases=[_found(one, truth) for one, truth in zip(mapped, truths, strict=True)],
            seconds_wall=time.monotonic() - began,
            seconds_beamline=seconds,
            stop_reason="interrupted by the user" if runs.result is None else runs.result.stop_reason,
            report=str(page.resolve()),
        )
        (output / "summary.json").write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return result


def true_amounts(sample: SimSample, x: FloatArray, y: FloatArray) -> dict[str, FloatArray]:
    """The amount of each phase of a sample at the crossings of rows y and columns x, µm."""
    places = [
        (values - first) / step
        for values, first, step in zip((y, x), sample.origin_um[::-1], sample.step_um[::-1], strict=True)
    ]
    at = np.meshgrid(*places, indexing="ij")
    return {
        name: np.asarray(map_coordinates(weights, at, order=1))
        for name, weights in zip(sample.depth.names, sample.depth.weights, strict=True)
    }


def _found(one: PhaseMap, truth: Mapping[str, FloatArray]) -> PhasesFound:
    measured_ones = np.array([one.amounts[name] for name in one.names])
    true_ones = np.array([truth[name] for name in one.names])
    total = true_ones.sum(axis=0)
    thick = (total > THIN * total.max()) & np.isfinite(measured_ones).all(axis=0)
    error = None
    if thick.any():
        fractions = np.array([one.fractions[name] for name in one.names])[:, thick]
        error = float(np.sqrt(np.nanmean((fractions - true_ones[:, thick] / total[thick]) ** 2)))
    return PhasesFound(
        label=one.region.label,
        energies=one.energies.tolist(),
        found=_parts(one.names, measured_ones),
        truth=_parts(one.names, true_ones),
        rms_error=error,
    )


def _parts(names: tuple[str, ...], amounts: Any) -> dict[str, float]:
    sums = np.nansum(amounts, axis=(1, 2))
    total = float(sums.sum()) or 1.0
    return {name: float(amount) / total for name, amount in zip(names, sums, strict=True)}


def _shares(parts: Mapping[str, float]) -> str:
    named = sorted(((share, name) for name, share in parts.items() if share >= TRACE), reverse=True)
    return " and ".join(f"{name} {percent(share)}" for share, name in named) or "nothing"


def _regions(runs: Measured) -> int:
    """How many regions the survey found; of one that was interrupted, how many it had come to."""
    from ebl_autonomy.data.surveys import fine_scans

    return len(fine_scans(runs.client, runs.uids[0])) if runs.result is None else len(runs.result.regions)
