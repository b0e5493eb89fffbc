"""Positioners whose reading is not called like themselves: moved, recorded, reported and read back by either name."""

from typing import Any

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.plans import grid_scan, list_scan
from bluesky.run_engine import call_in_bluesky_event_loop
from ophyd import Signal
from ophyd.sim import SynAxis
from ophyd_async.core import soft_signal_rw
from positioners import POSITIONERS, close_positioner, renamed_axis
from scripted import Scripted
from simple import Documents

from ebl_autonomy import VOCS
from ebl_autonomy.agents import SobolAgent
from ebl_autonomy.data import Connection, past_results, read_run
from ebl_autonomy.errors import BadInputError, DataError
from ebl_autonomy.plans import optimize
from ebl_autonomy.plans.devices import read_positions
from ebl_autonomy.records import Recommendation

SENT = [0.5, -1.0, 1.5]


class Sent:
    """A detector that reads the square of what a device was set to last."""

    name = "dip"
    parent = None

    def __init__(self, RE: RunEngine, device: Any) -> None:
        self.value = 0.0

        def note(msg: Any) -> None:
            if msg.command == "set" and msg.obj is device:
                self.value = (float(msg.args[0]) - 0.5) ** 2

        RE.msg_hook = note  # type: ignore[assignment]

    def read(self) -> dict[str, Any]:
        return {"dip": {"value": self.value, "timestamp": 0.0}}

    def describe(self) -> dict[str, Any]:
        return {"dip": {"source": "test", "dtype": "number", "shape": []}}


def vocs(name: str, **more: Any) -> VOCS:
    return VOCS(variables={name: [-2.0, 2.0]}, objectives={"dip": "MINIMIZE"}, **more)


@pytest.fixture(params=list(POSITIONERS))
def gap(request: pytest.FixtureRequest, RE: RunEngine) -> tuple[Any, str | None]:
    make, key = POSITIONERS[request.param]
    return make("gap"), key


@pytest.mark.parametrize("by", ["device", "key"])
def test_a_variable_has_the_name_of_the_device_or_of_its_reading(
    RE: RunEngine, docs: Documents, gap: Any, by: str
) -> None:
    device, key = gap
    if by == "key" and key is None:
        pytest.skip("its position is not read")
    name = "gap" if by == "device" else key
    agent = Scripted([{name: value} for value in SENT], vocs(name))
    envelope = {"limits": {"gap": [-3.0, 3.0]}, "max_step": {key or "gap": 4.0}}
    plan = optimize(
        [Sent(RE, device)], [device], agent, max_points=3, envelope=envelope, position_tolerance={"gap": 1e-6},
        derive={"twice": lambda readings: 2.0 * readings[name]}, finish="best",
    )  # fmt: skip
    agent.best = lambda: Recommendation({name: 1.0}, {})  # type: ignore[attr-defined]
    result = RE(plan).plan_result
    rows = docs.events["primary"]
    assert [row[name] for row in rows] == SENT
    assert [row["twice"] for row in rows] == [2.0 * value for value in SENT]
    assert [told[name] for told in agent.told] == SENT
    if key is not None:
        assert [row[key] for row in rows] == SENT
    assert result.left_at == {name: 1.0}
    assert docs.events["left_at"][0][name] == 1.0
    assert docs.start["motors"] == ["gap"]
    ours = docs.start["ebl_autonomy"]
    assert ours["motors"] == [name]
    assert (list(ours["limits"]), list(ours["position_tolerance"])) == ([name], [name])


def test_a_stub_moves_it_through_the_gate_under_either_name(RE: RunEngine, docs: Documents, gap: Any) -> None:
    device, key = gap
    name = key or "gap"

    def measure(detectors: Any, point: Any) -> Any:
        yield from bps.mv(device, 2.5 if point[name] > 0.0 else -1.5)
        yield from bps.mv(device, point[name])
        return {"dip": 1.0}

    agent = Scripted([{name: 0.5}, {name: -0.5}], vocs(name))
    envelope = {"limits": {"gap": [-2.0, 2.0]}}
    result = RE(
        optimize([], [device], agent, max_points=1, measure=measure, envelope=envelope, finish="stay")
    ).plan_result
    assert (result.accepted, result.refused) == (1, 1)
    assert "2.5 is outside its limits" in docs.events["abandoned"][0]["reason"]


