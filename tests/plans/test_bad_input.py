"""Bad input is refused by name before anything moves, and before a run is opened."""

from typing import Any

import pytest
from bluesky import RunEngine
from ophyd.sim import SynAxis
from simple import BOUNDS, ENVELOPE, Bowl, Documents, sobol, vocs

from ebl_autonomy import VOCS
from ebl_autonomy.agents import SobolAgent
from ebl_autonomy.errors import BadInputError
from ebl_autonomy.plans import optimize


def agent(**fields: Any) -> SobolAgent:
    base: dict[str, Any] = {
        "variables": {k: list(v) for k, v in BOUNDS.items()},
        "objectives": {"bowl": "MINIMIZE"},
    }
    return SobolAgent(VOCS(**{**base, **fields}))


CASES: list[tuple[str, dict[str, Any], str]] = [
    ("unknown variable", {"agent": lambda: agent(variables={"mx": [0, 1], "nope": [0, 1]})}, "nope"),
    ("idle motor", {"agent": lambda: agent(variables={"mx": [0, 1]})}, "'my'"),
    ("unknown objective", {"agent": lambda: agent(objectives={"width": "MINIMIZE"})}, "no detector gives .*width"),
    ("unknown constraint", {"agent": lambda: agent(constraints={"flux": ["LESS_THAN", 1]})}, "flux"),
    (
        "empty bounds",
        {"agent": lambda: {"agent": "sobol", "vocs": {"variables": {}, "objectives": {"bowl": "MINIMIZE"}}}},
        "no variable",
    ),
    (
        "reversed bounds",
        {
            "agent": lambda: {
                "agent": "sobol",
                "vocs": {"variables": {"mx": [1, 0], "my": [0, 1]}, "objectives": {"bowl": "MINIMIZE"}},
            }
        },
        "Bounds",
    ),
    ("outside limits", {"envelope": {"limits": {"mx": [5, 6], "my": [-2, 2]}}}, "lies outside"),
    ("detector as motor", {"motors": "detector"}, "cannot be moved"),
    ("no motors", {"motors": "none"}, "no motors"),
    ("max_points", {"max_points": 0}, "max_points=0"),
    ("batch", {"batch": 1.5}, "batch=1.5"),
    ("finish", {"finish": "sideways"}, "sideways"),
    ("until typo", {"until": {"secnods": 3}}, "secnods"),
    ("until clock", {"until": {"seconds": 3, "clock": "sundial"}}, "sundial"),
    ("envelope typo", {"envelope": {"limit": {}}}, "limit"),
    ("unknown agent", {"agent": lambda: {"agent": "oracle", "vocs": {}}}, "oracle"),
    ("agent without vocs", {"agent": lambda: "sobol"}, "without a VOCS"),
    ("agent typo", {"agent": lambda: {"agent": "sobol", "vocs": vocs().model_dump(), "optoins": {}}}, "optoins"),
    (
        "option typo",
        {
            "agent": lambda: {
                "agent": "sobol",
                "vocs": {"variables": {"mx": [0, 1], "my": [0, 1]}, "objectives": {"bowl": "MINIMIZE"}},
                "options": {"sede": 1},
            }
        },
        "sede",
    ),
    ("no agent", {"agent": lambda: 42}, "42"),
    ("derivation", {"derive": ["no_such_function"]}, "no_such_function"),
    ("derivation kind", {"derive": 5}, "derive=5"),
    ("until kind", {"until": "soon"}, "until='soon'"),
    ("envelope kind", {"envelope": "tight"}, "envelope='tight'"),
    ("measure kind", {"measure": "knife_edge"}, "measure='knife_edge'"),
    ("retries", {"retries": -1}, "retries=-1"),
    ("max_failures", {"max_failures": 0}, "max_failures=0"),
    ("move time-out", {"move_timeout_s": 0.0}, "move_timeout_s=0.0"),
    ("trigger time-out", {"trigger_timeout_s": -1.0}, "trigger_timeout_s=-1.0"),
    ("one motor", {"motors": "alone"}, "give a list of motors"),
    ("derivation clash", {"derive": {"bowl": lambda readings: 1.0}}, "bowl"),
]


@pytest.mark.parametrize(("change", "says"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_bad_input_names_the_value_before_anything_moves(
    RE: RunEngine, docs: Documents, bench: tuple[Bowl, list[SynAxis]], change: dict[str, Any], says: str
) -> None:
    bowl, motors = bench
    moved: list[float] = []
    for motor in motors:
        motor.subscribe(lambda value, **kw: moved.append(value), run=False)
    arguments: dict[str, Any] = {"max_points": 3, "envelope": ENVELOPE, **change}
    cases: dict[str, Any] = {"detector": [bowl, motors[0]], "none": [], "alone": motors[0]}
    given = cases.get(str(arguments.pop("motors", "")), motors)
    with pytest.raises(BadInputError, match=says):
        RE(optimize([bowl], given, arguments.pop("agent", sobol)(), **arguments))
    assert moved == []
    assert docs.all == []


def test_an_image_as_an_objective_says_how_to_reduce_it(RE: RunEngine, bench: tuple[Bowl, list[SynAxis]]) -> None:
    bowl, motors = bench
    bowl.describe = lambda: {"bowl": {"source": "test", "dtype": "array", "shape": [2, 2]}}  # type: ignore[method-assign]
    with pytest.raises(BadInputError, match="derive"):
        RE(optimize([bowl], motors, sobol(), max_points=3, envelope=ENVELOPE))
