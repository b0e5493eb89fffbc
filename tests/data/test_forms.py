"""Which form the values of a key get, what fits it exactly, and which names are stored as they are."""

import datetime
import json
import math
from typing import Any

import numpy as np
import pytest
from documents import key, same
from hypothesis import given
from hypothesis import strategies as st

from ebl_autonomy.data.forms import MISSING, Form, as_metadata, choose_form, from_text, to_text
from ebl_autonomy.data.names import StoredNames, is_hidden, stored_stream_name

IMAGE = np.zeros((2, 3), "u2")


@pytest.mark.parametrize(
    ("description", "values", "form"),
    [
        (key("number"), [1.5], Form("float")),
        (key("number"), [3], Form("float")),
        (key("number"), [2**60 + 1], Form("int")),  # a float would lose digits
        (key("integer", dtype_numpy="<i8"), [3], Form("int")),
        (key("integer", dtype_numpy="<i8"), [3, 0.5], Form("float")),
        (key("integer"), ["on"], Form("text")),  # an enum that is described by its index
        (key("string"), [4], Form("int")),
        (key("boolean"), [True], Form("bool")),
        (key("number"), [None, MISSING], Form("float")),
        (key("string"), [None], Form("text")),
        (key("number"), [1.0, "broken"], Form("json")),
        (key("array", [1]), [[5.0]], Form("array", "<f8", (1,))),
        (key("array", [2, 3], dtype_numpy="<u2"), [IMAGE], Form("array", "<u2", (2, 3))),
        (key("array", [2, 3]), [IMAGE.astype("u1")], Form("array", "|u1", (2, 3))),
        (key("array", [2, 3]), [IMAGE.tolist()], Form("array", "<i8", (2, 3))),
        (key("array", [2, 3], dtype_numpy="<f8"), [IMAGE.tolist()], Form("array", "<f8", (2, 3))),
        (key("array", [2], dtype_numpy=">i4"), [np.array([1, 2], ">i4")], Form("array", "<i4", (2,))),
        (key("array", [None]), [[1.0, 2.0]], Form("json")),
        (key("array", [0]), [[1.0, 2.0]], Form("json")),
        (key("array", [2]), [[1.0], [1.0, 2.0]], Form("json")),
        (key("array", [2]), [[[1.0], [1.0, 2.0]]], Form("json")),
        (key("array", [2]), [["a", "b"]], Form("json")),
        (key("array", [2]), [[1, None]], Form("json")),
        (key("array", [2]), [[2**60 + 1, 0.5]], Form("json")),
        (key("array", [0]), [[]], Form("json")),
        (key("string"), [{"a": 1}], Form("json")),
    ],
)
def test_the_form_follows_the_description_unless_the_values_contradict_it(
    description: dict[str, Any], values: list[Any], form: Form
) -> None:
    assert choose_form(description, values) == form
    assert Form.from_json(json.loads(json.dumps(form.to_json()))) == form


@pytest.mark.parametrize(
    ("form", "value", "cell", "fits"),
    [
        (Form("float"), 3, 3.0, True),
        (Form("float"), 2**53 + 1, 2.0**53, False),
        (Form("float"), None, None, False),
        (Form("float"), True, None, False),
        (Form("float"), 10**400, None, False),
        (Form("int"), 2.0, None, False),
        (Form("int"), 2**64 - 1, None, False),
        (Form("int"), 2**60, 2**60, False),
        (Form("int"), None, None, True),
        (Form("int"), MISSING, None, False),
        (Form("bool"), 1, None, False),
        (Form("text"), "a\0b", None, False),
        (Form("text"), "\ud800", None, False),
        (Form("text"), "é", "é", True),
    ],
)
def test_what_does_not_fit_its_column_is_told(form: Form, value: Any, cell: Any, fits: bool) -> None:
    assert form.cells([value]) == ([cell], [] if fits else [0])


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ([1, 2], True),
        (np.array([1, 2], "i8"), True),
        ([1, 300], False),
        ([1.0, 2.0], False),
        ([1], False),
        ([1, "a"], False),
        (None, False),
        (MISSING, False),
    ],
)
def test_what_does_not_fit_its_array_is_told(value: Any, fits: bool) -> None:
    (row,), misfits = Form("array", "|u1", (2,)).rows([value])
    assert (row.dtype, row.shape) == (np.dtype("u1"), (2,))
    assert misfits == ([] if fits else [0])


