"""Slices of a model: along one variable, over two, discrete ones, and before there is a model."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from ebl_autonomy.agents import BayesianAgent
from ebl_autonomy.analysis import slice_through
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.space import FloatArray, Space, make_vocs

SPACE = Space(make_vocs({"variables": {"x": [0.0, 10.0], "y": [-1.0, 1.0], "wheel": {5, 1, 2}}, "objectives": {}}))


def plane(points: Sequence[Mapping[str, Any]]) -> dict[str, tuple[FloatArray, FloatArray]]:
    """A model whose mean is x + 100 y + 1000 wheel, and whose std is x."""
    x, y, wheel = (np.array([point[name] for point in points]) for name in ("x", "y", "wheel"))
    return {"f": (x + 100.0 * y + 1000.0 * wheel, x)}


def test_a_slice_along_one_variable_holds_the_others_at_the_point() -> None:
    point = {"x": 3.0, "y": 0.5, "wheel": 2.0}
    along = slice_through(plane, SPACE, point, ["x"], samples=5)
    assert along is not None
    assert along.point == point
    np.testing.assert_allclose(along.values[0], [0.0, 2.5, 5.0, 7.5, 10.0])
    np.testing.assert_allclose(along.mean["f"], along.values[0] + 2050.0)
    np.testing.assert_allclose(along.std["f"], along.values[0])


def test_a_slice_over_two_variables_has_the_first_along_rows_and_discrete_values_as_they_are() -> None:
    over = slice_through(plane, SPACE, {"x": 3.0, "y": 0.5, "wheel": 2.0}, ["wheel", "y"], samples=3)
    assert over is not None
    wheel, y = over.values
    np.testing.assert_allclose(wheel, [1.0, 2.0, 5.0])
    np.testing.assert_allclose(over.mean["f"], 3.0 + 100.0 * y[None, :] + 1000.0 * wheel[:, None])


def test_there_is_no_slice_before_there_is_a_model_and_one_of_an_agent_afterwards() -> None:
    agent = BayesianAgent({"variables": {"x": [0.0, 10.0]}, "objectives": {"f": "MINIMIZE"}})
    assert slice_through(agent.predict, agent.space, {"x": 3.0}, ["x"]) is None
    agent.ingest([{"x": x, "f": (x - 4.0) ** 2} for x in (0.0, 2.0, 3.0, 6.0, 9.0)])
    along = slice_through(agent.predict, agent.space, {"x": 3.0}, ["x"])
    assert along is not None
    assert abs(along.values[0][np.argmin(along.mean["f"])] - 4.0) < 1.0


@pytest.mark.parametrize("names", [[], ["x", "x"], ["z"], ["x", "y", "wheel"]], ids=str)
def test_names_that_are_not_one_or_two_variables_are_refused(names: list[str]) -> None:
    with pytest.raises(BadInputError, match="name one or two of the variables"):
        slice_through(plane, SPACE, {"x": 3.0, "y": 0.5, "wheel": 2.0}, names)


def test_a_point_that_lacks_a_variable_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"lacks \['wheel'\]"):
        slice_through(plane, SPACE, {"x": 3.0, "y": 0.5}, ["x"])
