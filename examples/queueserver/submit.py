"""Queue an alignment: the plan of an IPython session, with the agent given as JSON.

python submit.py
"""

from bluesky_queueserver_api import BPlan
from bluesky_queueserver_api.zmq import REManagerAPI

from ebl_autonomy.agents import make_agent

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
    make_agent(agent)  # a misspelt key is refused here, before it is queued
    RM = REManagerAPI()
    RM.wait_for_idle(timeout=300)  # the environment may still be opening
    item = BPlan("optimize", ["camera"], MOTORS, agent, max_points=40, until={"seconds": 3600})
    print("queued", RM.item_add(item)["item"]["item_uid"])
    RM.queue_start()
