"""The gate admits a move exactly if an independent statement of the rules allows it; a refusal names a broken rule."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from ebl_autonomy import VOCS
from ebl_autonomy.errors import RefusedError
from ebl_autonomy.guard import Envelope, Gate, Line, Move, Region

Interval = tuple[float, float]
Point = dict[str, float]

MOTORS = ("a", "b", "c")
CHOICES = {-1.0, 0.0, 0.5, 2.0}
"""The values of a discrete variable."""


@dataclass(frozen=True)
class Rules:
    """The rules, as plain numbers.

    Attributes
    ----------
    domain : dict of str to interval or set of float
    own, given : dict of str to interval
        The motors' own limits, and the user's.
    regions : list of (box, sweep)
    steps : dict of str to float
    """

    domain: dict[str, Interval | set[float]]
    own: dict[str, Interval]
    given: dict[str, Interval]
    regions: list[tuple[dict[str, Interval], bool]]
    steps: dict[str, float]

    def gate(self) -> Gate:
        variables = {n: values if isinstance(values, set) else list(values) for n, values in self.domain.items()}
        envelope = Envelope(
            limits=self.given,
            forbidden=[Region(box=box, sweep=sweep) for box, sweep in self.regions],
            max_step=self.steps,
        )
        return Gate(VOCS(variables=variables, objectives={"f": "MINIMIZE"}), envelope, self.own)


# -- the rules, stated independently: whether a path (the start, then the point after each move) breaks one --------

Way = list[Point]


def leaves_domain(rules: Rules, way: Way) -> bool:
    def inside(value: float, domain: Interval | set[float]) -> bool:
        return value in domain if isinstance(domain, set) else domain[0] <= value <= domain[1]

    return not all(inside(point[name], rules.domain[name]) for point in way[1:] for name in rules.domain)


def leaves_limits(rules: Rules, way: Way) -> bool:
    limits = [*rules.own.items(), *rules.given.items()]
    return any(point[name] < low or point[name] > high for point in way[1:] for name, (low, high) in limits)


def oversteps(rules: Rules, way: Way) -> bool:
    # Evenly spaced way-points are rounded, so the gate tolerates one part in a billion.
    allowed = {name: most * (1.0 + 1e-9) for name, most in rules.steps.items()}
    return any(abs(there[n] - here[n]) > most for here, there in pairwise(way) for n, most in allowed.items())


def lies_in(box: Mapping[str, Interval], point: Point) -> bool:
    return all(low <= point[name] <= high for name, (low, high) in box.items())


def enters_region(rules: Rules, way: Way) -> bool:
    def may_cross(box: Mapping[str, Interval], here: Point, there: Point) -> bool:
        """Whether the smallest box around both ends has a point in common with the region."""
        shared = [
            (max(low, min(here[name], there[name])), min(high, max(here[name], there[name])))
            for name, (low, high) in box.items()
        ]
        return all(low <= high for low, high in shared)

    return any(
        lies_in(box, there) or (sweep and may_cross(box, here, there))
        for here, there in pairwise(way)
        for box, sweep in rules.regions
    )


BREAKS: dict[str, Callable[[Rules, Way], bool]] = {
    "domain": leaves_domain,
    "limits": leaves_limits,
    "step": oversteps,
    "forbidden": enters_region,
}
"""Maps the rule that a refusal names to a function that says whether the rule is broken."""


# -- random rules and moves ----------------------------------------------------------------------------------------

# Quarters are exact floats, so that some points lie exactly on the ends of intervals.
numbers = st.one_of(st.integers(-8, 8).map(lambda k: k / 4), st.floats(-2.0, 2.0))
intervals = st.tuples(numbers, numbers).map(lambda pair: (min(pair), max(pair)))
# All intervals overlap, and most contain all numbers, so that each rule causes some of the refusals.
ends = st.sampled_from([1.0, 1.5, 2.0, 2.25, 2.5])
around_zero = st.tuples(ends, ends).map(lambda pair: (-pair[0], pair[1]))


def some_of(values: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[dict[str, Any]]:
    """A value for each of some of the motors."""
    return st.dictionaries(st.sampled_from(MOTORS), values, min_size=least)


some_regions = st.lists(st.tuples(some_of(intervals, least=1), st.booleans()), max_size=3)
all_rules = st.builds(
    Rules,
    domain=st.fixed_dictionaries({"a": around_zero, "b": around_zero, "c": st.just(CHOICES)}),
    own=st.fixed_dictionaries(dict.fromkeys(MOTORS, around_zero)),
    given=some_of(around_zero),
    regions=some_regions,
    steps=some_of(st.integers(2, 12).map(lambda k: k / 4)),
)
WIDE = dict.fromkeys(MOTORS, (-9.0, 9.0))
only_regions = st.builds(
    Rules, domain=st.just(WIDE), own=st.just(WIDE), given=st.just({}), regions=some_regions, steps=st.just({})
)
places = st.fixed_dictionaries(dict.fromkeys(MOTORS, numbers))
targets = st.fixed_dictionaries({"a": numbers, "b": numbers, "c": st.sampled_from(sorted(CHOICES | {0.25, -2.0}))})


def judge(check: Callable[[], Any], rules: Rules, way: Way, names: tuple[str, ...]) -> bool:
    """Whether the gate admitted the path, after a check of its answer against the rules called `names`."""
    broken = {name for name in names if BREAKS[name](rules, way)}
    try:
        check()
    except RefusedError as refusal:
        event(f"refused: {refusal.rule}")
        assert refusal.rule in broken
        return False
    event("admitted")
    assert not broken
    return True


@settings(deadline=None, max_examples=300)
@given(all_rules, places, targets)
def test_a_proposal_is_admitted_exactly_if_it_breaks_no_rule(rules: Rules, here: Point, target: Point) -> None:
    gate, admitted = rules.gate(), []
    if judge(lambda: admitted.append(gate.check(target, here)), rules, [here, target], tuple(BREAKS)):
        assert admitted == [target]  # exactly as proposed


@settings(deadline=None, max_examples=150)
@given(all_rules, places, targets)
def test_the_domain_does_not_bind_where_the_plan_itself_goes(rules: Rules, here: Point, target: Point) -> None:
    gate = rules.gate()
    judge(
        lambda: gate.check_move(Move(target, here, bound_by_domain=False)),
        rules,
        [here, target],
        tuple(name for name in BREAKS if name != "domain"),
    )


@settings(deadline=None, max_examples=150)
@given(all_rules, some_of(numbers), targets)
def test_a_motor_whose_place_is_unknown_breaks_no_rule_of_the_way(rules: Rules, here: Point, target: Point) -> None:
    gate = rules.gate()
    judge(lambda: gate.check(target, here), rules, [{**target, **here}, target], tuple(BREAKS))


shares_of_the_way = st.tuples(*[st.floats(0.0, 1.0)] * len(MOTORS))


@settings(deadline=None, max_examples=150)
@given(only_regions, places, targets, st.lists(shares_of_the_way, min_size=1, max_size=20))
def test_no_motor_speeds_lead_an_admitted_move_through_a_swept_region(
    rules: Rules, here: Point, target: Point, moments: list[tuple[float, ...]]
) -> None:
    """At any moment, each motor has covered a share of its path that is independent of the other motors."""
    try:
        rules.gate().check(target, here)
    except RefusedError:
        return
    event("admitted")
    for shares in moments:
        point = {}
        for name, share in zip(MOTORS, shares, strict=True):
            low, high = sorted((here[name], target[name]))
            point[name] = min(max(here[name] + share * (target[name] - here[name]), low), high)  # rounds
        assert not any(sweep and lies_in(box, point) for box, sweep in rules.regions)


# -- lines: the straight path between two points, sampled ---------------------------------------------------------

SAMPLES = [k / 256 for k in range(257)]


def on_the_line(start: Point, stop: Point) -> list[Point]:
    return [{name: start[name] + share * (stop[name] - start[name]) for name in start} for share in SAMPLES]


# Quarters only, because rounding would decide where a line just touches a region.
quarters = st.integers(-8, 8).map(lambda k: k / 4)
quarter_places = st.fixed_dictionaries(dict.fromkeys(MOTORS, quarters))
quarter_boxes = some_of(st.tuples(quarters, quarters).map(lambda pair: (min(pair), max(pair))), least=1)
quarter_regions = st.builds(
    Rules,
    domain=st.just(WIDE),
    own=st.just(WIDE),
    given=st.just({}),
    regions=st.lists(st.tuples(quarter_boxes, st.booleans()), max_size=3),
    steps=st.just({}),
)


@settings(deadline=None, max_examples=150)
@given(quarter_regions, quarter_places, quarter_places)
def test_no_point_of_an_admitted_line_lies_in_a_region(rules: Rules, start: Point, stop: Point) -> None:
    gate = rules.gate()
    inside = any(lies_in(box, point) for box, _ in rules.regions for point in on_the_line(start, stop))
    try:
        gate.check_move(Move(start, {}, Line(start, stop, rows=3, seconds=1.0)))
    except RefusedError as refusal:
        event("refused")
        assert refusal.rule == "forbidden"
        # A corner may be cut between two samples; the box around both samples then overlaps the region.
        assert inside or enters_region(Rules({}, {}, {}, [(b, True) for b, _ in rules.regions], {}), [start, stop])
    else:
        event("admitted")
        assert not inside


@settings(deadline=None, max_examples=300)
@given(all_rules, places, targets, st.floats(0.0, 0.5))
def test_a_line_keeps_limits_and_steps_with_its_overrun(
    rules: Rules, start: Point, stop: Point, overrun: float
) -> None:
    gate = rules.gate()
    line = Line({"a": start["a"]}, {"a": stop["a"]}, rows=3, seconds=1.0, overrun={"a": overrun})
    target = {"b": stop["b"]}
    try:
        gate.check_move(Move(target, start, line))
    except RefusedError:
        return
    direction = (stop["a"] > start["a"]) - (stop["a"] < start["a"])
    first, last = start["a"] - direction * overrun, stop["a"] + direction * overrun
    for low, high in (limits["a"] for limits in (rules.own, rules.given) if "a" in limits):
        assert low <= min(first, last)
        assert max(first, last) <= high
    if "a" in rules.steps:
        assert abs(last - first) <= rules.steps["a"] * (1.0 + 1e-9)
    domain = rules.domain["a"]
    assert isinstance(domain, tuple)
    assert domain[0] <= min(start["a"], stop["a"])
    assert max(start["a"], stop["a"]) <= domain[1]
