"""A journal returns every document unchanged, appends all or nothing, and gives whatever is undamaged."""

import json
import math
import os
import subprocess
import sys
import tempfile
import types
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebl_autonomy.data.entries import DamagedError, Entry, decode, encode
from ebl_autonomy.data.spool import Journal, check_spool, leftovers
from ebl_autonomy.errors import BadInputError

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text()),
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


def back(entry: Entry) -> dict[str, Any]:
    """The document of an entry whose arrays are in memory."""
    return entry.with_copies().document(lambda offset, target: None)


def add(journal: Journal, index: int, name: str, doc: dict[str, Any]) -> None:
    journal.append(encode(index, name, doc, journal.side_end))


@settings(max_examples=200)
@given(st.text(min_size=1), st.dictionaries(st.text(max_size=8), values, max_size=5))
def test_a_document_comes_back_as_it_was(name: str, doc: dict[str, Any]) -> None:
    line = encode(7, name, doc).line
    assert line.count(b"\n") == 1
    back_name, back_doc, index = decode(line)
    assert (back_name, index) == (name, 7)
    assert same(doc, back_doc)


STRUCTURED = np.array([(1, 2.5), (3, 4.5)] * 60, dtype=[("frame", "<u4"), ("mean", "<f8")])


@pytest.mark.parametrize(
    "array",
    [
        *(np.arange(12).reshape(3, 4).astype(dtype) for dtype in ("<u2", "<f8", "|b1", "<i4", "<c16", "<M8[s]", "<U7")),
        *(np.arange(1200).reshape(30, 40).astype(dtype) for dtype in ("<u2", ">f4", "<c8", "<m8[ns]", "|S3")),
        np.arange(3000.0).reshape(30, 100).T[::2],
        np.empty((0, 5)),
        np.array(["", ""], dtype="<U0"),
        STRUCTURED,
        STRUCTURED[:2],
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)
def test_arrays_come_back(array: np.ndarray, tmp_path: Path) -> None:
    doc = back(encode(1, "event", {"image": array, "again": [array]}))
    journal = Journal(tmp_path / "run.jsonl")
    add(journal, 1, "event", {"image": array, "again": [array]})
    ((_, _, read),) = journal.entries()
    journal.remove()
    for found in (doc["image"], doc["again"][0], read["image"], read["again"][0]):
        assert found.dtype == array.dtype
        assert found.shape == array.shape
        assert np.array_equal(found, array)


@pytest.mark.parametrize(
    "value",
    [
        {"__ndarray__": [1]},
        {"__array__": ["<f8", [3], 0, 0]},
        {"__array__": {"escaped": 1}},
        {"__ndarray__": {"__ndarray__": ["<f8", [1], "AAAA"]}},
        [{"__array__": None}, {"__array__": 1, "other": 2}],
        {"escaped": {"__array__": 5}},
        types.MappingProxyType({"__array__": 2}),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["event", "start"])
def test_a_mapping_that_looks_like_an_array_is_none(name: str, value: Any, tmp_path: Path) -> None:
    doc = {"reading": value, "image": np.ones((100, 100)), "short": np.ones(3)}
    journal = Journal(tmp_path / "run.jsonl")
    add(journal, 1, name, doc)
    ((_, _, read),) = journal.entries()
    journal.remove()
    assert read["reading"] == (value if isinstance(value, list) else dict(value))
    assert np.array_equal(read["image"], doc["image"])
    assert np.array_equal(read["short"], doc["short"])


def test_what_happens_to_an_array_later_does_not_matter(tmp_path: Path) -> None:
    image = np.ones((100, 100))
    journal = Journal(tmp_path / "run.jsonl")
    add(journal, 1, "event", {"image": image})
    held = encode(2, "event", {"image": image}).with_copies()
    image[:] = 0.0
    ((_, _, doc),) = journal.entries()
    assert doc["image"].min() == back(held)["image"].min() == 1.0
    doc["image"][0] = 2.0  # the reader's own
    journal.remove()


def test_a_line_that_a_crash_cut_short_is_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run.jsonl", "here")
    add(journal, 1, "start", {"uid": "run"})
    add(journal, 2, "event", {"data": {"x": 1.5}})
    journal.close()
    with (tmp_path / "run.jsonl").open("a") as file:
        file.write('["event",{"da')
    (found,), elsewhere = leftovers(tmp_path, "here")
    assert elsewhere == {}
    assert [(index, name) for index, name, _ in found.entries()] == [(1, "start"), (2, "event")]
    assert found.damaged_at_end() == 1  # it is missing
    found.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_journal_of_the_former_format_is_read(tmp_path: Path) -> None:
    image = {"__ndarray__": ["<u2", [2, 2], "AQACAAMABAA="]}
    lines = [["start", {"uid": "run"}], ["event", {"data": {"image": image, "x": math.nan}}], ["stop", {}]]
    text = "\n".join(json.dumps(line) for line in lines).replace('["stop"', 'x["stop"') + "\n"
    (tmp_path / "run.jsonl").write_text(text + '["event", {"seq_num": 4}]\n["event", {"se')
    (found,), _ = leftovers(tmp_path, "any server")
    read = list(found.entries())
    assert [(index, name) for index, name, _ in read] == [(1, "start"), (2, "event"), (4, "event")]
    assert read[1][2]["data"]["image"].tolist() == [[1, 2], [3, 4]]
    found.remove()


def test_a_journal_under_way_is_nobody_elses(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run.jsonl")
    add(journal, 1, "start", {"uid": "run"})
    assert leftovers(tmp_path) == ([], {})
    journal.close()
    (found,), _ = leftovers(tmp_path)
    found.remove()


def test_a_journal_is_finished_at_its_own_server(tmp_path: Path) -> None:
    for uid, server in [("a", "one"), ("b", "two"), ("c", "two"), ("d", "")]:
        journal = Journal.of_run(tmp_path, uid, server)
        add(journal, 1, "start", {"uid": uid})
        journal.close()
    found, elsewhere = leftovers(tmp_path, "one")
    assert [journal.uid for journal in found] == ["a", "d"]
    assert elsewhere == {"two": 2}
    for journal in found:
        journal.close()


def test_the_journal_of_another_run_is_never_overwritten(tmp_path: Path) -> None:
    first, second = (Journal.of_run(tmp_path, "run", "") for _ in range(2))
    add(first, 1, "start", {"uid": "run"})
    with pytest.raises(FileExistsError):
        add(second, 1, "start", {"uid": "run"})
    second.remove()
    assert [name for _, name, _ in first.entries()] == ["start"]
    first.remove()


@pytest.mark.parametrize("uid", ["../../outside", "a/b", "", ".", "x" * 300, "naïve", "a\nb"])
def test_a_run_with_any_uid_has_its_journal_in_the_spool(uid: str, tmp_path: Path) -> None:
    journal = Journal.of_run(tmp_path / "spool", uid, "")
    add(journal, 1, "start", {"uid": uid})
    journal.close()
    (found,), _ = leftovers(tmp_path / "spool")
    assert found.uid == uid or not uid
    found.remove()


TAKES = """
import sys
from pathlib import Path
from ebl_autonomy.data.spool import leftovers
sys.stdin.readline()
found, _ = leftovers(Path(sys.argv[1]))
print(*(journal.uid for journal in found), flush=True)
sys.stdin.readline()
"""


def test_two_sessions_that_start_together_share_the_journals(tmp_path: Path) -> None:
    names = {f"run{k:02}" for k in range(40)}
    for name in names:
        journal = Journal.of_run(tmp_path, name, "")
        add(journal, 1, "start", {"uid": name})
        journal.close()
    command = [sys.executable, "-c", TAKES, str(tmp_path)]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as a, subprocess.Popen(command, **pipes) as b:
        for process in (a, b):
            process.stdin.write("go\n")
            process.stdin.flush()
        taken = [process.stdout.readline().split() for process in (a, b)]
        for process in (a, b):
            process.communicate("\n")
    assert sorted(taken[0] + taken[1]) == sorted(names)


FULL = """
import errno, json, resource, signal, sys
from pathlib import Path
import numpy as np
from ebl_autonomy.data.entries import encode
from ebl_autonomy.data.spool import Journal

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
journal = Journal(Path(sys.argv[1]) / "run.jsonl")
failed = []
for index in range(1, 41):
    image = np.full(3000, index, "u1") if index % 3 else "-" * 700
    try:
        journal.append(encode(index, "event", {"seq_num": index, "image": image}, journal.side_end))
    except OSError as error:
        assert error.errno == errno.EFBIG, error
        failed.append(index)
    if index == 30:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(json.dumps(failed))
"""


@pytest.mark.integration
@pytest.mark.parametrize("limit", [0, 50, 300, 5_000, 7_000, 9_500, 20_000, 45_000])
def test_an_append_to_a_full_disk_is_taken_back(limit: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), str(limit)], capture_output=True, text=True, check=True, timeout=60
    )
    failed = json.loads(done.stdout)
    assert failed
    (found,), _ = leftovers(tmp_path)
    read = {index: doc for index, _, doc in found.entries()}
    found.remove()
    assert list(read) == sorted(read)
    # Documents with large arrays are lost, the others are written once the disk takes them again.
    assert set(range(1, 41)) - set(read) == {index for index in failed if index % 3}
    for index, doc in read.items():
        assert doc["image"] == "-" * 700 if isinstance(doc["image"], str) else set(doc["image"]) == {index}


def documents() -> list[dict[str, Any]]:
    return [{"seq_num": k, "text": "line\n" * k, "image": np.full(700 * (k % 2) + 1, k, "u2")} for k in range(1, 13)]


@cache
def written() -> tuple[bytes, bytes]:
    """The two files of a journal; the same ones at each call, for the header holds the time."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "run.jsonl", "here")
        for index, doc in enumerate(documents(), start=1):
            add(journal, index, "event", doc)
        journal.close()
        return journal.path.read_bytes(), journal.path.with_suffix(".bin").read_bytes()


def read_back(folder: Path, lines: bytes, side: bytes) -> dict[int, dict[str, Any]]:
    """What a journal gives whose files hold these bytes."""
    (folder / "run.jsonl").write_bytes(lines)
    (folder / "run.bin").write_bytes(side)
    found, _ = leftovers(folder, "here")
    read = {index: doc for journal in found for index, _, doc in journal.entries()}
    for journal in found:
        journal.damaged_at_end()
        journal.remove()
    return read


def check(read: dict[int, dict[str, Any]], lost: set[int]) -> None:
    """All documents but the lost ones are there, and none has another value."""
    for index, doc in enumerate(documents(), start=1):
        if index in read:
            assert read[index]["text"] == doc["text"]
            assert np.array_equal(read[index]["image"], doc["image"])
        else:
            assert index in lost


@settings(max_examples=150)
@given(data=st.data())
def test_damage_costs_only_the_documents_that_it_hit(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    lines, side = written()
    line_list = lines.splitlines(keepends=True)
    hit = data.draw(st.sets(st.integers(0, len(line_list) - 1), max_size=4), label="damaged lines")
    for number in hit:
        line = bytearray(line_list[number])
        at = data.draw(st.integers(0, len(line) - 2))
        line[at : min(at + data.draw(st.integers(0, 5)), len(line) - 1)] = data.draw(st.binary(max_size=5))
        line_list[number] = bytes(line)
    order = data.draw(st.one_of(st.none(), st.permutations(range(len(line_list)))), label="order")
    if order is not None:
        line_list = [line_list[k] for k in order] + [line_list[order[0]]]
    lost = {number for number in hit if number}
    if data.draw(st.booleans(), label="arrays damaged"):
        at = data.draw(st.integers(0, len(side) - 1))
        side = side[:at] + bytes([side[at] ^ 255]) + side[at + 1 :]
        lost.add(1 + 2 * (at // 1402))
    check(read_back(folder, b"".join(line_list), side), lost)


@settings(max_examples=60)
@given(data=st.data())
def test_a_file_cut_anywhere_gives_what_was_whole(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    lines, side = written()
    cut = data.draw(st.integers(0, len(lines)))
    side_cut = data.draw(st.one_of(st.just(len(side)), st.integers(0, len(side))))
    whole = lines[:cut].count(b"\n") - 1
    lost = {k for k in range(1, 13) if k > whole or (k % 2 and 1402 * (k // 2 + 1) > side_cut)}
    check(read_back(folder, lines[:cut], side[:side_cut]), lost)


@settings(max_examples=100)
@given(st.binary(max_size=300), st.binary(max_size=50))
def test_any_bytes_can_be_read(tmp_path_factory: pytest.TempPathFactory, lines: bytes, side: bytes) -> None:
    assert read_back(tmp_path_factory.mktemp("spool"), lines, side) == {}


@pytest.mark.parametrize(
    "line",
    [b"", b"[]", b"{}", b"null", b'["event"]', b'["event",3]', b'[3,{"uid":"x"}]', b"\xff\x00", b"[" * 100_000]
    + [b'["event",{"a":{"__ndarray__":["<f8",[3],"AAAA"]}}]', b'["event",{"a":{"__array__":["<f8",[9],0,0]}}]'],
)
def test_what_is_no_line_is_damaged(line: bytes) -> None:
    with pytest.raises(DamagedError):
        decode(line)


def test_a_spool_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    check_spool(tmp_path / "new" / "spool")
    assert list((tmp_path / "new" / "spool").iterdir()) == []
    (tmp_path / "file").write_text("in its place")
    for folder in (tmp_path / "file", tmp_path / "file" / "spool", Path("/proc/spool")):
        with pytest.raises(BadInputError, match=rf"{folder}.*another folder"):
            check_spool(folder)


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small file system")
    try:
        with pytest.raises(BadInputError, match="No space left"):
            check_spool(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir(mode=0o500)
    with pytest.raises(BadInputError, match="Permission denied"):
        check_spool(tmp_path / "spool")
