"""The report on the cost of decisions has a row for each number of points; what was not measured is left empty."""

import argparse

import pytest

from benchmarks import deciding


@pytest.mark.integration
def test_what_was_not_measured_is_left_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deciding, "SIZES", {13: 1, 20: 0})
    monkeypatch.setattr(deciding, "WAITED_UP_TO", 15)
    monkeypatch.setattr(deciding, "STEPS", 3)
    monkeypatch.setattr(deciding, "EXPOSURE_S", 0.001)
    *_, table = deciding.lines(argparse.Namespace(sizes=[13, 20], plot=None))
    head, _, few, many = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    assert len(head) == len(few) == len(many)
    assert few[0] == "13"
    assert few[-1].endswith("ms")
    assert many[0] == "20"
    assert many[-4:] == [""] * 4
