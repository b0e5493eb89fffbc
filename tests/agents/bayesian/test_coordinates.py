"""Search along combinations of motors."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ebl_autonomy.agents import BayesianAgent
from ebl_autonomy.agents.bayesian.coordinates import Coordinates
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.space import Space, make_vocs

JACKS: dict[str, Any] = {
    "variables": {"up": [-2.0, 2.0], "down": [0.0, 4.0], "slit": [0.1, 1.0]},
    "objectives": {"f": "MINIMIZE"},
}
TABLE = {"height": {"up": 0.5, "down": 0.5}, "pitch": {"up": 1.0, "down": -1.0}}
units = arrays(float, (5, 3), elements=st.floats(0.0, 1.0))


def table() -> Coordinates:
    return Coordinates(Space(make_vocs(JACKS)), TABLE)


@settings(deadline=None)
@given(unit=units)
def test_there_and_back(unit: np.ndarray) -> None:
    coordinates = table()
    searched = coordinates.search(unit)
    assert (searched >= -1e-12).all()
    assert (searched <= 1.0 + 1e-12).all()
    assert coordinates.unit(searched, searched[0]) == pytest.approx(unit, abs=1e-9)


@settings(deadline=None)
@given(
    points=arrays(float, (5, 3), elements=st.floats(-1.0, 2.0)), centre=arrays(float, 3, elements=st.floats(0.0, 1.0))
)
def test_what_lies_outside_is_drawn_straight_towards_the_centre(points: np.ndarray, centre: np.ndarray) -> None:
    coordinates = table()
    inside = coordinates.search(centre[None])[0]
    reached = coordinates.unit(points, inside)
    assert (reached >= 0.0).all()
    assert (reached <= 1.0).all()
    way, wanted = coordinates.search(reached) - inside, points - inside
    along = np.sum(way * wanted, axis=1) / np.maximum(np.sum(wanted**2, axis=1), 1e-300)
    assert way == pytest.approx(along[:, None] * wanted, abs=1e-7)
    assert (along <= 1.0 + 1e-9).all()


def test_motors_that_no_coordinate_names_are_coordinates_of_their_own() -> None:
    assert table().names == ["height", "pitch", "slit"]
    plain = Coordinates(Space(make_vocs(JACKS)), {})
    assert plain.names == ["up", "down", "slit"]
    assert plain.search(np.eye(3)) == pytest.approx(np.eye(3))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"height": {"up": 0.5, "down": 0.5}}, "do not determine the motor positions"),
        ({"a": {"up": 1.0, "down": 1.0}, "b": {"up": 2.0, "down": 2.0}}, "do not determine"),
        ({"height": {"up": 0.5, "dwon": 0.5}}, "dwon"),
        ({"height": {"up": 0.5, "down": 0.5}, "pitch": {"up": 0.0, "down": 0.0}}, r"\['pitch'\] have no weight"),
    ],
)
def test_coordinates_that_make_no_sense(given: dict[str, dict[str, float]], says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        BayesianAgent(JACKS, coordinates=given)


@pytest.mark.parametrize("spans", [(1e-9, 1e9), (1e-12, 1e12), (1e9, 1e-9)])
def test_ranges_may_differ_by_any_factor(spans: tuple[float, float]) -> None:
    up, down = spans
    vocs: dict[str, Any] = {"variables": {"up": [0.0, up], "down": [-down, 0.0]}, "objectives": {"f": "MINIMIZE"}}
    assert len(BayesianAgent(vocs).suggest(1)) == 1
    weights = {"height": {"up": 0.5 / up, "down": 0.5 / down}, "pitch": {"up": 1.0 / up, "down": -1.0 / down}}
    coordinates = Coordinates(Space(make_vocs(vocs)), weights)
    unit = np.random.default_rng(0).random((4, 2))
    assert coordinates.motors(coordinates.search(unit)) == pytest.approx(unit)


@pytest.mark.integration
def test_a_valley_askew_to_the_motors_lies_along_a_coordinate() -> None:
    """Pitch matters and height hardly does: with these coordinates, the search finds the minimum sooner."""

    def measure(p: dict[str, Any]) -> dict[str, Any]:
        height, pitch = 0.5 * (p["up"] + p["down"]), p["up"] - p["down"]
        return {**p, "f": 0.1 * (height - 1.3) ** 2 + 20.0 * (pitch + 1.2) ** 2 + (p["slit"] - 0.4) ** 2}

    def reached(options: dict[str, Any]) -> float:
        left = []
        for seed in range(5):
            agent = BayesianAgent(JACKS, seed=seed, **options)
            for _ in range(20):
                agent.ingest([measure(agent.suggest(1)[0])])
            left.append(agent.best().outcome["f"])
        return float(np.median(left))

    assert reached({"coordinates": TABLE}) < 0.5 * reached({})
    assert BayesianAgent(JACKS, coordinates=TABLE).config()["options"]["coordinates"] == TABLE
