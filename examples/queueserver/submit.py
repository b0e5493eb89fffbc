"""Queue an alignment: the plan of an IPython session, with the agent given as JSON.

python examples/queueserver/submit.py
"""

from bluesky_queueserver_api import BPlan
from bluesky_queueserver_api.zmq import REManagerAPI

MOTORS = ["kbv_pitch", "kbv_height", "kbh_pitch", "kbh_height"]

agent = {
    "agent": "bayesian",
    "vocs": {
        "variables": {name: [-100.0, 100.0] for name in MOTORS},
        "objectives": {"camera_spot_area": "MINIMIZE"},
        "constraints": {"camera_total": ["GREATER_THAN", 1e4]},
    },
    "options": {"seed": 0},
}

if __name__ == "__main__":
    RM = REManagerAPI()
    RM.item_add(
        BPlan("optimize", ["camera", "clock"], MOTORS, agent, max_points=40, until={"seconds": 3600, "clock": "clock"})
    )
    RM.queue_start()
