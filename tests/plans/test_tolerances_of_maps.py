"""How far a motor of a map may stand from the middle of a pixel, and what a user is told of a motor that is coarser."""

import logging
import re
from typing import Any

import pytest
from bluesky import RunEngine
from ophyd import Signal
from ophyd.sim import SynAxis
from simple import Bowl, Documents

from ebl_autonomy.errors import BadInputError, MeasurementError
from ebl_autonomy.plans import adaptive_map, explore, roi_survey

LIMITS = {"mx": (0.0, 1.0), "my": (0.0, 1.0)}
ENVELOPE = {"limits": dict.fromkeys(LIMITS, (-0.5, 1.5))}


def agent(step: Any) -> dict[str, Any]:
    vocs = {"variables": {name: list(ends) for name, ends in LIMITS.items()}, "observables": ["bowl"]}
    return {"agent": "mapping", "vocs": vocs, "options": {"step": step}}


class OffAxis(SynAxis):
    """A motor that stops at the nearest of its steps, and reads beside it."""

    def __init__(self, name: str, steps: float = 0.0, off: float = 0.0, **told: float) -> None:
        def reads(sent: float) -> float:
            return (round(sent / steps) * steps if steps else sent) + off

        super().__init__(name=name, readback_func=reads)
        for key, value in told.items():
            setattr(self, key, Signal(name=f"{name}_{key}", value=value))


def mapped(RE: RunEngine, x: Any, y: Any, step: Any, max_points: int = 6, **more: Any) -> Any:
    plan = adaptive_map(
        [Bowl(x, y)], x, y, agent(step), max_points=max_points, envelope=ENVELOPE, finish="stay", **more
    )
    return RE(plan).plan_result


def tolerances(docs: Documents) -> Any:
    return docs.start["ebl_autonomy"]["position_tolerance"]


@pytest.mark.integration
def test_ten_pixels_beside_the_target_is_not_there(RE: RunEngine, docs: Documents) -> None:
    with pytest.raises(MeasurementError, match=r"mx was sent to .* further off than its tolerance 0\.0005"):
        mapped(RE, OffAxis("mx", off=0.0095), OffAxis("my"), 0.001, max_failures=1, retries=0)
    assert docs.events["primary"] == []


@pytest.mark.parametrize("plan", [adaptive_map, explore])
def test_a_motor_may_stand_half_a_pixel_beside_the_middle(RE: RunEngine, docs: Documents, plan: Any) -> None:
    x, y = OffAxis("mx", steps=0.14), OffAxis("my", off=0.099)
    motors = (x, y) if plan is adaptive_map else ([x, y],)
    result = RE(plan([Bowl(x, y)], *motors, agent([0.15, 0.2]), max_points=6, envelope=ENVELOPE)).plan_result
    assert (result.accepted, result.abandoned) == (6, 0)
    assert tolerances(docs) == pytest.approx({"mx": 1.0 / 14.0, "my": 0.1})


def test_what_a_user_or_a_motor_says_of_its_tolerance_holds(
    RE: RunEngine, docs: Documents, caplog: pytest.LogCaptureFixture
) -> None:
    x, y = OffAxis("mx", retry_deadband=0.01), OffAxis("my", retry_deadband=0.01)
    with caplog.at_level(logging.WARNING):
        mapped(RE, x, y, 0.1, position_tolerance={"my": 0.2})
    assert tolerances(docs) == {"mx": 0.01, "my": 0.2}
    assert "readings count for the pixel" not in caplog.text


@pytest.mark.parametrize(
    ("told", "says", "tolerance"),
    [
        ({"resolution": 0.1}, "mx moves in steps of 0.1, and the pixels of the map are 0.05", 0.1),
        ({"mres": -0.1}, "mx moves in steps of 0.1", 0.1),
        ({"retry_deadband": 0.06}, "mx has arrived within 0.06 of its target", 0.06),
        ({"resolution": 0.001}, "", 0.025),
        ({"resolution": 0.0}, "", 0.025),
    ],
)
def test_a_motor_that_is_coarser_than_the_pixels_is_named(
    RE: RunEngine,
    docs: Documents,
    caplog: pytest.LogCaptureFixture,
    told: dict[str, float],
    says: str,
    tolerance: float,
) -> None:
    x = OffAxis("mx", steps=0.1 if says else 0.0, **told)
    with caplog.at_level(logging.WARNING):
        result = mapped(RE, x, OffAxis("my"), 0.05)
    assert (result.accepted, result.abandoned) == (6, 0)
    assert tolerances(docs) == pytest.approx({"mx": tolerance, "my": 0.025})
    assert says in caplog.text
    assert ("readings count for the pixel" in caplog.text) == bool(says)


def test_the_coarse_map_of_a_survey_has_the_tolerance_of_its_pixels(RE: RunEngine, docs: Documents) -> None:
    x, y = OffAxis("mx"), OffAxis("my")
    survey = roi_survey(
        [Bowl(x, y)], x, y, channels=["bowl"], coarse_step=[0.002, 0.25], area={"mx": [0.0, 0.006], "my": [0.0, 0.5]},
        max_regions=1, envelope={**ENVELOPE, "max_points": 6},
    )  # fmt: skip
    RE(survey)
    assert tolerances(docs) == pytest.approx({"mx": 0.001, "my": 0.125})


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"step": -1.0}, "step=-1.0: give a positive length"),
        ({"step": float("nan")}, "step=nan"),
        ({"step": [0.1, 0.1]}, "the size of a pixel is the agent's option 'step'"),
        ({"dwell_s": float("inf")}, "dwell_s=inf"),
    ],
)
def test_arguments_for_lines_are_checked_without_lines_too(RE: RunEngine, more: dict[str, Any], says: str) -> None:
    x, y = OffAxis("mx"), OffAxis("my")
    with pytest.raises(BadInputError, match=re.escape(says)):
        RE(adaptive_map([Bowl(x, y)], x, y, agent(0.1), max_points=3, envelope=ENVELOPE, **more))


def test_a_step_that_is_meant_for_the_pixels_is_named(RE: RunEngine, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        x, y = OffAxis("mx"), OffAxis("my")
        RE(adaptive_map([Bowl(x, y)], x, y, agent(0.1), max_points=3, envelope=ENVELOPE, step=0.05))
    assert "the size of a pixel is the agent's option 'step'" in caplog.text
