"""Alignments over channel access: the IOC runs in one process, the RunEngine in another."""

from collections.abc import Iterator

import pytest
from clients import client

from ebl_autonomy.sim_devices.ioc import IocHandle, ioc_process

pytestmark = pytest.mark.integration


@pytest.fixture
def ioc() -> Iterator[IocHandle]:
    with ioc_process(seed=0, tier="A", speed=200.0, set_environment=False) as handle:
        yield handle


ALIGNMENT = """
import json, warnings
warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
from bluesky import RunEngine
from ebl_autonomy import VOCS
from ebl_autonomy.agents import BayesianAgent
from ebl_autonomy.plans import optimize
from ebl_autonomy.sim_devices import KIND

RE = RunEngine({}, call_returns_result=True)
rows, points, streams = [], {}, {}
def keep(name, doc):
    if name == "descriptor":
        streams[doc["uid"]] = doc["name"]
    elif name == "event" and streams[doc["descriptor"]] == "primary":
        rows.append({key: value for key, value in doc["data"].items()})
    elif name == "event" and streams[doc["descriptor"]] == "decisions":
        points[doc["data"]["proposal_id"]] = doc["data"]
RE.subscribe(keep)
with KIND(timeout_s=100.0) as bl:
    motors = bl.motors()
    names = [m.name for m in motors]
    vocs = VOCS(variables={n: [-100.0, 100.0] if "height" not in n else [-50.0, 50.0] for n in names},
                objectives={"camera_spot_area": "MINIMIZE"}, constraints={"camera_total": ["GREATER_THAN", 1e4]})
    agent = BayesianAgent(vocs, seed=0)
    result = RE(optimize([bl.camera], motors, agent, max_points=12, baseline=bl.baseline)).plan_result
    def where():
        from bluesky import plan_stubs as bps
        at = {}
        for motor in motors:
            at[motor.name] = yield from bps.rd(motor)
        return at
    at = RE(where()).plan_result
best = agent.best()
(row,) = [r for r in rows if r["camera_spot_area"] == best.outcome["camera_spot_area"]]
print(json.dumps({
    "accepted": result.accepted, "at": at, "best_point": best.point,
    "best_is_of_its_row": max(abs(row[n] - best.point[n]) for n in names),
    "off": max(abs(r[n] - points[r["proposal_id"]][n]) for r in rows for n in names),
    "ids": len({r["proposal_id"] for r in rows}),
}))
"""


@pytest.mark.parametrize("kind", ["EpicsBeamline", "AsyncEpicsBeamline"])
def test_the_same_alignment_with_ophyd_and_with_ophyd_async(ioc: IocHandle, kind: str) -> None:
    seen = client(ioc, ALIGNMENT.replace("KIND", kind))
    assert seen["accepted"] == seen["ids"] == 12
    assert seen["off"] <= 0.02  # each row was read at its proposal
    assert seen["best_is_of_its_row"] <= 0.02
    for name, position in seen["best_point"].items():
        assert seen["at"][name] == pytest.approx(position, abs=0.02)  # the motors end at the best point


LABELS = """
import contextlib, io, json, warnings
warnings.filterwarnings("ignore")
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from IPython.core.interactiveshell import InteractiveShell
from bluesky.magics import BlueskyMagics
from ebl_autonomy.sim_devices import KIND

RE = RunEngine({})
shell = InteractiveShell.instance()
shell.register_magics(BlueskyMagics)
with KIND(timeout_s=100.0) as bl:
    RE(bps.mv(bl.kbv.pitch, 12.5))
    shell.user_ns["bl"] = bl
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        shell.run_line_magic("wa", "")
print(json.dumps({words[0]: words[1:] for line in shown.getvalue().splitlines() if (words := line.split())}))
"""


@pytest.mark.parametrize("kind", ["EpicsBeamline", "AsyncEpicsBeamline"])
def test_the_magic_wa_shows_the_motors_where_they_are(ioc: IocHandle, kind: str) -> None:
    shown = client(ioc, LABELS.replace("KIND", kind))
    assert [float(number) for number in shown["kbv_pitch"][:3]] == [pytest.approx(12.5, abs=0.05), -120.0, 120.0]
    assert shown["bl.slits.h_gap"] == ["slits_h_gap"]
    assert shown["bl.camera"] == ["camera"]


