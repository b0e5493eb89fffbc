"""An adaptive map of a simulated sample, compared with the truth and with rasters, and its report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from ebl_autonomy.agents import make_agent
from ebl_autonomy.cli.interrupt import GracefulInterrupt
from ebl_autonomy.cli.measuring import Storage, measured
from ebl_autonomy.cli.samples import grid_of, sample_of, true_counts
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans import adaptive_map
from ebl_autonomy.report import report_contents, write_report
from ebl_autonomy.report.map_contents import MapSection
from ebl_autonomy.report.wording import duration, percent
from ebl_autonomy.sim_devices import SimMicroprobe

__all__ = ["ChannelScores", "MapResult", "Scores", "mapping", "run_demo_map"]

DWELL_S: Final = 0.05
BATCH: Final = 16
LENGTH: Final = "line_length"
"""The variable that is the length of a fly line."""


class Scores(BaseModel):
    """How near a map is to the truth.

    Attributes
    ----------
    nrmse : float
        Error, as a share of the standard deviation of the truth.
    ssim : float
        Structural similarity, at most 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    nrmse: float
    ssim: float


class ChannelScores(BaseModel):
    """The scores of one channel, or their means over the channels that are not flat.

    Attributes
    ----------
    adaptive : Scores or None
        Of this map.
    same_points, same_time : Scores or None
        Of an even raster with as many points, and of one in as much beamline time; None if it cannot be told. The
        rasters have no noise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    adaptive: Scores | None = None
    same_points: Scores | None = None
    same_time: Scores | None = None


class MapResult(BaseModel):
    """What the demo found.

    Attributes
    ----------
    points, pixels : int
        Measured, and of the whole map.
    flights : int
        Fly lines among the measurements.
    raster_points : int
        Of the raster in as much time; 0 if it cannot be told.
    dose_saved : float or None
        Share of the dose of a full raster with the same exposure.
    mean : ChannelScores
        Over the channels.
    channels : dict of str to ChannelScores
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    uid: str
    sample: str
    seed: int
    fly: bool
    points: int
    pixels: int
    flights: int
    raster_points: int
    seconds_wall: float
    seconds_beamline: float
    dose_saved: float | None
    mean: ChannelScores
    channels: dict[str, ChannelScores]
    stop_reason: str
    report: str

    def lines(self) -> list[str]:
        """The result in words."""
        told = [
            f"{self.points:,} of {self.pixels:,} pixels ({percent(self.points / self.pixels)}) measured"
            f"{f' on {self.flights} fly lines' if self.fly else ''} in {duration(self.seconds_beamline)} on the "
            f"beamline's clock, {duration(self.seconds_wall)} here"
            + (f"; {percent(self.dose_saved)} of the dose of a full raster saved" if self.dose_saved else ""),
        ]
        compared = {
            "this map": self.mean.adaptive,
            "a raster of as many points": self.mean.same_points,
            f"one in as much time ({self.raster_points:,} points)": self.mean.same_time,
        }
        known = [(name, one) for name, one in compared.items() if one is not None]
        if known:
            told.append(
                f"error against the truth, mean over {len(self.channels)} channels (NRMSE; SSIM in brackets): "
                + ", ".join(f"{name} {one.nrmse:.3f} ({one.ssim:.3f})" for name, one in known)
            )
        return told


def mapping(probe: SimMicroprobe, seed: int, fly: bool) -> dict[str, Any]:
    """The agent's configuration for a map of all elements of a sample, at the sample's own pixels."""
    (left, right), (low, high) = probe.sample.area_um
    variables = {probe.x.name: [left, right], probe.y.name: [low, high]}
    options: dict[str, Any] = {"seed": seed, "step": list(probe.sample.step_um), "counts": True}
    if fly:
        variables[LENGTH] = [left - right, right - left]
        options["line"] = LENGTH
    channels = [f"xrf_{name}" for name in probe.sample.maps]
    return {"agent": "mapping", "vocs": {"variables": variables, "observables": channels}, "options": options}


