"""A survey of a simulated sample: the regions of interest in a coarse map, and a fine scan of each; and its report."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict

from ebl_autonomy.analysis.regions import Region
from ebl_autonomy.cli.interrupt import GracefulInterrupt
from ebl_autonomy.cli.measuring import Storage, measured
from ebl_autonomy.cli.samples import COARSE, FEW, grid_of, raster_seconds, sample_of, survey_of, true_counts
from ebl_autonomy.data.surveys import fine_scans
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans import roi_survey
from ebl_autonomy.report import write_report
from ebl_autonomy.report.wording import duration, percent
from ebl_autonomy.sim_devices import SimMicroprobe, SimSample

__all__ = ["RegionFound", "RoiResult", "run_demo_roi", "share_inside"]

COARSE_DWELL_S: Final = 0.02
DWELL_S: Final = 0.05
NAMED: Final = 4
"""Regions that are named, the best first."""


class RegionFound(BaseModel):
    """A region that the survey found.

    Attributes
    ----------
    label : str
    x, y : (float, float)
        Its box, µm.
    reason : str
        Why it is of interest.
    objects : list of str
        The kinds of the labelled objects inside, the largest first; empty without labels of kinds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    x: tuple[float, float]
    y: tuple[float, float]
    reason: str
    objects: list[str]


class RoiResult(BaseModel):
    """What the demo found.

    Attributes
    ----------
    uid : str
        Of the coarse map, which names the survey.
    scans : int
        Fine scans.
    labelled_inside : float or None
        Share of the sample's labelled area inside the fine scans; None if the sample is empty.
    area_scanned : float
        Share of the sample's area inside the fine scans.
    seconds_beamline, seconds_raster : float
        Of the survey, and of a raster of the whole sample with the step and dwell time of the fine scans.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    uid: str
    sample: str
    seed: int
    fly: bool
    regions: list[RegionFound]
    scans: int
    rows: int
    labelled_inside: float | None
    area_scanned: float
    seconds_wall: float
    seconds_beamline: float
    seconds_raster: float
    stop_reason: str
    report: str

    def lines(self) -> list[str]:
        """The result in words."""
        inside = "" if self.labelled_inside is None else f"{percent(self.labelled_inside)} of the labelled area and "
        named = ", ".join(
            f"{one.label}{f' ({kinds})' if (kinds := _listed(one.objects)) else ''}" for one in self.regions[:NAMED]
        )
        return [
            f"{len(self.regions)} regions found, {self.scans} scanned finely, {self.rows:,} rows in all: "
            f"{inside}{percent(self.area_scanned)} of the sample's area inside the fine scans",
            f"{duration(self.seconds_beamline)} on the beamline's clock ({duration(self.seconds_wall)} here), "
            f"{percent(self.seconds_beamline / self.seconds_raster)} of the {duration(self.seconds_raster)} "
            "of a raster with the fine step over the whole sample",
            *([f"by rank: {named}"] if named else []),
        ]


def run_demo_roi(
    sample: str, seed: int, regions: int, fly: bool, output: Path, storage: Storage, quiet: bool = False
) -> RoiResult:
    """Survey a simulated sample; write ``report.html`` of the coarse map and ``summary.json`` into `output`.

    One Ctrl-C ends the survey; what was measured is reported.

    Parameters
    ----------
    sample : str
        See `sample_of`.
    seed : int
    regions : int
        Fine scans at most.
    fly : bool
        Whether rows are flown.
    output : Path
    storage : Storage
    quiet : bool
        Whether to leave out the progress bar.

    Raises
    ------
    BadInputError
        If an argument is out of range.
    KeyboardInterrupt
        If Ctrl-C came before a run was open, so that there is nothing to report.
    """
    if regions < 1:
        raise BadInputError(f"--regions={regions}: give at least 1")
    made = sample_of(sample, seed, FEW)
    probe = SimMicroprobe(made, seed=seed, dwell_s=DWELL_S)
    coarse, fine = grid_of(made, COARSE), grid_of(made)
    output.mkdir(parents=True, exist_ok=True)  # that it cannot be made is told before anything is measured
    found: list[Region] = []

    def keep(given: Sequence[Region]) -> list[Region]:
        found.extend(given)
        return found

    plan = roi_survey(
        **survey_of(probe, fly),
        coarse_dwell_s=COARSE_DWELL_S,
        fine_step=fine.step[0],
        fine_dwell_s=DWELL_S,
        max_regions=regions,
        approve=keep,
        md={"seed": seed, "sample": sample},
    )
    command = f"ebl-autonomy demo roi --sample {sample} --seed {seed} --regions {regions}"
    began = time.monotonic()
    with GracefulInterrupt() as ctrl_c, measured(plan, ctrl_c, storage, quiet) as runs:
        record = runs.record(0)
        seconds = probe.clock.now()
        page = write_report(
            record,
            output,
            client=runs.client,
            truth=true_counts(probe, coarse, COARSE_DWELL_S),
            facts={"command": f"{command}{' --fly' * fly}"},
        )
        scanned = fine_scans(runs.client, record.uid)
        labelled, area = share_inside(made, [(one["x"], one["y"]) for one in scanned])
        result = RoiResult(
            uid=record.uid,
            sample=sample,
            seed=seed,
            fly=fly,
            regions=[_told(made, one) for one in found],
            scans=len(scanned),
            rows=sum(len(runs.record(i).results) for i in range(len(runs.uids))),
            labelled_inside=labelled,
            area_scanned=area,
            seconds_wall=time.monotonic() - began,
            seconds_beamline=seconds,
            seconds_raster=raster_seconds(SimMicroprobe(made, seed=seed, dwell_s=DWELL_S), fine, DWELL_S, fly),
            stop_reason="interrupted by the user" if runs.result is None else runs.result.stop_reason,
            report=str(page.resolve()),
        )
        (output / "summary.json").write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return result


def share_inside(
    sample: SimSample, boxes: Sequence[tuple[Sequence[float], Sequence[float]]]
) -> tuple[float | None, float]:
    """The shares of a sample's labelled pixels (None without any) and of all its pixels inside boxes (x, y), µm."""
    inside = np.zeros(sample.shape, dtype=bool)
    for x, y in boxes:
        inside |= _within(sample.y_um, y)[:, None] & _within(sample.x_um, x)[None, :]
    labelled = sample.labels > 0
    return float(inside[labelled].mean()) if labelled.any() else None, float(inside.mean())


def _told(sample: SimSample, region: Region) -> RegionFound:
    rows, columns = _within(sample.y_um, region.y), _within(sample.x_um, region.x)
    numbers, sizes = np.unique(sample.labels[np.ix_(rows, columns)], return_counts=True)
    order = [int(number) for number in numbers[np.argsort(-sizes, kind="stable")]]
    kinds = [sample.kinds[number] for number in order if number in sample.kinds]
    return RegionFound(label=region.label, x=region.x, y=region.y, reason=region.reason, objects=kinds)


def _within(values: np.ndarray, ends: Sequence[float]) -> np.ndarray:
    return np.asarray((values >= ends[0]) & (values <= ends[1]))


def _listed(kinds: Sequence[str]) -> str:
    counts = Counter(kinds)
    return " and ".join(kind if count == 1 else f"{count} × {kind}" for kind, count in counts.items())
