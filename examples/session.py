"""The README's session as a script: align six motors of the simulated beamline, then read the run back from Tiled.

python examples/session.py
"""

from bluesky import RunEngine

from ebl_autonomy import VOCS, connect, read_run
from ebl_autonomy.agents import BayesianAgent
from ebl_autonomy.plans import optimize
from ebl_autonomy.report import ProgressBar
from ebl_autonomy.sim_devices import SimBeamline


def main(points: int = 80) -> None:
    RE = RunEngine({})
    RE.subscribe(ProgressBar())
    tiled = connect(RE)
    bl = SimBeamline(seed=0)
    motors = [bl.kbv.pitch, bl.kbv.bend_up, bl.kbv.bend_down, bl.kbh.pitch, bl.kbh.bend_up, bl.kbh.bend_down]
    vocs = VOCS(
        variables={motor.name: list(motor.limits) for motor in motors},
        objectives={"camera_spot_area": "MINIMIZE"},
        constraints={"camera_total": ["GREATER_THAN", 1e4]},
    )
    agent = BayesianAgent(vocs, seed=0)
    (uid,) = RE(optimize([bl.camera], motors, agent, max_points=points, baseline=bl.baseline))
    print(agent.best())

    record = read_run(uid, tiled.client)
    print(f"{len(record.results)} results; the first decisions:")
    for proposal in record.proposals[:5]:
        print(f"  {proposal.proposal_id} {proposal.status:9s} {proposal.decision.reason}")
    tiled.close()


if __name__ == "__main__":
    main()
