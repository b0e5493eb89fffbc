"""The main job, start to end: the simulated beamline is aligned through the RunEngine, and a report is written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict

from ebl_autonomy.agents import make_agent
from ebl_autonomy.cli.interrupt import GracefulInterrupt
from ebl_autonomy.cli.measuring import Storage, measured
from ebl_autonomy.plans import optimize
from ebl_autonomy.records import BestReading, Recommendation
from ebl_autonomy.report import summarise, write_report
from ebl_autonomy.sim_devices import SimBeamline
from ebl_autonomy.sim_devices.layout import Tier

__all__ = ["DemoResult", "alignment", "run_demo"]


class DemoResult(BaseModel):
    """What the demo reached; widths in µm, areas in µm².

    Those ``…_before``, ``…_after`` and ``…_best`` are the beamline's truth, without noise: where the motors were, where
    they were left, and at the best possible point. `recommended`, `best_reading` and `left_at` are what the run knows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    uid: str
    tier: str
    seed: int
    agent: str
    points: int
    invalid: int
    spot_area_before: float
    spot_area_after: float
    spot_area_best: float
    fwhm_x_before: float
    fwhm_x_after: float
    fwhm_x_best: float
    fwhm_y_before: float
    fwhm_y_after: float
    fwhm_y_best: float
    seconds_wall: float
    seconds_beamline: float
    stop_reason: str
    recommended: Recommendation | None
    best_reading: BestReading | None
    left_at: dict[str, float]
    report: str


def alignment(beamline: SimBeamline, agent: str, seed: int) -> dict[str, Any]:
    """The agent's configuration for the main job: the smallest beam that still has its flux and is where the sample is.

    The area is total over peak flux, up to a constant, and unlike the width at half maximum that holds for beams with
    long tails too: an agent that can takes it apart that way.
    """
    options: dict[str, Any] = {"seed": seed}
    if agent == "bayesian":
        options["composite"] = {"camera_total": 1.0, "camera_peak": -1.0}
    return {
        "agent": agent,
        "vocs": {
            "variables": {motor.name: list(motor.limits) for motor in beamline.motors()},
            "objectives": {"camera_spot_area": "MINIMIZE"},
            "constraints": {
                "camera_total": ["GREATER_THAN", 6e5],
                "camera_centroid_x": ["BOUNDS", -40.0, 40.0],
                "camera_centroid_y": ["BOUNDS", -40.0, 40.0],
            },
            "observables": ["camera_peak"],
        },
        "options": options,
    }


def run_demo(
    tier: str,
    seed: int,
    agent: str,
    points: int,
    output: Path,
    storage: Storage,
    quiet: bool = False,
    prior: Sequence[str] = (),
) -> DemoResult:
    """Align the simulated beamline, write ``report.html`` and ``summary.json`` into `output`.

    One Ctrl-C ends the measurement; what was measured is reported.

    Raises
    ------
    KeyboardInterrupt
        If Ctrl-C came before the run was open, so that there is nothing to report.
    """
    beamline = SimBeamline(seed=seed, tier=cast(Tier, tier))
    output.mkdir(parents=True, exist_ok=True)  # that it cannot be made is told before anything is measured
    motors = beamline.motors()
    before = beamline.truth.outcome()
    chosen = make_agent(alignment(beamline, agent, seed))
    plan = optimize(
        [beamline.camera, beamline.clock],
        motors,
        chosen,
        max_points=points,
        baseline=[device for device in beamline.baseline if device is not beamline.clock],
        md={"seed": seed},
        prior=prior,
    )
    began = time.monotonic()
    with GracefulInterrupt() as ctrl_c, measured(plan, ctrl_c, storage, quiet) as runs:
        record = runs.record()
        summary = summarise(record)
        after = beamline.truth.outcome()  # where the plan left the motors
        best = beamline.truth.outcome(beamline.truth.best_point())
        page = write_report(
            record,
            output,
            agent=chosen,
            best_possible=best["camera_spot_area"],
            pixel_um=beamline.camera.pixel_um,
            facts={
                "command": " ".join(
                    [
                        f"ebl-autonomy demo --tier {tier} --seed {seed} --agent {agent} --points {points}",
                        *(f"--prior {uid}" for uid in record.metadata.prior),
                    ]
                )
            },
        )
        widths = {
            f"{key}_{when}": outcome[f"camera_{key}"]
            for key in ("spot_area", "fwhm_x", "fwhm_y")
            for when, outcome in (("before", before), ("after", after), ("best", best))
        }
        result = DemoResult(
            uid=record.uid,
            tier=tier,
            seed=seed,
            agent=agent,
            points=summary.points,
            invalid=summary.invalid,
            seconds_wall=time.monotonic() - began,
            seconds_beamline=summary.seconds.get("clock", 0.0),
            stop_reason=summary.stop_reason,
            recommended=summary.recommended,
            best_reading=summary.best_reading,
            left_at=summary.left_at,
            report=str(page.resolve()),
            **widths,
        )
        (output / "summary.json").write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return result