def run_demo_map(
    sample: str,
    seed: int,
    share: float,
    points: int | None,
    fly: bool,
    output: Path,
    storage: Storage,
    quiet: bool = False,
) -> MapResult:
    """Map a simulated sample; write ``report.html`` and ``summary.json`` into `output`.

    One Ctrl-C ends the measurement; what was measured is reported.

    Parameters
    ----------
    sample : str
        See `sample_of`.
    seed : int
    share : float
        Of the pixels, if `points` is None.
    points : int or None
        Number of points at most.
    fly : bool
        Whether the agent may fly lines.
    output : Path
    storage : Storage
    quiet : bool
        Whether to leave out the progress bar.

    Raises
    ------
    BadInputError
        If an argument is out of range.
    KeyboardInterrupt
        If Ctrl-C came before the run was open, so that there is nothing to report.
    """
    if not 0.0 < share <= 1.0:
        raise BadInputError(f"--share={share}: give a share of the pixels, above 0 and at most 1")
    if points is not None and points < 1:
        raise BadInputError(f"--points={points}: give at least 1")
    made = sample_of(sample, seed)
    probe = SimMicroprobe(made, seed=seed, dwell_s=DWELL_S)
    grid = grid_of(made)
    most = max(1, round(share * grid.size)) if points is None else points
    output.mkdir(parents=True, exist_ok=True)  # that it cannot be made is told before anything is measured
    agent = make_agent(mapping(probe, seed, fly))
    plan = adaptive_map(
        [probe.xrf, probe.i0, probe.clock],
        probe.x,
        probe.y,
        agent,
        max_points=most,
        batch=BATCH,
        flyers=[probe.flyer] if fly else [],
        dwell_s=DWELL_S,
        baseline=[device for device in probe.baseline if device is not probe.clock],
        md={"seed": seed, "sample": sample},
    )
    began = time.monotonic()
    with GracefulInterrupt() as ctrl_c, measured(plan, ctrl_c, storage, quiet) as runs:
        record = runs.record()
        told = report_contents(record, agent=agent, truth=true_counts(probe, grid, DWELL_S))
        command = f"ebl-autonomy demo map --sample {sample} --seed {seed} --points {most}{' --fly' if fly else ''}"
        page = write_report(record, output, told=told, facts={"command": command})
        assert told.map is not None
        channels = scores(told.map)
        result = MapResult(
            uid=record.uid,
            sample=sample,
            seed=seed,
            fly=fly,
            points=told.summary.points,
            pixels=grid.size,
            flights=sum(len(one.rows) > 1 for one in record.proposals),
            raster_points=max((one.points for one in told.map.rasters if one.of == "time"), default=0),
            seconds_wall=time.monotonic() - began,
            seconds_beamline=told.summary.seconds.get("clock", 0.0),
            dose_saved=None if told.map.dose is None else told.map.dose.saved,
            mean=_mean(list(channels.values())),
            channels=channels,
            stop_reason=told.summary.stop_reason,
            report=str(page.resolve()),
        )
        (output / "summary.json").write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return result


def scores(told: MapSection) -> dict[str, ChannelScores]:
    """The scores of each channel that is not flat."""
    found = {}
    for channel in told.truth:
        by = {one.of: one for one in told.rasters if one.channel == channel}
        own = next(iter(by.values()), None)
        rasters = {of: by[of] for of in ("points", "time") if of in by}
        one = ChannelScores(
            adaptive=None if own is None else _scores(own.own_nrmse, own.own_similarity),
            **{f"same_{of}": _scores(raster.nrmse, raster.similarity) for of, raster in rasters.items()},
        )
        if one.adaptive is not None:
            found[channel] = one
    return found


def _scores(nrmse: float | None, ssim: float | None) -> Scores | None:
    return None if nrmse is None or ssim is None else Scores(nrmse=nrmse, ssim=ssim)


def _mean(channels: list[ChannelScores]) -> ChannelScores:
    def mean(of: str) -> Scores | None:
        known = [one for channel in channels if (one := getattr(channel, of)) is not None]
        if not known or len(known) < len(channels):
            return None
        return Scores(
            nrmse=sum(one.nrmse for one in known) / len(known), ssim=sum(one.ssim for one in known) / len(known)
        )

    return ChannelScores(adaptive=mean("adaptive"), same_points=mean("same_points"), same_time=mean("same_time"))
