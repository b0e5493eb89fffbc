"""Adapting `optimize` to another beamline: a custom measurement, a derived outcome, a stop rule and an envelope.

Each point is the median of three exposures, with their standard error as its uncertainty. A knife-edge scan would take
the same place. The agent sees only the outcome.

    python examples/own_measurement.py
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from bluesky import RunEngine
from bluesky import plan_stubs as bps

from ebl_autonomy import VOCS
from ebl_autonomy.agents import BayesianAgent
from ebl_autonomy.plans import Until, optimize
from ebl_autonomy.sim_devices import SimBeamline


def main(points: int = 25) -> None:
    RE = RunEngine({})
    bl = SimBeamline(seed=0, tier="A")

    def three_exposures(detectors: Any, point: Mapping[str, float]) -> Any:
        """Measure the median spot area of three exposures, µm², and its standard error."""
        areas = []
        for _ in range(3):
            yield from bps.trigger(bl.camera, wait=True)
            reading = yield from bps.read(bl.camera)
            areas.append(reading["camera_spot_area"]["value"])
        return {"area": float(np.median(areas)), "area_std": float(np.std(areas) / np.sqrt(3.0)) or 0.01}

    motors = bl.motors()
    agent = BayesianAgent(VOCS(variables={m.name: list(m.limits) for m in motors}, objectives={"area": "MINIMIZE"}))
    plan = optimize(
        [bl.camera],
        motors,
        agent,
        max_points=points,
        measure=three_exposures,
        derive={"sqrt_area": lambda readings: readings["area"] ** 0.5},
        until=Until(target=12.3),
        envelope={"max_step": {"kbv_height": 60.0}, "forbidden": [{"box": {"kbh_height": (80.0, 100.0)}}]},
    )
    RE(plan)
    print(agent.best())


if __name__ == "__main__":
    main()
