"""The rule language: text and JSON say the same, errors point at the word, and relations hold where they should."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ebl_autonomy.analysis.regions import AllOf, AnyOf, Feature, Not, Relation, Rule, RuleError, Segment
from ebl_autonomy.analysis.regions.scene import Scene
from ebl_autonomy.errors import BadInputError

NAMES = st.one_of(st.sampled_from(["Fe", "xrf_Ca", "near", "Fe K-alpha", "and"]), st.text("abcXYZ 0_-./é", min_size=1))
NUMBERS = st.floats(0.0, 1e6, allow_nan=False)
LEAVES = st.one_of(
    st.builds(Relation, relation=st.sampled_from(["inside", "outside", "overlaps", "touches", "contains"]), of=NAMES),
    st.builds(Relation, relation=st.just("near"), of=NAMES, by=NUMBERS),
    st.builds(Relation, relation=st.just("away"), of=NAMES, by=st.none() | NUMBERS),
    st.builds(Feature, feature=st.sampled_from(["area", "Cr/Fe", "Fe_max", "not/by"]), above=NUMBERS),
    st.builds(Feature, feature=st.sampled_from(["area", "Cr/Fe"]), below=st.floats(-1e3, 1e-5, allow_nan=False)),
)


def some(parts: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(parts, min_size=2, max_size=3).map(tuple)


CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(AllOf, all=some(inner)), st.builds(AnyOf, any=some(inner)), st.builds(Not, negated=inner)
    ),
    max_leaves=6,
)


@given(st.builds(Rule, subject=NAMES, where=st.none() | CONDITIONS))
def test_text_and_json_say_the_same(rule: Rule) -> None:
    assert _flat(Rule.parse(str(rule))) == _flat(rule)
    assert Rule.model_validate(json.loads(rule.model_dump_json())) == rule


def _flat(rule: Rule) -> str:
    """The rule as text; a parser may group what is grouped anyway."""
    return str(rule)


def test_a_rule_in_words() -> None:
    rule = Rule.parse("Fe inside Ca and away from Zn by 2")
    assert rule == Rule(
        subject="Fe",
        where=AllOf(all=(Relation(relation="inside", of="Ca"), Relation(relation="away", of="Zn", by=2.0))),
    )
    assert Rule.parse("Fe inside Ca, away from Zn by 2") == rule
    assert rule.channels == ("Fe", "Ca", "Zn")
    assert str(rule) == "Fe inside Ca and away from Zn by 2.0"
    mixed = Rule.parse('Fe not (inside Ca or touches "Zn K") and with Cr/Fe above 1e-1')
    assert isinstance(mixed.where, AllOf)
    assert str(mixed) == 'Fe not (inside Ca or touches "Zn K") and with Cr/Fe above 0.1'


@pytest.mark.parametrize(
    ("text", "word", "allowed"),
    [
        ("Fe insde Ca", "insde", "did you mean 'inside'.*Allowed: inside, outside"),
        ("inside Ca", "inside", "Allowed: the name of a channel"),
        ("Fe near Ca", None, "ends too early. Allowed: by"),
        ("Fe near Ca by two", "two", "Allowed: a number"),
        ("Fe away Zn", "Zn", "Allowed: from"),
        ("Fe away from Zn by -2", "-2", "a number of at least 0"),
        ("Fe inside Ca by 2", "by", "Allowed: and, or, a comma"),
        ("Fe with Cr/Fe abve 2", "abve", "did you mean 'above'"),
        ("Fe (inside Ca", None, r"Allowed: \), and, or"),
        ("Fe inside Fe-K", "-K", "double quotes"),
        ("Fe inside Ca Zn outside", "Zn", "Allowed: and, or, a comma"),
        ("", None, "Allowed: the name of a channel"),
        ('"" inside Ca', "", "an empty name"),
        ("Fe " + "(" * 60 + "inside Ca" + ")" * 60, "(", "more than 50 levels"),
    ],
)
def test_errors_point_at_the_word(text: str, word: str | None, allowed: str) -> None:
    with pytest.raises(RuleError, match=allowed) as raised:
        Rule.parse(text)
    error = raised.value
    assert str(error).splitlines()[-1].index("^") == error.start + 2
    if word is not None:
        assert text[error.start : error.stop] == word
    else:
        assert error.start == len(text)


def test_the_typed_form_is_checked_too() -> None:
    for fields in (
        {"relation": "near", "of": "Ca"},
        {"relation": "inside", "of": "Ca", "by": 2.0},
        {"relation": "in", "of": "x"},
    ):
        with pytest.raises(ValidationError):
            Relation(**fields)
    with pytest.raises(ValidationError):
        Feature(feature="area", above=1.0, below=2.0)


# A scene on pixels 2 wide and 1 high: Ca in columns 2-9, with Fe in it; Zn four columns to the right of Fe.
SHAPE, PIXEL = (12, 30), (2.0, 1.0)


def mask(rows: slice, columns: slice) -> np.ndarray:
    found = np.zeros(SHAPE, dtype=bool)
    found[rows, columns] = True
    return found


FE = mask(slice(4, 7), slice(4, 7))
SCENE = Scene(
    {
        "Ca": [Segment("Ca", mask(slice(2, 10), slice(2, 10)), 0.9)],
        "Zn": [Segment("Zn", mask(slice(4, 7), slice(10, 12)), 0.7)],
        "P": [Segment("P", mask(slice(5, 6), slice(5, 6)), 0.6)],
        "K": [],
    },
    SHAPE,
    PIXEL,
)


@pytest.mark.parametrize(
    ("text", "holds", "confidence"),
    [
        ("Fe inside Ca", True, 0.9),
        ("Fe inside Zn", False, None),
        ("Fe outside Zn", True, 1.0),
        ("Fe overlaps Ca", True, 0.9),
        ("Fe overlaps Zn", False, None),
        ("Fe touches Ca", True, 0.9),
        ("Fe touches Zn", False, None),
        ("Fe contains P", True, 0.6),
        ("Fe contains Ca", False, None),
        ("Fe near Zn by 8", True, 0.7),  # four columns of 2 each
        ("Fe near Zn by 7.9", False, None),
        ("Fe away from Zn by 7.9", True, 1.0),
        ("Fe away from Zn by 8", False, None),
        ("Fe away from Zn", True, 1.0),
        ("Fe away from K by 1000", True, 1.0),
        ("Fe near K by 1000", False, None),
        ("Fe inside Ca and away from Zn by 2", True, 0.9),
        ("Fe inside Zn or inside Ca", True, 0.9),
        ("Fe not inside Zn", True, 1.0),
        ("Fe not (inside Ca or inside Zn)", False, None),
        ("Fe with area above 3", True, 1.0),
        ("Fe with area below 3", False, None),
        ("Fe with Cr/Fe above 0.1", True, 0.5 * math.erfc(-1.0 / math.sqrt(2.0))),
    ],
)
def test_relations_hold_where_they_should(text: str, holds: bool, confidence: float | None) -> None:
    features = {"area": 9.0, "Cr/Fe": 0.15, "Cr/Fe_std": 0.05}
    verdict = SCENE.judge(Rule.parse(text), FE, features)
    assert verdict.holds is holds
    assert 0.0 <= verdict.degree <= 1.0
    if confidence is not None:
        assert verdict.confidence == pytest.approx(confidence)


def test_the_degree_grows_towards_holding() -> None:
    degrees = [SCENE.judge(Rule.parse(f"Fe away from Zn by {by}"), FE, {}).degree for by in (4, 10, 20, 40)]
    assert degrees == sorted(degrees, reverse=True)
    assert degrees[0] == 1.0


def test_unknown_channels_are_named() -> None:
    with pytest.raises(BadInputError, match=r"'Cu'.*channels are \['Ca', 'Zn', 'P', 'K'\]"):
        SCENE.judge(Rule.parse("Fe inside Cu"), FE, {})


@pytest.mark.parametrize(("text", "holds"), [("Fe with Cu/Fe above 1", False), ("Fe not with Cu/Fe above 1", True)])
def test_nothing_is_sure_of_a_channel_that_was_not_measured_in_the_region(text: str, holds: bool) -> None:
    verdict = SCENE.judge(Rule.parse(text), FE, {"area": 1.0})
    assert verdict.holds is holds
    assert verdict.confidence == 0.0
