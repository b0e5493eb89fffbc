"""Queue a map of the microprobe's sample: an agent chooses points and lines to fly.

python submit_map.py
"""

from bluesky_queueserver_api import BPlan
from bluesky_queueserver_api.zmq import REManagerAPI

from ebl_autonomy.agents import make_agent

WIDTH = 15.0  # µm

agent = {
    "agent": "mapping",
    "vocs": {
        "variables": {"sample_x": [0.0, WIDTH], "sample_y": [0.0, WIDTH], "line_length": [-WIDTH, WIDTH]},
        "observables": ["xrf_Fe", "xrf_Zn"],
    },
    "options": {"step": 0.25, "counts": True, "line": "line_length", "seed": 0},
}

if __name__ == "__main__":
    make_agent(agent)  # a misspelt key is refused here, before it is queued
    RM = REManagerAPI()
    RM.wait_for_idle(timeout=300)  # the environment may still be opening
    item = BPlan(
        "adaptive_map", ["xrf", "i0"], "sample_x", "sample_y", agent, flyers=["line"], max_points=400, dwell_s=0.02
    )
    print("queued", RM.item_add(item)["item"]["item_uid"])
    RM.queue_start()
