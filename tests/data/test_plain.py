"""Whatever a document holds gets a JSON form that reads well, and never an error."""

import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import uuid
from collections import OrderedDict, deque
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ophyd.sim import SynAxis
from pydantic import BaseModel

from ebl_autonomy.data.entries import decode, encode
from ebl_autonomy.data.plain import plain


class Colour(enum.Enum):
    RED = "red"
    WHEN = datetime.date(2026, 1, 2)


class Level(enum.IntEnum):
    HIGH = 3


class Word(enum.StrEnum):
    YES = "yes"


@dataclasses.dataclass
class Sample:
    name: str
    made: datetime.date
    size: Any = None


class Model(BaseModel):
    path: Path
    sample: Sample


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no")


def form(value: Any) -> Any:
    """The form of a value after the way through the journal."""
    return decode(encode(1, "start", {"uid": "x", "value": value}).line)[1]["value"]


UUID = uuid.UUID("12345678123456781234567812345678")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime.datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05"),
        (datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), "2026-01-02T00:00:00+00:00"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (np.ma.array([1.5, 2.5], mask=[False, True]), [1.5, None]),
        (np.ma.masked, None),
        (datetime.time(3, 4), "03:04:00"),
        (datetime.timedelta(minutes=1.5), 90.0),
        (Path("/data/x"), "/data/x"),
        (UUID, str(UUID)),
        (decimal.Decimal("0.10"), "0.10"),
        (fractions.Fraction(1, 3), "1/3"),
        (Colour.RED, "red"),
        (Colour.WHEN, "2026-01-02"),
        (Level.HIGH, 3),
        (Word.YES, "yes"),
        (1 + 2j, "1+2j"),
        (np.complex64(1 - 2j), "1-2j"),
        (b"text", "text"),
        (b"\xff\xfe", "//4="),
        (bytearray(b"text"), "text"),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", "a"}), ["a", "b"]),
        ({1, "a"}, ["a", 1]),
        ((1, (2, 3)), [1, [2, 3]]),
        (deque([1, 2]), [1, 2]),
        (range(3), [0, 1, 2]),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1}.values(), [1]),
        (MappingProxyType({"a": Level.HIGH}), {"a": 3}),
        (OrderedDict(a=1), {"a": 1}),
        (Sample("s", datetime.date(2026, 1, 2), {1}), {"name": "s", "made": "2026-01-02", "size": [1]}),
        (Model(path=Path("p"), sample=Sample("s", datetime.date(2026, 1, 2))),)
        + ({"path": "p", "sample": {"name": "s", "made": "2026-01-02", "size": None}},),
        (np.float32(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.int8(-3), -3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.datetime64("2026-01-02"), "2026-01-02"),
        (np.timedelta64(1500, "ms"), 1.5),
        (np.array(3.5), 3.5),
        (np.array([1, "a", None], dtype=object), [1, "a", None]),
        (np.array(UUID, dtype=object), str(UUID)),
        (2**64 - 1, 2**64 - 1),
        (10**400, 10**400),
        (SynAxis(name="mx"), "mx"),
        (SynAxis, "ophyd.sim.SynAxis"),
        (json.dumps, "json.dumps"),
        (len, "builtins.len"),
        (Ellipsis, "Ellipsis"),
        (Hostile(), "<a Hostile without a repr>"),
        ("\ud800", "\\ud800"),
        ("🎉", "🎉"),
        ({(1, 2): 1, None: 2, True: 3, 4: 5, np.int64(6): 7, Colour.RED: 8, b"k": 9, UUID: 10},)
        + ({"(1, 2)": 1, "null": 2, "true": 3, "4": 5, "6": 7, "red": 8, "k": 9, str(UUID): 10},),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_object_has_a_form(value: Any, expected: Any) -> None:
    assert form(value) == expected
    assert form([{"inside": value}]) == [{"inside": expected}]
    assert type(form(value)) is type(expected)


def test_an_integer_that_python_does_not_print_is_written_in_hexadecimal() -> None:
    assert form([-(10**5000)]) == [hex(-(10**5000))]


def test_arrays_stay_arrays_at_any_depth() -> None:
    for value in (np.arange(4.0), {UUID: [np.arange(4.0)]}):
        found = form(value)
        array = found if isinstance(found, np.ndarray) else found[str(UUID)][0]
        assert array.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_what_contains_itself_becomes_text() -> None:
    ring: list[Any] = [1]
    ring.append({"again": ring})
    assert form(ring) == [1, {"again": "<a list that contains itself>"}]
    sample = Sample("s", datetime.date(2026, 1, 2))
    sample.size = [sample]
    assert form(sample)["size"] == ["<a Sample that contains itself>"]
    twice = [1]
    assert form([twice, twice]) == [[1], [1]]
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    assert "nested too deep" in json.dumps(form(deep))
    while isinstance(deep, list):  # freed from the outside: Python itself would recurse
        deep = deep.pop()


anything = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers(), st.text(), st.binary()),
        *(st.datetimes(), st.dates(), st.times(), st.timedeltas(), st.uuids(), st.decimals(), st.fractions()),
        *(st.sampled_from([Colour.RED, Level.HIGH, Word.YES, SynAxis, len, np.nan, np.arange(3)]), st.builds(Hostile)),
        st.characters(categories=["Cs"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.text(), st.integers(), st.uuids(), st.binary(), st.booleans()), inner, max_size=3),
        st.builds(Sample, st.text(), st.dates(), inner),
    ),
    max_leaves=8,
)


def is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(type(key) is str for key in value) and all(map(is_plain, value.values()))
    if isinstance(value, list):
        return all(map(is_plain, value))
    if isinstance(value, np.ndarray):
        return not value.dtype.hasobject
    if isinstance(value, str):
        return value.encode().decode() == value
    return value is None or isinstance(value, (bool, int, float))


@settings(max_examples=300)
@given(anything)
def test_anything_has_a_form(value: Any) -> None:
    assert is_plain(plain(value))
    assert is_plain(form(value))
