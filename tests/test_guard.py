"""The gate refuses every invalid answer of an agent, and admits a valid one exactly as proposed."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebl_autonomy import VOCS
from ebl_autonomy.errors import BadInputError, BudgetSpentError, RefusedError
from ebl_autonomy.guard import Envelope, Gate, Move, Region

V = VOCS(variables={"a": [-1.0, 1.0], "b": [0.0, 10.0], "c": {1.0, 2.0, 4.0}}, objectives={"f": "MINIMIZE"})
ENVELOPE = Envelope(
    limits={"b": (0.0, 9.0)},
    forbidden=[Region(box={"a": (0.4, 0.6), "b": (4.0, 6.0)}, reason="beam stop")],
    max_step={"a": 0.75},
)
OWN = {"a": (-0.9, 5.0), "b": (-20.0, 20.0), "c": (0.0, 5.0)}
HERE = {"a": 0.0, "b": 5.0, "c": 1.0}

anything = st.one_of(
    st.floats(),
    st.floats(-2, 12),
    st.integers(),
    st.booleans(),
    st.text(),
    st.none(),
    st.complex_numbers(),
    st.lists(st.floats()),
    st.sampled_from([1.0, 2.0, 4.0, 0.5, 5.0, np.float32(0.25), np.int64(2), np.nan, "0.5", b"1"]),
)
near = st.fixed_dictionaries(
    {"a": st.floats(-1.5, 1.5), "b": st.floats(-1, 11), "c": st.sampled_from([1.0, 2.0, 3.0, 4.0])}
)
answers = st.one_of(near, st.dictionaries(st.sampled_from(["a", "b", "c", "d", "_id"]), anything), anything)


def inside(target: dict[str, float], here: dict[str, float]) -> bool:
    """The rules of the envelope, written independently of the gate."""
    a, b, c = target["a"], target["b"], target["c"]
    return (
        all(isinstance(v, float) and math.isfinite(v) for v in target.values())
        and -0.9 <= a <= 1.0
        and 0.0 <= b <= 9.0
        and c in (1.0, 2.0, 4.0)
        and not (_overlap(a, here["a"], 0.4, 0.6) and _overlap(b, here["b"], 4.0, 6.0))
        and abs(a - here["a"]) <= 0.75
    )


def _overlap(there: float, here: float, low: float, high: float) -> bool:
    return min(there, here) <= high and max(there, here) >= low


@settings(deadline=None, max_examples=400)
@given(st.lists(answers, max_size=8))
def test_no_sequence_of_answers_leaves_the_envelope(sequence: list[Any]) -> None:
    gate, here = Gate(V, ENVELOPE, OWN), dict(HERE)
    for answer in sequence:
        try:
            target = gate.check(answer, here)
        except RefusedError as refusal:
            assert refusal.rule in {"type", "keys", "domain", "limits", "forbidden", "step"}
            assert refusal.message
            continue
        assert inside(target, here)
        assert all(target[name] == answer[name] for name in target)  # never clipped
        here = target


@settings(deadline=None, max_examples=300)
@given(near)
def test_everything_inside_the_envelope_passes(answer: dict[str, float]) -> None:
    gate = Gate(V, ENVELOPE, OWN)
    if inside(answer, HERE):
        assert gate.check(answer, HERE) == answer
    else:
        with pytest.raises(RefusedError):
            gate.check(answer, HERE)


@pytest.mark.parametrize(
    ("answer", "rule", "says"),
    [
        ({"a": 0.99, "b": 1.0, "c": 1.0}, "step", "0.75"),
        ({"a": -0.95, "b": 1.0, "c": 1.0}, "limits", "-0.95"),
        ({"a": 0.1, "b": 9.5, "c": 1.0}, "limits", "9.5"),
        ({"a": 0.5, "b": 5.0, "c": 1.0}, "forbidden", "beam stop"),
        ({"a": 0.1, "b": 1.0, "c": 3.0}, "domain", "3.0"),
        ({"a": 0.1, "b": 11.0, "c": 1.0}, "domain", "11.0"),
        ({"a": math.nan, "b": 1.0, "c": 1.0}, "type", "finite"),
        ({"a": True, "b": 1.0, "c": 1.0}, "type", "True"),
        ({"a": "0.5", "b": 1.0, "c": 1.0}, "type", "0.5"),
        ({"a": 0.5, "b": 1.0}, "keys", "'c'"),
        ({"a": 0.5, "b": 1.0, "c": 1.0, "z": 1.0}, "keys", "'z'"),
        ([1, 2, 3], "type", "[1, 2, 3]"),
    ],
)
def test_a_refusal_names_rule_and_value(answer: Any, rule: str, says: str) -> None:
    with pytest.raises(RefusedError, match=rule) as refusal:
        Gate(V, ENVELOPE, OWN).check(answer, HERE)
    assert refusal.value.rule == rule
    assert says in refusal.value.message


def test_a_swept_region_refuses_a_way_through_it() -> None:
    box = {"a": (0.4, 0.6), "b": (4.0, 6.0)}
    through = {"a": 0.7, "b": 8.0, "c": 1.0}
    with pytest.raises(RefusedError, match="may cross"):
        Gate(V, Envelope(forbidden=[Region(box=box)]), OWN).check(through, HERE)
    assert Gate(V, Envelope(forbidden=[Region(box=box, sweep=False)]), OWN).check(through, HERE) == through


def test_budgets_end_the_run() -> None:
    gate = Gate(V, Envelope(max_points=2, max_seconds=5.0, max_dose=1.0, dose_key="dose"), OWN)
    gate.check_budget(0.0)
    with pytest.raises(BudgetSpentError, match=r"5\.0 s"):
        gate.check_budget(5.0)
    gate.spend({"dose": 0.4})
    gate.check_budget(0.0)
    gate.spend({"dose": 0.7})
    with pytest.raises(BudgetSpentError) as spent:
        gate.check_budget(0.0)
    assert spent.value.rule in {"points", "dose"}


@pytest.mark.parametrize("dose", [{}, {"dose": math.nan}, {"dose": -1.0}])
def test_an_unknown_dose_uses_the_budget_up(dose: dict[str, float]) -> None:
    gate = Gate(V, Envelope(max_dose=1e9, dose_key="dose"), OWN)
    gate.spend(dose)
    with pytest.raises(BudgetSpentError, match=r"dose read .* which is not a dose"):
        gate.check_budget(0.0)


@pytest.mark.parametrize(
    ("envelope", "own", "says"),
    [
        ({}, {**OWN, "z": None}, "motor 'z' has no limits"),
        ({"limits": {"typo": [0, 1]}}, OWN, "typo"),
        ({"max_step": {"a": -1.0}}, OWN, "-1.0"),
        ({"limits": {"a": [2, 1]}}, OWN, r"\[2.0, 1.0\]"),
        ({"limits": {"a": [6, 7]}}, OWN, "do not overlap"),
        ({"speed": 3}, OWN, "speed"),
        ({"max_dose": 3.0}, OWN, "dose_key"),
    ],
)
def test_bad_envelopes_are_refused_by_name(envelope: dict[str, Any], own: Any, says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        Gate(V, Envelope.of(envelope), own)


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ({"a": (2.0, 3.0)}, r"domain \[-1.0, 1.0\], which lies outside the motor's limits \(2.0, 3.0\)"),
        ({"a": (-7.0, -1.5)}, "lies outside"),
        ({"a": (1.0, 3.0)}, r"leave only 1.0: change the domain or the limits"),
        ({"c": (2.5, 3.5)}, r"domain \[1.0, 2.0, 4.0\], which lies outside"),
    ],
)
def test_a_domain_outside_the_limits_is_refused_before_anything_moves(own: Any, says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        Gate(V, Envelope(), {**OWN, **own}).search_bounds()


def test_the_searched_part_is_what_domain_and_limits_have_in_common() -> None:
    gate = Gate(V, Envelope(limits={"a": (None, 0.5)}), {**OWN, "b": None, "c": (1.5, 9.0)})
    bounds = gate.search_bounds()
    assert bounds == {"a": (-0.9, 0.5), "b": (0.0, 10.0), "c": (2.0, 4.0)}
    assert gate.narrowed(bounds) == ["a", "c"]


def test_a_motor_without_limits_is_bounded_by_its_domain_for_every_move() -> None:
    gate = Gate(V, Envelope(), {**OWN, "b": None})
    assert gate.bounded_by_domain == ["b"]
    gate.check_move(Move({"b": 10.0}, HERE, bound_by_domain=False))
    for value in (-0.001, 10.001):
        with pytest.raises(RefusedError, match=r"outside its limits \[0.0, 10.0\]"):
            gate.check_move(Move({"b": value}, HERE, bound_by_domain=False))
    with pytest.raises(BadInputError, match="motor 'z' has no limits of its own"):
        Gate(V, Envelope(), {**OWN, "z": None})
    with pytest.raises(BadInputError, match="motor 'b' has no limits of its own"):
        Gate(None, Envelope(), {"b": None})
