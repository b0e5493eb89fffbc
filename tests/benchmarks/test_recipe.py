"""botorch's recipe satisfies constraints of any kind and copes with results without values."""

import math
from typing import Any

import pytest

from benchmarks import recipe
from benchmarks.recipe import BotorchRecipe
from ebl_autonomy.space import VOCS

pytestmark = pytest.mark.integration  # they run alignments and botorch

RISING = {"f": "MAXIMIZE"}
FALLING = {"f": "MINIMIZE"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "RESTARTS", 2)
    monkeypatch.setattr(recipe, "RAW_SAMPLES", 16)


def measured(x: float) -> dict[str, float]:
    """The objective rises with x, and so does what is limited."""
    return {"x": x, "f": x, "g": 10.0 * x}


def informed(objectives: dict[str, str], limit: list[Any]) -> BotorchRecipe:
    generator = BotorchRecipe(VOCS(variables={"x": [0.0, 1.0]}, objectives=objectives, constraints={"g": limit}), 0)
    generator.ingest([measured(x) for x in (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95)])
    return generator


@pytest.mark.parametrize(
    ("objectives", "limit", "best"),
    [
        (RISING, ["BOUNDS", 4.0, 7.0], 0.7),
        (FALLING, ["BOUNDS", 4.0, 7.0], 0.4),
        (RISING, ["LESS_THAN", 7.0], 0.7),
        (FALLING, ["GREATER_THAN", 4.0], 0.4),
    ],
)
def test_the_best_point_is_at_the_end_of_the_limit(objectives: dict[str, str], limit: list[Any], best: float) -> None:
    (point,) = informed(objectives, limit).suggest(1)
    assert point["x"] == pytest.approx(best, abs=0.06)


@pytest.mark.parametrize(
    ("objectives", "limit", "best"),
    [(RISING, ["LESS_THAN", 7.0], 0.65), (FALLING, ["GREATER_THAN", 4.0], 0.5), (RISING, ["LESS_THAN", 0.1], None)],
)
def test_the_allowed_measured_point_with_the_best_mean_is_recommended(
    objectives: dict[str, str], limit: list[Any], best: float | None
) -> None:
    recommended = informed(objectives, limit).recommended()
    assert (recommended and recommended["x"]) == best


def test_an_outlier_is_not_recommended() -> None:
    generator = BotorchRecipe(VOCS(variables={"x": [0.0, 1.0]}, objectives=RISING), 0)
    readings = [(i / 39, 1.0 - (i / 39 - 0.7) ** 2 + 0.01 * (-1) ** i) for i in range(40)]
    readings[4] = (readings[4][0], 1.05)
    generator.ingest([{"x": x, "f": f} for x, f in readings])
    recommended = generator.recommended()
    assert recommended is not None
    assert recommended["x"] == pytest.approx(0.7, abs=0.15)


def test_points_under_way_are_not_proposed_again() -> None:
    generator = informed(RISING, ["LESS_THAN", 7.0])
    (first,) = generator.suggest(1)
    (second,) = generator.suggest(1)
    assert generator.pending == [first, second]
    assert first != second
    generator.ingest([measured(second["x"])])
    assert generator.pending == [first]


def test_a_batch_has_as_many_points_as_asked_while_the_start_lasts() -> None:
    generator = BotorchRecipe(VOCS(variables={"x": [0.0, 1.0], "y": [0.0, 1.0]}, objectives=RISING), 0)
    points = [*generator.suggest(3), *generator.suggest(3)]
    assert len({(point["x"], point["y"]) for point in points}) == 6


def test_rows_without_values_are_left_out() -> None:
    generator = informed(RISING, ["BOUNDS", 4.0, 7.0])
    generator.ingest([{"x": 0.9, "f": math.nan, "g": math.nan}, {"x": 0.1, "f": math.nan, "g": 1.0}])
    (point,) = generator.suggest(1)
    assert point["x"] == pytest.approx(0.7, abs=0.06)


def test_without_enough_values_the_points_stay_quasi_random(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = BotorchRecipe(
        VOCS(variables={"x": [0.0, 1.0]}, objectives=RISING, constraints={"g": ["BOUNDS", 4, 7]}), 0
    )
    monkeypatch.setattr(generator, "_chosen", lambda *_: pytest.fail("there is nothing to model yet"))
    seen = []
    for i in range(6):
        (point,) = generator.suggest(1)
        generator.ingest([{**measured(point["x"]), **({"g": math.nan} if i else {})}])
        seen.append(point["x"])
    assert len(set(seen)) == 6


def test_two_objectives_may_have_limits_too() -> None:
    vocs = VOCS(
        variables={"x": [0.0, 1.0]}, objectives={"f": "MAXIMIZE", "h": "MAXIMIZE"}, constraints={"g": ["BOUNDS", 4, 7]}
    )
    generator = BotorchRecipe(vocs, 0, {"f": 0.0, "h": -1.0})
    generator.ingest([{**measured(x), "h": -(x**2)} for x in (0.05, 0.35, 0.5, 0.65, 0.95)])
    generator.ingest([{**measured(0.2), "f": math.nan, "h": math.nan}])
    (point,) = generator.suggest()
    assert 0.35 < point["x"] < 0.75