@pytest.mark.parametrize("make", [lambda: Signal(name="gap", value=0.0), lambda: soft_signal_rw(float, name="gap")])
def test_signals_are_motors(RE: RunEngine, docs: Documents, make: Any) -> None:
    signal = make()
    if hasattr(signal, "connect"):
        call_in_bluesky_event_loop(signal.connect())
    agent = Scripted([{"gap": value} for value in SENT], vocs("gap"))
    RE(optimize([Sent(RE, signal)], [signal], agent, max_points=3, finish="return"))
    assert [row["gap"] for row in docs.events["primary"]] == SENT
    assert docs.events["left_at"][0]["gap"] == 0.0


def test_a_setpoint_may_be_the_variable(RE: RunEngine, docs: Documents) -> None:
    motor = SynAxis(name="motor")
    agent = Scripted([{"motor_setpoint": value} for value in SENT], vocs("motor_setpoint"))
    RE(optimize([Sent(RE, motor)], [motor], agent, max_points=3, finish="stay"))
    assert [row["motor_setpoint"] for row in docs.events["primary"]] == SENT
    assert [told["motor_setpoint"] for told in agent.told] == SENT


def test_the_unit_is_that_of_the_reading(RE: RunEngine, docs: Documents) -> None:
    stage = POSITIONERS["ophyd-async stage"][0]("gap")
    for name in ("gap", "gap-pos"):
        docs.all.clear()
        agent = Scripted([{name: 0.5}], vocs(name))
        RE(optimize([Sent(RE, stage)], [stage], agent, max_points=1, finish="stay"))
        assert docs.start["ebl_autonomy"]["units"] == {name: "um"}


def test_a_failing_device_is_blamed_by_its_own_name(RE: RunEngine, docs: Documents) -> None:
    gap = renamed_axis("gap")
    gap.set = lambda value: (_ for _ in ()).throw(RuntimeError("no power"))
    agent = Scripted([{"gap_encoder": 0.5}], vocs("gap_encoder"))
    RE(optimize([Sent(RE, gap)], [gap], agent, max_points=1, finish="stay"))
    assert "gap failed: RuntimeError: no power" in docs.events["abandoned"][0]["reason"]


def test_names_that_fit_no_motor_or_two_are_refused(RE: RunEngine) -> None:
    gap, other = close_positioner("gap"), SynAxis(name="other")

    def run(variables: list[str], motors: list[Any], **more: Any) -> None:
        known = VOCS(variables={name: [-2.0, 2.0] for name in variables}, objectives={"dip": "MINIMIZE"})
        RE(optimize([Sent(RE, gap)], motors, SobolAgent(known), max_points=1, **more))

    with pytest.raises(BadInputError, match=r"\['gap_typo'\] are not motors.*\['gap', 'other'\].*'gap_readback'"):
        run(["gap_typo", "other"], [gap, other])
    with pytest.raises(BadInputError, match="'gap_setpoint' and 'gap_readback' are the same motor 'gap'"):
        run(["gap_setpoint", "gap_readback"], [gap])
    with pytest.raises(BadInputError, match=r"'gap' and 'gap_readback' are the same motor"):
        run(["gap_readback"], [gap], envelope={"limits": {"gap": (0, 1), "gap_readback": (0, 1)}})
    other.setpoint.name = "gap_setpoint"
    with pytest.raises(BadInputError, match=r"'gap_setpoint' is a reading of the motors \['gap', 'other'\]"):
        run(["gap_setpoint", "other"], [gap, other])


def test_a_device_whose_position_nobody_can_tell_is_refused_with_the_remedy(RE: RunEngine) -> None:
    stage = POSITIONERS["hints only"][0]("gap")
    stage.where.kind = "normal"
    with pytest.raises(BadInputError, match=r"no reading called 'gap', only \['gap_target', 'gap_where'\].*hint"):
        RE(optimize([Sent(RE, stage)], [stage], SobolAgent(vocs("gap")), max_points=1))


# -- past runs -----------------------------------------------------------------------------------------------------

FOREIGN = [name for name, (_, key) in POSITIONERS.items() if key is not None]