@pytest.mark.parametrize("size", [3, 100])
@pytest.mark.parametrize("dtype", ["u1", "i8", "f4", "f8", "c16", "?", "U3", "S3", "M8[s]"])
def test_arrays_survive_as_text(size: int, dtype: str) -> None:
    array = np.arange(size).astype(dtype)
    restored = np.asarray(from_text(to_text({"in": [array]}))["in"][0])
    assert restored.tolist() == array.tolist()
    assert size < 64 or restored.dtype == array.dtype


RECORDS = np.array([(1, b"ab", np.datetime64("2026-01-02"))], dtype=[("a", "i4"), ("b", "S4"), ("c", "M8[D]")])


@pytest.mark.parametrize(
    ("value", "restored"),
    [
        (RECORDS, [[1, "ab", "2026-01-02"]]),
        (np.array([b"x", [datetime.date(2026, 1, 2)]], dtype=object), ["x", ["2026-01-02"]]),
        (np.array([b"abc"], "V3"), ["abc"]),
        (b"abc", "abc"),
        ({"__ndarray__": ["<f8", [1], "zz"]}, {"__ndarray__": ["<f8", [1], "zz"]}),
        ([{"__array__": 1}, np.zeros(2)], [{"__array__": 1}, [0.0, 0.0]]),
    ],
)
def test_anything_becomes_text(value: Any, restored: Any) -> None:
    assert from_text(to_text(value)) == restored


@pytest.mark.parametrize("value", [2**63 - 1, 2**63 - 512, 2**63 - 513, -(2**63), 2**53 + 1])
def test_integers_beside_an_empty_cell_survive_as_floats(value: int) -> None:
    cells, misfits = Form("int").cells([value, None])
    assert misfits == [0]
    assert cells[0] is None or -(2**63) <= int(float(cells[0])) < 2**63
    assert Form("int").cells([value, 1])[0] == [value, 1]  # a column without an empty cell is as it is


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda x: st.lists(x)))
def test_metadata_are_kept_or_become_text(value: Any) -> None:
    stored = json.loads(json.dumps(as_metadata({"key": value}), allow_nan=False))["key"]
    if isinstance(value, float) and not math.isfinite(value):
        assert repr(float(stored)) == repr(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        assert int(stored) == value
    elif not isinstance(value, list):
        assert same(value, stored)


def test_names_that_the_store_can_hold_are_kept_and_others_are_unique() -> None:
    kept = ["det", "det-sum", "XF:01-det", "a" * 60, "Det2"]
    others = [
        *("DET", "Größe", "größe", "_x", "1x", "a b", 'a"b', "a.b", "a/b", "a--b", "", "💡", "a" * 61, "a" * 62),
        *("time", "seq_num", "TS_det", "ts_", "internal", "internal_0", "part_1_time", "ebl_exact"),
    ]
    names = StoredNames()
    names.add([*kept, *others])
    names.add(["DET", "later"])
    assert [names.of(name) for name in kept] == kept
    stored = [names.of(name) for name in [*kept, *others, "later"]]
    assert len({name.lower() for name in stored}) == len(stored)
    assert set(names.changed.values()) == set(others)
    for name in names.changed:
        assert name.isascii()
        assert name[0].isalpha()
        assert len(f"ts_{name}") <= 63
        assert not name.startswith(("ts_", "internal", "part_", "ebl_"))
        assert not is_hidden(name)


def test_streams_are_named_as_the_plan_names_them_if_their_node_can_be() -> None:
    assert stored_stream_name("primary") == "primary"
    assert all("/" not in stored_stream_name(name) != name for name in ("a/b", "streams", "a b", "é", ""))