MOTOR = """
import json, time
from ophyd import EpicsMotor
from ophyd.utils import LimitError
m = EpicsMotor("EBL:kbv_pitch", name="m")
m.wait_for_connection(timeout=100)
start = m.position
seen = {"limits": m.limits, "egu": m.egu}
status = m.set(start + 20.0)
seen["moving"] = not status.done
status.wait(100)
seen["arrived"] = abs(m.user_readback.get() - start - 20.0)
seen["dmov"] = m.motor_done_move.get()
try:
    m.set(m.high_limit + 1)
    seen["refused"] = False
except LimitError:
    seen["refused"] = True
before = m.user_readback.get()
from epics import PV, caput, caget
caput("EBL:kbv_pitch.VAL", m.high_limit + 5.0, wait=True, timeout=100)  # past ophyd's own check
seen["lvio"] = caget("EBL:kbv_pitch.LVIO")
seen["stayed"] = abs(caget("EBL:kbv_pitch.RBV") - before)
val = PV("EBL:kbv_pitch.VAL")
for k in range(50):
    val.put(before + 0.01 * k)
val.put(before + 0.5, wait=True, timeout=100)
seen["last of many"] = abs(m.user_readback.get() - before - 0.5)
before = m.user_readback.get()
status = m.set(start - 90.0)
while m.user_readback.get() == before:
    time.sleep(0.01)
m.stop()
try:
    status.wait(100)
    seen["stopped"] = "done"
except Exception as error:
    seen["stopped"] = type(error).__name__
time.sleep(0.1)
seen["short of"] = m.user_readback.get() - (start - 90.0)
m.destroy()
print(json.dumps(seen))
"""


def test_a_motor_record_does_what_clients_count_on() -> None:
    with ioc_process(seed=0, tier="A", speed=2.0, set_environment=False) as ioc:
        seen = client(ioc, MOTOR)
    assert seen["limits"][0] < seen["limits"][1]
    assert seen["egu"] == "urad"
    assert seen["moving"]
    assert seen["arrived"] < 0.02
    assert seen["dmov"] == 1
    assert seen["refused"]
    assert seen["lvio"] == 1
    assert seen["stayed"] == 0
    assert seen["last of many"] < 0.02
    assert seen["stopped"] == "done" or seen["stopped"] == "FailedStatus"
    assert seen["short of"] > 5.0


LIMITS = """
import json, time
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from ebl_autonomy.plans.devices import read_limits
from ebl_autonomy.sim_devices import AsyncEpicsBeamline

RE = RunEngine({}, call_returns_result=True)
with AsyncEpicsBeamline(timeout_s=100.0) as bl:
    motor = bl.kbv.pitch
    seen = {"at first": motor.limits}
    def plan():
        yield from bps.abs_set(motor.high_limit_travel, 50.0, wait=True)
        deadline = time.monotonic() + 100
        while motor.limits[1] != 50.0 and time.monotonic() < deadline:  # a monitor comes when it comes
            yield from bps.sleep(0.02)
        return (yield from read_limits(motor))
    seen["to a plan"] = RE(plan()).plan_result
    seen["later"] = motor.limits
print(json.dumps(seen))
"""


def test_an_async_motor_tells_its_limits_and_follows_them(ioc: IocHandle) -> None:
    seen = client(ioc, LIMITS)
    assert seen == {"at first": [-120.0, 120.0], "to a plan": [-120.0, 50.0], "later": [-120.0, 50.0]}


