"""The VOCS from mappings and back: every key is checked, and containers of all kinds are as good as lists."""

import json
import math
from typing import Any

import numpy as np
import pytest
from gest_api.vocs import VOCS as StandardVOCS  # noqa: N811
from gest_api.vocs import ContinuousVariable, DiscreteVariable

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.space import Space
from ebl_autonomy.vocs import (
    VOCS,
    LogContinuousVariable,
    LogDiscreteVariable,
    UnorderedVariable,
    is_logarithmic,
    is_unordered,
    make_vocs,
    vocs_dict,
)

GOAL: dict[str, Any] = {"objectives": {"f": "MINIMIZE"}}
X: dict[str, Any] = {"type": "ContinuousVariable", "domain": [0, 1]}
LOG: dict[str, Any] = {"type": "ContinuousVariable", "domain": [1e-8, 1.0], "log_scale": True}


def made(**variables: Any) -> VOCS:
    return make_vocs({"variables": variables, **GOAL})


@pytest.mark.parametrize("limits", [[-1.5, 2.0], (-1.5, 2.0), np.array([-1.5, 2.0]), (np.float64(-1.5), np.int64(2))])
def test_the_limits_of_a_motor_are_as_good_as_a_list(limits: Any) -> None:
    short, long = made(x=limits), made(x={"type": "ContinuousVariable", "domain": limits})
    assert short.variables["x"].domain == [-1.5, 2.0]
    assert short == long
    json.dumps(vocs_dict(short), allow_nan=False)


@pytest.mark.parametrize("values", [{1, 2, 5}, frozenset({1, 2, 5})])
def test_sets_are_discrete(values: Any) -> None:
    assert made(n=values).variables["n"].values == {1, 2, 5}


@pytest.mark.parametrize(
    "values", [[1, 2, 3], (1, 2, 3), {1, 2, 3}, range(1, 4), np.arange(1, 4), frozenset({1, 2, 3})]
)
def test_values_come_in_any_container(values: Any) -> None:
    vocs = made(n={"type": "DiscreteVariable", "values": values})
    assert vocs.variables["n"].values == {1, 2, 3}
    assert Space(vocs).choices["n"].tolist() == [1.0, 2.0, 3.0]
    json.dumps(vocs_dict(vocs), allow_nan=False)


