"""A status that never ends, as of a device whose PV is lost: its device fails in time, and the plan does not hang."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from ophyd.sim import SynAxis
from ophyd.status import Status
from scripted import Scripted, at
from simple import ENVELOPE, Bowl

from ebl_autonomy.errors import MeasurementError
from ebl_autonomy.plans import optimize


class Losing(Bowl):
    """A detector that never answers to some calls."""

    def __init__(self, lost: str, *motors: Any) -> None:
        super().__init__(*motors)
        self.lost = lost

    def trigger(self) -> Any:
        return Status(self) if self.lost == "trigger" else super().trigger()

    def stage(self) -> Any:
        return Status(self) if self.lost == "stage" else [self]

    def unstage(self) -> Any:
        return Status(self) if self.lost == "unstage" else [self]


class LosingAxis(SynAxis):
    def set(self, value: float, **kwargs: Any) -> Any:
        return Status(self)


def triggering(other: Any) -> Callable[..., Any]:
    def measure(detectors: Any, point: Any) -> Any:
        reading = yield from bps.trigger_and_read(detectors, name="inner")
        return {"bowl": reading["bowl"]["value"]}

    return measure


def moving(other: Any) -> Callable[..., Any]:
    def measure(detectors: Any, point: Any) -> Any:
        yield from bps.mv(other, 1.0)
        return {"bowl": 1.0}

    return measure


@pytest.mark.parametrize(
    ("lost", "stub", "said"),
    [
        ("trigger", None, "1 times because of bowl"),
        ("trigger", triggering, "1 times because of bowl"),
        ("set", moving, "1 times because of slit"),
        ("stage", None, "devices cannot be staged.*'stage' from .'bowl'.*Connect or repair bowl"),
    ],
)
def test_a_lost_status_is_a_failure_of_its_device(
    RE: RunEngine, lost: str, stub: Callable[[Any], Any] | None, said: str
) -> None:
    motors = [SynAxis(name="mx"), SynAxis(name="my")]
    measure = None if stub is None else stub(LosingAxis(name="slit"))
    began = time.monotonic()
    with pytest.raises(MeasurementError, match=said):
        RE(
            optimize(
                [Losing(lost, *motors)], motors, Scripted([at(1.0), at(0.5)]), max_points=2, envelope=ENVELOPE,
                measure=measure, retries=0, max_failures=1, trigger_timeout_s=0.1, move_timeout_s=0.1,
            )
        )  # fmt: skip
    assert time.monotonic() - began < 30.0
    assert RE.state == "idle"


def test_a_device_that_is_never_unstaged_ends_a_measured_run_with_its_name(RE: RunEngine) -> None:
    motors = [SynAxis(name="mx"), SynAxis(name="my")]
    told = Scripted([at(1.0), at(0.5)])
    with pytest.raises(TimeoutError, match=r"'unstage' from .'bowl'"):
        RE(optimize([Losing("unstage", *motors)], motors, told, max_points=2, envelope=ENVELOPE, trigger_timeout_s=0.1))
    assert len(told.told) == 2


@pytest.mark.parametrize(
    ("stub", "said"),
    [
        (triggering, r"no answer from \['bowl'\] within 0\.1 s: raise trigger_timeout_s, or give the wait a timeout"),
        (moving, r"no answer from \['slit'\] within 0\.2 s: raise move_timeout_s, or give the wait a timeout"),
    ],
)
def test_a_late_device_in_a_stub_is_named_with_the_limit_and_the_remedy(RE: RunEngine, stub: Any, said: str) -> None:
    motors = [SynAxis(name="mx"), SynAxis(name="my")]
    with pytest.raises(MeasurementError, match=said):
        RE(
            optimize(
                [Losing("trigger", *motors)], motors, Scripted([at(1.0)]), max_points=2, envelope=ENVELOPE,
                measure=stub(LosingAxis(name="slit")), retries=0, max_failures=1, trigger_timeout_s=0.1,
                move_timeout_s=0.2,
            )
        )  # fmt: skip


def test_staging_in_time_is_told_with_its_remedy(RE: RunEngine) -> None:
    motors = [SynAxis(name="mx"), SynAxis(name="my")]
    agent = Scripted([at(1.0)])
    with pytest.raises(MeasurementError, match=r"within 0\.1 s: raise trigger_timeout_s"):
        RE(optimize([Losing("stage", *motors)], motors, agent, max_points=2, envelope=ENVELOPE, trigger_timeout_s=0.1))


def test_waits_of_a_stub_have_no_limit_by_default(RE: RunEngine) -> None:
    motors = [SynAxis(name="mx"), SynAxis(name="my")]
    waits: list[Any] = []

    def measure(detectors: Any, point: Any) -> Any:
        yield from bps.trigger(detectors[0], group="shot")
        yield from bps.wait("shot")
        yield from bps.mv(slit, 1.0)
        return {"bowl": 1.0}

    def note(msg: Any) -> None:
        if msg.command == "wait":
            groups.setdefault(msg.kwargs["group"], msg.kwargs.get("timeout"))
        if msg.command == "set" and msg.obj is slit:
            waits.append(msg.kwargs["group"])

    groups: dict[Any, Any] = {}
    slit = SynAxis(name="slit")
    RE.msg_hook = note
    RE(optimize([Bowl(*motors)], motors, Scripted([at(1.0)]), max_points=1, envelope=ENVELOPE, measure=measure))
    assert [groups["shot"], groups[waits[0]]] == [None, None]


def test_a_stub_that_sets_its_own_limit_keeps_it(RE: RunEngine) -> None:
    """And moves of a stub have no limit unless one is given."""
    motors = [SynAxis(name="mx"), SynAxis(name="my")]
    slow = SynAxis(name="slit", delay=0.3)

    def measure(detectors: Any, point: Any) -> Any:
        yield from bps.mv(slow, 1.0)
        yield from bps.trigger(detectors[0], group="shot")
        yield from bps.wait("shot", timeout=5.0)
        return {"bowl": 1.0}

    agent = Scripted([at(1.0)])
    RE(
        optimize(
            [Bowl(*motors)], motors, agent, max_points=1, envelope=ENVELOPE, measure=measure, trigger_timeout_s=0.1
        )
    )
    assert len(agent.told) == 1