@pytest.mark.integration
@pytest.mark.parametrize("scan", ["list_scan", "grid_scan"])
def test_scans_of_others_are_pasts_under_either_name(RE: RunEngine, tiled: Connection, scan: str) -> None:
    det, other = SynAxis(name="dip"), SynAxis(name="other")
    for kind in FOREIGN:
        make, key = POSITIONERS[kind]
        gap = make("gap")
        if scan == "list_scan":
            plan, expected = list_scan([det], gap, SENT), SENT
        else:
            plan, expected = grid_scan([det], gap, -1, 1, 3, other, 0.25, 0.25, 1), [-1.0, 0.0, 1.0]
        (uid,) = RE(plan).run_start_uids
        assert key is not None
        for name in ("gap", key):
            assert [result[name] for result in past_results(uid, vocs(name), tiled.client)[1]] == expected, kind
        with pytest.raises(DataError, match=r"lacks \['gop'\]"):
            past_results(uid, vocs("gop"), tiled.client)


@pytest.mark.integration
def test_a_run_that_moved_such_a_motor_too_is_no_past(RE: RunEngine, tiled: Connection) -> None:
    gap, other, det = close_positioner("gap"), SynAxis(name="other"), SynAxis(name="dip")
    (uid,) = RE(list_scan([det], other, SENT, gap, SENT)).run_start_uids
    with pytest.raises(DataError, match=r"it moved \['gap'\] too"):
        past_results(uid, vocs("other"), tiled.client)
    both = VOCS(variables={"other": [-2.0, 2.0], "gap": [-2.0, 2.0]}, objectives={"dip": "MINIMIZE"})
    assert [(result["other"], result["gap"]) for result in past_results(uid, both, tiled.client)[1]] == [
        (value, value) for value in SENT
    ]


@pytest.mark.integration
@pytest.mark.parametrize("by", ["gap", "gap_readback"])
@pytest.mark.parametrize("many", [False, True])
def test_runs_of_ours_are_pasts_under_either_name(
    RE: RunEngine, tiled: Connection, docs: Documents, by: str, many: bool
) -> None:
    gap = close_positioner("gap")

    def measure(detectors: Any, point: Any) -> Any:
        yield from bps.null()
        return [{"dip": 1.0}, {"dip": 2.0}] if many else {"dip": 1.0}

    wheel = VOCS(
        variables={by: {"type": "DiscreteVariable", "values": [-1.0, 0.5, 1.5]}}, objectives={"dip": "MINIMIZE"}
    )
    agent = Scripted([{by: value} for value in SENT], wheel)
    gap.setpoint.subscribe(lambda value, **_: gap.readback.sim_put(value + 0.0005), run=False)
    RE(optimize([], [gap], agent, max_points=6 if many else 3, measure=measure, finish="stay"))
    uid = docs.start["uid"]
    assert [told[by] for told in agent.told] == [value for value in SENT for _ in range(1 + many)]
    record = read_run(uid, tiled.client)
    assert [result[by] for result in record.results] == [told[by] for told in agent.told]
    for name in ("gap", "gap_readback"):
        _, results = past_results(uid, vocs(name), tiled.client)
        assert [result[name] for result in results] == [told[by] for told in agent.told]


@pytest.mark.integration
def test_a_scan_of_others_is_a_prior_of_a_run(RE: RunEngine, tiled: Connection, docs: Documents) -> None:
    gap, det = close_positioner("gap"), SynAxis(name="dip")
    (uid,) = RE(list_scan([det], gap, SENT)).run_start_uids
    docs.all.clear()

    class Learner(SobolAgent):
        def ingest_prior(self, results: Any, label: str = "prior") -> None:
            learned.extend(results)

    for name in ("gap", "gap_readback"):
        learned: list[Any] = []
        RE(optimize([det], [gap], Learner(vocs(name)), max_points=1, prior=[uid], finish="stay"))
        assert [result[name] for result in learned] == SENT


def test_positions_are_read_by_either_way(RE: RunEngine, gap: Any) -> None:
    device, _ = gap

    def plan() -> Any:
        yield from bps.mv(device, 1.25)
        return (yield from read_positions({"gap": device}))

    assert RE(plan()).plan_result == {"gap": 1.25}
