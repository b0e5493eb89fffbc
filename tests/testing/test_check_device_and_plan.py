"""The contracts of devices and plans hold for those of this package and of others, and fail for broken ones."""

from typing import Any

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.plans import list_scan
from ophyd.sim import SynAxis, SynGauss

from ebl_autonomy import VOCS
from ebl_autonomy.agents import SobolAgent
from ebl_autonomy.plans import explore, make_gate, move_motors, optimize
from ebl_autonomy.sim_devices import SimBeamline
from ebl_autonomy.testing import check_device, check_plan


@pytest.mark.parametrize("name", ["kbv.pitch", "kbh.bend_up", "camera_z"])
def test_simulated_motors_keep_the_contract(RE: RunEngine, name: str) -> None:
    device: Any = SimBeamline(seed=1)
    for part in name.split("."):
        device = getattr(device, part)
    check_device(device, RE, positions=[5.0, -3.25, 5.0], tolerance=0.01)


@pytest.mark.parametrize("name", ["camera", "ring", "i0", "shutter", "clock"])
def test_simulated_detectors_keep_the_contract(RE: RunEngine, name: str) -> None:
    check_device(getattr(SimBeamline(seed=1), name), RE)


def test_the_camera_with_its_image_keeps_the_contract(RE: RunEngine) -> None:
    camera = SimBeamline(seed=1).camera
    camera.record_image = True
    check_device(camera, RE)
    check_device(camera.frame, RE)


def test_devices_of_ophyd_keep_the_contract(RE: RunEngine) -> None:
    motor = SynAxis(name="m")
    check_device(motor, RE, positions=[1.0, -1.0])
    check_device(SynGauss("det", motor, "m", center=0, Imax=1), RE)


def test_devices_of_ophyd_async_keep_the_contract(RE: RunEngine) -> None:
    from bluesky.run_engine import call_in_bluesky_event_loop
    from ophyd_async.sim import SimMotor

    motor = SimMotor("m", instant=True)
    call_in_bluesky_event_loop(motor.connect())
    check_device(motor, RE, positions=[1.0, -1.0])


def test_a_device_that_lies_is_found_out(RE: RunEngine) -> None:
    class Liar(SynAxis):
        def describe(self) -> Any:
            return {**super().describe(), "ghost": {"source": "", "dtype": "number", "shape": []}}

    with pytest.raises(AssertionError, match="ghost"):
        check_device(Liar(name="m"), RE)


def test_a_motor_that_does_not_arrive_is_found_out(RE: RunEngine) -> None:
    class Lazy(SynAxis):
        def set(self, value: float, **kwargs: Any) -> Any:
            return super().set(0.5 * value)

    with pytest.raises(AssertionError, match="stands at"):
        check_device(Lazy(name="m"), RE, positions=[1.0])


def test_optimize_keeps_the_contract(RE: RunEngine) -> None:
    motor = SynAxis(name="m")
    det = SynGauss("det", motor, "m", center=0, Imax=1)
    vocs = VOCS(variables={"m": [-1, 1]}, objectives={"det": "MAXIMIZE"})
    check_plan(
        lambda: optimize([det], [motor], SobolAgent(vocs), max_points=5, envelope={"limits": {"m": [-1, 1]}}),
        RE,
        function=optimize,
        gated=True,
    )


def test_explore_keeps_the_contract(RE: RunEngine) -> None:
    motor = SynAxis(name="m")
    det = SynGauss("det", motor, "m", center=0, Imax=1)
    vocs = VOCS(variables={"m": [-1, 1]}, observables=["det"])
    check_plan(
        lambda: explore([det], [motor], SobolAgent(vocs), max_points=5, envelope={"limits": {"m": [-1, 1]}}),
        RE,
        function=explore,
        gated=True,
    )


def own_plan(motor: SynAxis, move: Any) -> Any:
    """A user's plan, built from stubs of this package and of bluesky."""
    gate = yield from make_gate([motor], {"limits": {"m": (-2.0, 2.0)}})
    yield from bps.open_run()
    for x in (0.5, 1.0, 1.5):
        yield from bps.checkpoint()
        yield from move(gate, x)
        yield from bps.trigger_and_read([motor])
    yield from bps.close_run()


def test_a_plan_of_ones_own_from_our_stubs_keeps_the_contract(RE: RunEngine) -> None:
    motor = SynAxis(name="m")

    def through(gate: Any, x: float) -> Any:
        yield from move_motors({"m": motor}, {"m": x}, 1.0, gate)

    check_plan(lambda: own_plan(motor, through), RE, gated=True)


def test_a_plan_that_goes_around_the_gate_is_found_out(RE: RunEngine) -> None:
    motor = SynAxis(name="m")

    def around(gate: Any, x: float) -> Any:
        yield from (bps.mv(motor, x) if x == 1.0 else move_motors({"m": motor}, {"m": x}, 1.0, gate))

    with pytest.raises(AssertionError, match=r"set m to 1\.0, the gate let it go to 0\.5"):
        check_plan(lambda: own_plan(motor, around), RE)

    def always_around(gate: Any, x: float) -> Any:
        yield from bps.mv(motor, x)

    with pytest.raises(AssertionError, match=r"set m to 0\.5 without a gate: use move_motors"):
        check_plan(lambda: own_plan(motor, always_around), RE, gated=True)


def test_bluesky_plans_keep_the_contract(RE: RunEngine) -> None:
    motor = SynAxis(name="m")
    det = SynGauss("det", motor, "m", center=0, Imax=1)
    check_plan(lambda: list_scan([det], motor, [0.0, 0.5, 1.0, 1.5]), RE)


def test_a_plan_that_leaves_its_run_open_or_cannot_pause_is_found_out(RE: RunEngine) -> None:
    motor = SynAxis(name="m")

    def unpausable() -> Any:
        yield from bps.open_run()
        for x in (0.0, 1.0, 2.0):
            yield from bps.mv(motor, x)
            yield from bps.create()
            yield from bps.read(motor)
            yield from bps.save()
        yield from bps.close_run()

    with pytest.raises(AssertionError, match="no checkpoint"):
        check_plan(unpausable, RE)

    def two_runs() -> Any:
        yield from unpausable()
        yield from unpausable()

    with pytest.raises(AssertionError, match="opened 2 runs"):
        check_plan(two_runs, RE)


def test_a_signature_that_no_queue_takes_is_found_out(RE: RunEngine) -> None:
    def plan(*motors):  # type: ignore[no-untyped-def]
        yield from ()

    with pytest.raises(AssertionError, match="takes"):
        check_plan(lambda: list_scan([], SynAxis(name="m"), [0.0]), RE, function=plan)