PAUSED = """
import inspect, json, threading, time
from bluesky import RunEngine
from bluesky.run_engine import call_in_bluesky_event_loop
from bluesky.utils import RunEngineInterrupted
from gest_api.generator import Generator
from ebl_autonomy import VOCS
from ebl_autonomy.plans import optimize
from ebl_autonomy.sim_devices import KIND

class Both(Generator):  # one end of the motor's range, then the other
    def __init__(self, name):
        self.vocs = VOCS(variables={name: [-110.0, 110.0]}, objectives={"camera_spot_area": "MINIMIZE"})
        self.points = [{name: -100.0}, {name: 100.0}]
        self.told = []
    def _validate_vocs(self, vocs):
        pass
    def suggest(self, num_points=None):
        return [self.points.pop(0)] if self.points else []
    def ingest(self, results):
        self.told += results

RE = RunEngine({}, call_returns_result=True)
from recording import keep
rows, gone, _ = keep(RE)

def pause_soon(msg):
    if msg.command == "set" and msg.args[0] == 100.0:
        RE.msg_hook = None
        threading.Timer(0.3, RE.request_pause).start()
RE.msg_hook = pause_soon

with KIND(timeout_s=100.0) as bl:
    motor = bl.kbv.pitch
    def where():
        reading = motor.read()
        if inspect.isawaitable(reading):
            async def answer():
                return await reading
            reading = call_in_bluesky_event_loop(answer())
        return reading[motor.name]["value"]
    agent = Both(motor.name)
    plan = optimize([bl.camera], [motor], agent, max_points=2, retries=0, finish="stay")  # a failure would be recorded
    try:
        RE(plan)
        paused = False
    except RunEngineInterrupted:
        paused = True
    time.sleep(0.5)  # it slows down
    stopped = where()
    time.sleep(0.5)
    stands = where() == stopped
    result = RE.resume().plan_result
    print(json.dumps({
        "paused": paused, "stopped": stopped, "stands": stands, "rows": [row[motor.name] for row in rows],
        "told": [r[motor.name] for r in agent.told], "gone": gone,
        "accepted": result.accepted, "abandoned": result.abandoned,
    }))
"""


@pytest.mark.parametrize("kind", ["EpicsBeamline", "AsyncEpicsBeamline"])
def test_a_pause_in_mid_move_stops_the_motor_and_is_no_failure_of_the_point(kind: str) -> None:
    with ioc_process(seed=0, tier="A", speed=5.0, set_environment=False) as ioc:
        seen = client(ioc, PAUSED.replace("KIND", kind))
    assert seen["paused"]
    assert seen["stands"]
    assert seen["stopped"] < 99.0  # short of where it was sent
    assert seen["rows"] == pytest.approx([-100.0, 100.0], abs=0.02)
    assert seen["told"] == seen["rows"]
    assert seen["gone"] == []
    assert (seen["accepted"], seen["abandoned"]) == (2, 0)


KILLED = """
import json, os, signal, sys, threading
from bluesky import RunEngine
from ebl_autonomy import VOCS
from ebl_autonomy.agents import SobolAgent
from ebl_autonomy.plans import optimize
from ebl_autonomy.sim_devices import EpicsBeamline

RE = RunEngine({}, call_returns_result=True)
docs = []
RE.subscribe(lambda name, doc: docs.append((name, doc)))
bl = EpicsBeamline(timeout_s=100.0)
vocs = VOCS(variables={m.name: [-50.0, 50.0] for m in bl.motors()}, objectives={"camera_spot_area": "MINIMIZE"})
def kill(name, doc):
    if name == "event" and doc["seq_num"] == 2 and "camera_total" in doc["data"]:
        threading.Timer(0.15, os.kill, (int(sys.argv[1]), signal.SIGKILL)).start()
RE.subscribe(kill)
try:
    RE(optimize([bl.camera], bl.motors(), SobolAgent(vocs), max_points=50, move_timeout_s=8.0, max_failures=2))
    error = ""
except Exception as caught:
    error = f"{type(caught).__name__}: {caught}"
stop = docs[-1][1]
print(json.dumps({"error": error, "status": stop["exit_status"], "last": docs[-1][0],
                  "rows": sum(n == "event" and "camera_total" in d["data"] for n, d in docs),
                  "reasons": [d["data"]["reason"] for n, d in docs if n == "event" and "rule" in d["data"]]}),
      flush=True)
os._exit(0)  # the client library would wait for a server that is gone
"""


def test_an_ioc_killed_in_mid_move_ends_the_run_with_the_reason() -> None:
    with ioc_process(seed=0, tier="A", speed=20.0, set_environment=False) as ioc:
        seen = client(ioc, KILLED.replace("int(sys.argv[1])", str(ioc.process.pid)))
    assert seen["last"] == "stop"
    assert seen["status"] == "fail"
    assert seen["rows"] >= 2  # the rows before the kill are recorded
    assert "2 proposals in a row could not be measured" in seen["error"]
    assert len(seen["reasons"]) == 2
    assert all(seen["reasons"])