def test_constraints_and_observables_come_in_any_container() -> None:
    vocs = make_vocs(
        {
            "variables": {"x": [0, 1]},
            "constraints": {
                "a": ("LESS_THAN", 1.0),
                "b": ("BOUNDS", 0, 1),
                "c": {"type": "BoundsConstraint", "range": (0, 1)},
            },
            "observables": ("o", "p"),
        }
    )
    assert [vocs.constraints[name].range for name in ("b", "c")] == [[0.0, 1.0]] * 2
    assert vocs.observable_names == ["o", "p"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"variables": {"x": {**X, "domian": [0, 1]}}}, r"vocs\.variables\.x\.domian: unknown, did you mean 'domain'"),
        ({"variables": {"x": {**X, "scale": "log"}}}, r"x\.scale: unknown, did you mean 'log_scale'"),
        (
            {"variables": {"n": {"type": "DiscreteVariable", "values": [1, 2], "size": 2}}},
            r"n\.size: unknown.*'values'",
        ),
        ({"variables": {"c": {"type": "ContextualVariable", "log_scale": True}}}, r"c\.log_scale: unknown"),
        ({"variables": {"x": {"domain": [0, 1]}}}, r"x\.type=None.*ContinuousVariable"),
        ({"variables": {"x": {"type": "Continous", "domain": [0, 1]}}}, r"'Continous'.*ContinuousVariable"),
        ({"variables": {"x": {"type": "MaximizeObjective"}}}, "MaximizeObjective"),
        ({"variables": {"x": {"type": ["ContinuousVariable"]}}}, "the type"),
        ({"variables": {"x": {"type": "ContinuousVariable"}}}, r"variables\.x\.domain: missing"),
        ({"objectives": {"f": {"type": "MinimizeObjective", "weight": 2}}}, r"objectives\.f=.*'weight' is unknown"),
        ({"objectives": {"f": {"type": "Minimize"}}}, r"objectives\.f=.*'Minimize' is unknown.*MinimizeObjective"),
        (
            {"constraints": {"g": {"type": "LessThanConstraint", "value": 1, "tol": 2}}},
            r"constraints\.g=.*'tol' is unknown",
        ),
        ({"constraints": {"g": {"type": "ContinuousVariable", "domain": [0, 1]}}}, "'ContinuousVariable' is unknown"),
        ({"constraints": {"g": ["LESS_THAN", 1.0, 2.0]}}, r"give \['LESS_THAN', value\]"),
        ({"constraints": {"g": ["BOUNDS", 1.0]}}, r"\['BOUNDS', low, high\]"),
        ({"constants": {"k": {"type": "Constant", "value": 1, "unit": "mm"}}}, r"constants\.k=.*'unit' is unknown"),
        ({"observables": {"o": {"type": "Observable", "unit": "mm"}}}, r"observables\.o=.*'unit' is unknown"),
        ({"objective": {"f": "MINIMIZE"}}, r"vocs\.objective: unknown, did you mean 'objectives'"),
    ],
)
def test_an_unknown_key_is_refused_by_name(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        make_vocs({"variables": {"x": [0, 1]}, **GOAL, **fields})


def test_a_logarithmic_scale_survives_json_under_the_standards_own_type() -> None:
    vocs = made(x={**LOG, "default_value": 1e-3}, n={"type": "DiscreteVariable", "values": [1, 10], "log_scale": True})
    dump = json.loads(json.dumps(vocs_dict(vocs), allow_nan=False))
    assert dump["variables"]["x"] == {**LOG, "default_value": 1e-3, "dtype": None}
    assert dump["variables"]["n"]["type"] == "DiscreteVariable"
    again = make_vocs(dump)
    assert again == vocs
    assert [is_logarithmic(variable) for variable in again.variables.values()] == [True, True]
    assert make_vocs(vocs) == vocs
    assert make_vocs(json.loads(vocs.model_dump_json())) == vocs
    assert StandardVOCS(**dump).variables["x"].domain == [1e-8, 1.0], "a reader that knows gest-api only"


def test_limits_of_motors_and_misspelt_keys_in_the_constructor() -> None:
    vocs = VOCS(variables={"x": (0.0, 1.0), "y": np.array([2.0, 3.0])}, objectives={"f": "MINIMIZE"})
    assert [variable.domain for variable in vocs.variables.values()] == [[0.0, 1.0], [2.0, 3.0]]
    assert isinstance(vocs, StandardVOCS)
    assert make_vocs(StandardVOCS(variables={"x": [0.0, 1.0], "y": [2.0, 3.0]}, objectives={"f": "MINIMIZE"})) == vocs
    with pytest.raises(BadInputError, match=r"vocs\.variables\.x\.log_scal: unknown, did you mean 'log_scale'"):
        VOCS(variables={"x": {"type": "ContinuousVariable", "domain": [1e-3, 1], "log_scal": True}})


def test_log_scale_false_is_a_linear_scale() -> None:
    vocs = made(x={**LOG, "log_scale": False})
    assert type(vocs.variables["x"]) is ContinuousVariable
    assert "log_scale" not in vocs_dict(vocs)["variables"]["x"]


def test_variables_may_be_objects() -> None:
    vocs = VOCS(
        variables={"x": LogContinuousVariable(domain=[1e-3, 1.0]), "n": LogDiscreteVariable(values={1, 100})}, **GOAL
    )
    assert Space(make_vocs(vocs)).logarithmic.tolist() == [True, True]
    assert make_vocs({"variables": dict(vocs.variables), **GOAL}) == vocs


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ({**LOG, "domain": [0.0, 1.0]}, r"above 0, not \[0.0\]"),
        ({**LOG, "domain": [-1.0, 1.0]}, r"above 0, not \[-1.0\]"),
        ({"type": "DiscreteVariable", "values": [0, 1, 10], "log_scale": True}, "above 0"),
        ({"type": "DiscreteVariable", "values": ["a", 1], "log_scale": True}, "above 0"),
        ({**LOG, "log_scale": "yes"}, "log_scale='yes': give true or false"),
        ({**LOG, "log_scale": 1}, "log_scale=1: give true or false"),
    ],
)
def test_what_has_no_logarithm_is_refused(variable: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        made(x=variable)


def test_a_logarithmic_domain_must_be_finite() -> None:
    with pytest.raises(BadInputError, match="must be finite"):
        Space(made(x={**LOG, "domain": [1.0, math.inf]}))


def test_a_continuous_variable_of_integers_is_discrete() -> None:
    vocs = made(n={"type": "ContinuousVariable", "domain": [-1.5, 2.5], "dtype": "int", "default_value": 1})
    assert isinstance(vocs.variables["n"], DiscreteVariable)
    assert sorted(vocs.variables["n"].values) == [-1, 0, 1, 2]
    assert vocs.variables["n"].default_value == 1.0
    assert make_vocs(vocs_dict(vocs)) == vocs
    given = StandardVOCS(variables={"n": ContinuousVariable(domain=[0, 3], dtype=int), "x": [0, 1]}, **GOAL)
    assert sorted(make_vocs(given).variables["n"].values) == [0, 1, 2, 3]
    assert isinstance(given.variables["n"], ContinuousVariable), "the caller's is unchanged"


@pytest.mark.parametrize("dtype", [None, "float", float, "str"])
def test_any_other_type_leaves_a_variable_continuous(dtype: Any) -> None:
    assert isinstance(
        made(x={"type": "ContinuousVariable", "domain": [0, 3], "dtype": dtype}).variables["x"], ContinuousVariable
    )


@pytest.mark.parametrize(("domain", "says"), [([0, 1e9], "more than 10000"), ([0.2, 0.8], "no integer")])
def test_integers_must_be_some_and_not_too_many(domain: list[float], says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        made(n={"type": "ContinuousVariable", "domain": domain, "dtype": "int"})


def wheel(**keys: Any) -> dict[str, Any]:
    return {"type": "DiscreteVariable", "values": [3, 1, 40], **keys}


@pytest.mark.parametrize(
    "variable", [wheel(ordered=False), wheel(ordered=np.False_), UnorderedVariable(values={1, 3, 40})]
)
def test_a_variable_without_order_comes_back_from_json(variable: Any) -> None:
    vocs = made(x=X, w=variable)
    assert is_unordered(vocs.variables["w"])
    assert not is_unordered(vocs.variables["x"])
    stored = json.loads(json.dumps(vocs_dict(vocs), allow_nan=False))
    assert stored["variables"]["w"]["type"] == "DiscreteVariable", "the standard's own type"
    assert stored["variables"]["w"]["ordered"] is False
    assert make_vocs(stored) == vocs
    assert Space(vocs).unordered == {"w": 0.5}


@pytest.mark.parametrize("variable", [wheel(), wheel(ordered=True), {1, 3, 40}, DiscreteVariable(values={1, 3, 40})])
def test_values_have_an_order_unless_the_vocs_denies_it(variable: Any) -> None:
    vocs = made(w=variable)
    assert not is_unordered(vocs.variables["w"])
    assert "ordered" not in vocs_dict(vocs)["variables"]["w"], "stored runs and other readers see what they know"
    assert Space(vocs).unordered == {}


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        (wheel(ordered="no"), "vocs.variables.w.ordered='no': give true or false"),
        (wheel(ordered=None), "vocs.variables.w.ordered=None: give true or false"),
        (wheel(orderd=False), "vocs.variables.w.orderd: .*ordered"),
        (wheel(ordered=False, log_scale=True), "vocs.variables.w: log_scale=true needs an order"),
        ({**X, "ordered": False}, "vocs.variables.w.ordered: "),
    ],
)
def test_a_mistaken_order_is_refused_by_its_path(variable: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        made(w=variable)


def test_names_as_values_are_refused_with_the_remedy() -> None:
    with pytest.raises(
        BadInputError, match=r"'w' has a value that is not a number .* give the numbers that the motor takes"
    ):
        Space(made(w={"type": "DiscreteVariable", "values": ["Si", "Ge"], "ordered": False}))


@pytest.mark.parametrize("bounds", [(0, 100), (1, 3), (2, 100)])
def test_a_part_of_a_space_knows_the_distance_of_the_values_that_are_left(bounds: tuple[float, float]) -> None:
    part = Space(made(w=wheel(ordered=False))).within({"w": bounds})
    ladder = part.ladder("w")
    assert part.unordered["w"] == pytest.approx(np.diff(ladder).min())


@pytest.mark.parametrize("size", [2, 3, 5, 9])
def test_even_points_have_as_many_at_each_value(size: int) -> None:
    space = Space(made(x=X, w={"type": "DiscreteVariable", "values": range(size), "ordered": False}))
    unit = np.column_stack([np.linspace(0, 1, 20 * size), (np.arange(20 * size) + 0.5) / (20 * size)])
    points = space.points(space.evenly(unit))
    assert [sum(point["w"] == value for point in points) for value in range(size)] == [20] * size
    assert [point["x"] for point in points] == pytest.approx(unit[:, 0].tolist())
