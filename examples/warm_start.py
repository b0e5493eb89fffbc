"""A warm start: align, misalign the motors a little, then align again with the first run as prior.

python examples/warm_start.py
"""

from typing import Any

from bluesky import RunEngine

from ebl_autonomy import VOCS, connect
from ebl_autonomy.agents import BayesianAgent
from ebl_autonomy.plans import OptimizeResult, optimize
from ebl_autonomy.sim_devices import SimBeamline

TARGET = {"target": 15.0}  # µm²; the smallest spot has 12.1


def main(points: int = 80) -> None:
    RE = RunEngine({}, call_returns_result=True)
    tiled = connect(RE)
    bl = SimBeamline(seed=0)
    motors = bl.motors()
    vocs = VOCS(
        variables={motor.name: list(motor.limits) for motor in motors},
        objectives={"camera_spot_area": "MINIMIZE"},
        constraints={"camera_total": ["GREATER_THAN", 1e4]},
    )

    def align(**options: Any) -> OptimizeResult:
        agent = BayesianAgent(vocs, seed=0)
        result: OptimizeResult = RE(
            optimize([bl.camera], motors, agent, max_points=points, until=TARGET, **options)
        ).plan_result
        print(f"{result.accepted} points ({result.stop_reason})\n  {result.best}")
        return result

    first = align()
    for motor in motors:  # misalign each motor by a tenth of its range
        low, high = motor.limits
        motor.set(motor.position + 0.1 * (high - low)).wait()
    second = align(prior=[first.uid])
    print(f"{first.accepted} points without a prior, {second.accepted} with the first run as prior")
    tiled.close()


if __name__ == "__main__":
    main()