SCREEN = """
import json, subprocess, sys, threading
from bluesky import RunEngine
from gest_api.generator import Generator
from ebl_autonomy import VOCS
from ebl_autonomy.plans import optimize
from ebl_autonomy.sim_devices import KIND

def screen(field, value):  # another client
    put = "import sys; from caproto.sync.client import write; write(sys.argv[1], sys.argv[2], notify=True, timeout=50)"
    subprocess.run([sys.executable, "-c", put, "EBL:kbv_pitch" + field, str(value)], check=True)

class Listed(Generator):
    def __init__(self, name):
        self.vocs = VOCS(variables={name: [-110.0, 110.0]}, objectives={"camera_spot_area": "MINIMIZE"})
        self.points = [{name: -40.0}, {name: -38.0}, {name: -36.0}, {name: 30.0}]
        self.told = []
    def _validate_vocs(self, vocs):
        pass
    def suggest(self, num_points=None):
        if len(self.points) == 3:
            screen(".VAL", 20.0)  # a hand, while the agent thinks
        return [self.points.pop(0)] if self.points else []
    def ingest(self, results):
        self.told += results

RE = RunEngine({}, call_returns_result=True)
from recording import keep
rows, gone, start = keep(RE)
stops = []
def stop_soon(msg):
    if msg.command == "set" and msg.args[0] == 30.0 and not stops:
        stops.append(threading.Timer(1.0, screen, args=(".STOP", 1)))
        stops[0].start()

with KIND(timeout_s=100.0) as bl:
    motor = bl.kbv.pitch
    agent = Listed(motor.name)
    RE.msg_hook = stop_soon
    envelope = {"max_step": {motor.name: 70.0}, "forbidden": [{"box": {motor.name: [5.0, 10.0]}, "sweep": True}]}
    result = RE(optimize([bl.camera], [motor], agent, max_points=9, envelope=envelope, finish="stay")).plan_result
    stops and stops[0].join()
    print(json.dumps({
        "rows": [[row[motor.name], row["attempt"]] for row in rows], "told": [r[motor.name] for r in agent.told],
        "gone": [[g["rule"], g["reason"]] for g in gone], "tolerance": start["position_tolerance"][motor.name],
        "stops": len(stops),
    }))
"""


@pytest.mark.parametrize("kind", ["EpicsBeamline", "AsyncEpicsBeamline"])
def test_a_motor_moved_from_a_screen_is_judged_from_where_it_is(kind: str) -> None:
    with ioc_process(seed=0, tier="A", speed=20.0, set_environment=False) as ioc:
        seen = client(ioc, SCREEN.replace("KIND", kind))
    # The screen moved it to 20, beyond the region, so the way back to -38 and to -36 is refused; 30 is not.
    assert [rule for rule, _ in seen["gone"]] == ["forbidden", "forbidden"]
    assert seen["rows"][0] == [pytest.approx(-40.0, abs=0.02), 1]
    assert seen["tolerance"] > 0.0
    assert len(seen["told"]) == 4


STOPPED = SCREEN.replace('screen(".VAL", 20.0)', "pass").replace(
    '"forbidden": [{"box": {motor.name: [5.0, 10.0]}, "sweep": True}]', ""
)


@pytest.mark.parametrize("kind", ["EpicsBeamline", "AsyncEpicsBeamline"])
def test_a_motor_stopped_from_a_screen_is_sent_again(kind: str) -> None:
    with ioc_process(seed=0, tier="A", speed=2.0, set_environment=False) as ioc:
        seen = client(ioc, STOPPED.replace("KIND", kind))
    assert seen["stops"] == 1
    assert seen["gone"] == []
    assert [attempt for _, attempt in seen["rows"]] == [1, 1, 1, 2]  # the stopped one is no point until it arrives
    assert [position for position, _ in seen["rows"]] == pytest.approx([-40.0, -38.0, -36.0, 30.0], abs=0.02)
    assert seen["told"] == [position for position, _ in seen["rows"]]
