"""A journal returns every document unchanged, and tolerates a truncated last line."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebl_autonomy.data.spool import Journal, decode, encode, leftovers

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    if isinstance(a, dict):
        return isinstance(b, dict) and set(a) == set(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


@settings(deadline=None, max_examples=200)
@given(st.text(min_size=1), st.dictionaries(st.text(max_size=8), values, max_size=5))
def test_a_document_comes_back_as_it_was(name: str, doc: dict[str, Any]) -> None:
    line = encode(name, doc)
    assert "\n" not in line
    back_name, back = decode(line)
    assert back_name == name
    assert same(doc, back)


@pytest.mark.parametrize("dtype", ["<u2", "<f8", "|b1", "<i4"])
def test_arrays_and_numpy_scalars_come_back(dtype: str) -> None:
    image = np.arange(12).reshape(3, 4).astype(dtype)
    _, doc = decode(encode("event", {"image": image, "value": np.float64(0.1), "n": np.int64(3)}))
    assert doc["image"].dtype == image.dtype
    assert np.array_equal(doc["image"], image)
    assert (doc["value"], doc["n"]) == (0.1, 3)


def test_what_has_no_json_form_is_named() -> None:
    with pytest.raises(TypeError, match="complex"):
        encode("event", {"value": 1j})


def test_a_line_that_a_crash_cut_short_is_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run.jsonl")
    journal.append("start", {"uid": "run"})
    journal.append("event", {"data": {"x": 1.5}})
    journal.close()
    with (tmp_path / "run.jsonl").open("a") as file:
        file.write('["event",{"da')
    (found,) = leftovers(tmp_path)
    assert [name for name, _ in found.documents()] == ["start", "event"]
    found.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_journal_under_way_is_nobody_elses(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run.jsonl")
    assert leftovers(tmp_path) == []
    journal.close()
    (found,) = leftovers(tmp_path)
    found.remove()
