"""How close to the best possible beam an agent comes on the simulated beamline, through the RunEngine."""

import math
import statistics
import time
from collections.abc import Sequence
from typing import cast

from bluesky import RunEngine

from ebl_autonomy.agents import make_agent
from ebl_autonomy.cli.demo import alignment
from ebl_autonomy.plans import optimize
from ebl_autonomy.sim_devices import SimBeamline
from ebl_autonomy.sim_devices.layout import Tier


def report(tier: str, points: int, seeds: Sequence[int], agent: str) -> None:
    """Print, for each seed, the true widths where the motors end over the best possible ones."""
    print(f"tier {tier}, {points} points, {agent}: true width at the end over the best possible")
    worst: list[float] = []
    for seed in seeds:
        x, y, seconds = align(tier, points, seed, agent)
        worst.append(max(x, y))
        print(
            f"  seed {seed}: horizontal {x:6.2f}   vertical {y:6.2f}   ({seconds / points:.2f} s a point)", flush=True
        )
    print(f"  the wider of the two: median {statistics.median(worst):.2f}, worst {max(worst):.2f}")


def align(tier: str, points: int, seed: int, agent: str) -> tuple[float, float, float]:
    """Width ratios (horizontal, vertical; infinite if it ends without a beam) and wall seconds of one alignment."""
    beamline = SimBeamline(seed=seed, tier=cast(Tier, tier))
    chosen = make_agent(alignment(beamline, agent, seed))
    began = time.perf_counter()
    RunEngine({})(optimize([beamline.camera], beamline.motors(), chosen, max_points=points))
    seconds = time.perf_counter() - began
    reached, best = beamline.truth.outcome(), beamline.truth.outcome(beamline.truth.best_point())
    x, y = (reached[f"camera_fwhm_{axis}"] / best[f"camera_fwhm_{axis}"] for axis in "xy")
    return (math.inf, math.inf, seconds) if math.isnan(x * y) else (x, y, seconds)
