"""The seconds from row to row, of rows one by one and of lines, with interruptions among them."""

from typing import Any

import pytest

from ebl_autonomy.plans.row_times import RowTimes


def of(*documents: tuple[str, dict[str, Any]]) -> float:
    times = RowTimes()
    for name in ("primary", "decisions"):
        times("descriptor", {"uid": name, "name": name})
    for name, doc in documents:
        times(name, doc)
    return times.seconds


def event(time: float, stream: str = "primary") -> tuple[str, dict[str, Any]]:
    return "event", {"descriptor": stream, "time": time}


def page(time: float, rows: int) -> tuple[str, dict[str, Any]]:
    return "event_page", {"descriptor": "primary", "time": [time] * rows}


@pytest.mark.parametrize(
    ("documents", "seconds"),
    [
        ([], 0.0),
        ([event(7.0)], 0.0),
        ([event(7.0), event(7.1, "decisions"), event(7.5)], 0.5),
        ([event(0.0), event(0.5), event(600.5), event(601.0), event(603.0), event(603.5), event(604.0)], 0.5),
        ([page(0.0, 10), page(2.0, 10), page(902.0, 10), page(904.0, 10)], 0.2),
    ],
)
def test_the_seconds_of_a_row_are_those_without_interruptions(documents: list[Any], seconds: float) -> None:
    assert of(*documents) == pytest.approx(seconds)
