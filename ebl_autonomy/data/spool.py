"""Journals of documents on disk: no measured row is lost when the server or the session dies.

The journal of a run is two files. ``<uid>.jsonl`` has a header that names the server, and then one line per document
(see `entries`). ``<uid>.bin`` has the bytes of arrays; the lines refer to them by offset. An append is all or nothing:
one that fails, on a full disk for example, is taken back. The index of a line counts the documents that the run
emitted, so a document that could not be journalled, or whose line was damaged, leaves a gap that shows.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ebl_autonomy.data.entries import DamagedError, Entry, decode, encode, index_of, is_former, memory_of
from ebl_autonomy.errors import BadInputError

__all__ = ["Journal", "check_spool", "leftovers"]

FORMAT = 2
OWED_BYTES = 1_000_000
"""Lines that could not be written wait up to this size for the disk to take them again."""
CHUNK = 1 << 20
_HEADER = "journal"


class Journal:
    """The documents of one run on disk, locked by the process that writes it.

    Parameters
    ----------
    path : Path
        The file of the lines. It is made, with its folder, by the first append.
    server : str
        Which server the run belongs to; empty if any.

    Attributes
    ----------
    path : Path
    server : str
    uid : str
        The run.
    """

    def __init__(self, path: Path, server: str = "", uid: str = "") -> None:
        self.path, self.server, self.uid = path, server, uid or path.stem
        self._lines: int | None = None
        self._side: int | None = None
        self._end = self._side_end = 0  # of what was written completely
        self._owed = b""
        self._torn = False
        self._closed = False

    @classmethod
    def of_run(cls, folder: Path, uid: str, server: str) -> Journal:
        """The journal of a new run; its file is named after the run if that is possible."""
        usual = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,150}", uid)
        return cls(folder / f"{uid if usual else hashlib.sha256(uid.encode()).hexdigest()}.jsonl", server, uid)

    @classmethod
    def taken_over(cls, path: Path) -> Journal:
        """The journal of a session that ended.

        Raises
        ------
        BlockingIOError
            If a process holds the file.
        OSError
            If the file is gone or cannot be opened.
        """
        journal = cls(path)
        lines = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # While we waited for the lock, another session may have finished the run.
            if not os.path.samestat(os.fstat(lines), os.stat(path)):
                raise FileNotFoundError(errno.ENOENT, "another session took the journal", str(path))
            with suppress(FileNotFoundError):
                journal._side = os.open(path.with_suffix(".bin"), os.O_RDWR | os.O_CLOEXEC)
                journal._side_end = os.fstat(journal._side).st_size
        except OSError:
            os.close(lines)
            raise
        journal._lines, journal._end = lines, os.fstat(lines).st_size
        header = journal._header()
        journal.server, journal.uid = str(header.get("server", "")), str(header.get("run", path.stem))
        return journal

    @property
    def side_end(self) -> int:
        """Offset in the side file of the next array."""
        return self._side_end

    def append(self, entry: Entry) -> None:
        """Write an entry to the operating system, so that it survives a kill of this process; all of it or nothing.

        Raises
        ------
        OSError
            If the disk is full, for example. Entries without arrays are written by a later call that succeeds.
        """
        data = self._owed + entry.line
        try:
            if self._lines is None:
                self._create()
            assert self._lines is not None
            side_end = self._write_arrays(entry.arrays)
            _write(self._lines, data, self._end)
        except OSError:
            self._take_back()
            if not entry.arrays and len(data) <= OWED_BYTES:
                self._owed = data
            raise
        self._owed = b""
        self._end, self._side_end = self._end + len(data), side_end
        if self._torn:
            self._take_back()  # of an earlier failure: this entry may be shorter than what it left

    def entries(self, last: float = math.inf) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """Index, name and document of the undamaged lines, in the order of their indices, up to the index `last`.

        A document whose line or array is damaged is left out, as is a last line that a crash cut short.
        """
        for index, start, length in self._table()[0]:
            if index > last:
                return
            try:
                name, doc, _ = decode(self._read(start, length), self.fetch)
            except DamagedError:
                continue
            if name != _HEADER:
                yield index, name, doc

    def damaged_at_end(self) -> int:
        """Number of lines after the last undamaged one: documents that no later index shows to be missing."""
        return self._table()[1]

    def fetch(self, offset: int, target: np.ndarray) -> None:
        """Fill an array from the side file.

        Raises
        ------
        OSError
            If the file is shorter, or cannot be read.
        """
        if self._side is None:
            raise FileNotFoundError(errno.ENOENT, "the file of the arrays is gone", str(self.path.with_suffix(".bin")))
        view = memoryview(target.data).cast("B")
        done = 0
        while done < len(view):
            count = os.preadv(self._side, [view[done:]], offset + done)
            if count == 0:
                raise OSError(errno.EIO, "the file of the arrays was cut short", str(self.path.with_suffix(".bin")))
            done += count

    def close(self) -> None:
        """Release the files and keep them, so that another process can finish the run."""
        self._closed = True
        side, self._side = self._side, None
        lines, self._lines = self._lines, None
        for descriptor in (side, lines):
            if descriptor is not None:
                os.close(descriptor)

    def remove(self) -> None:
        """Delete the files, once the run is completely in Tiled."""
        if self._lines is not None:
            # The lines first: lines without their arrays would look damaged to the next session.
            self.path.unlink(missing_ok=True)
            self.path.with_suffix(".bin").unlink(missing_ok=True)
        self.close()

    def move_to(self, folder: Path) -> Path:
        """Move the files to another folder and release them; returns where the lines are.

        Raises
        ------
        OSError
            If they cannot be moved; they are released all the same.
        """
        target = folder / self.path.name
        try:
            if self._lines is not None:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                with suppress(FileNotFoundError):
                    self.path.with_suffix(".bin").rename(target.with_suffix(".bin"))
                self.path.rename(target)
        finally:
            self.close()
        return target

    # -- writing -------------------------------------------------------------------------------------------------

    def _create(self) -> None:
        """Make the files. They get their name with the lock held and the header written: nobody sees them without."""
        if self._closed:
            raise OSError(errno.EBADF, "the journal is closed", str(self.path))
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self.path.with_suffix(f".{os.getpid()}.new")
        header = {"format": FORMAT, "run": self.uid, "server": self.server, "pid": os.getpid(), "made": time.time()}
        line = encode(0, _HEADER, header).line
        lines = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write(lines, line, 0)
            os.link(draft, self.path)  # unlike a rename, never over the journal of another run
        except OSError:
            os.close(lines)
            raise
        finally:
            draft.unlink(missing_ok=True)
        self._lines, self._end = lines, len(line)

    def _write_arrays(self, arrays: Mapping[int, np.ndarray]) -> int:
        """Write arrays to the side file; returns where it ends then."""
        end = self._side_end
        for offset, array in arrays.items():
            if self._side is None:
                self._side = os.open(
                    self.path.with_suffix(".bin"), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
                )
            _write(self._side, memory_of(array).data, offset)
            end = offset + array.nbytes
        return end

    def _take_back(self) -> None:
        """Cut off what an append left when it failed."""
        try:
            if self._lines is not None:
                os.ftruncate(self._lines, self._end)
            if self._side is not None:
                os.ftruncate(self._side, self._side_end)
            self._torn = False
        except OSError:
            self._torn = True  # the next append writes over it

    # -- reading -------------------------------------------------------------------------------------------------

    def _read(self, start: int, length: int) -> bytes:
        if self._lines is None:
            return b""
        return os.pread(self._lines, length, start)

    def _header(self) -> dict[str, Any]:
        for index, start, length in self._table()[0][:1]:
            if index == 0:
                return decode(self._read(start, length))[1]
        return {}

    def _table(self) -> tuple[list[tuple[int, int, int]], int]:
        """Index, start and length of each undamaged line, by index; and the number of damaged lines at the end."""
        found: dict[int, tuple[int, int]] = {}
        damaged = number = 0
        current = None
        for start, line, is_complete in self._lines_in_file():
            if not is_complete:  # the system was cut off while it wrote the line, or the file was cut
                return [(index, *found[index]) for index in sorted(found)], damaged + (current is not False)
            number += 1
            index = index_of(line)
            if current is None and index is None and is_former(line):
                current = False
            if current is False:
                # The former format has no index and no checksum: whether a line is damaged shows when it is decoded.
                found[number] = (start, len(line))
                continue
            if index is None:
                damaged += 1
            else:
                current = True
                damaged = 0
                found.setdefault(index, (start, len(line)))
        return [(index, *found[index]) for index in sorted(found)], damaged

    def _lines_in_file(self) -> Iterator[tuple[int, bytes, bool]]:
        """Start and content of each line, and whether it is complete; only the last one may not be."""
        start = position = 0
        end, rest = self._end, b""
        while position < end:
            chunk = self._read(position, min(CHUNK, end - position))
            if not chunk:
                return
            position += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield start, line, True
                start += len(line) + 1
        if rest:
            yield start, rest, False


def leftovers(folder: Path, server: str = "") -> tuple[list[Journal], dict[str, int]]:
    """The journals that no process holds: their sessions ended before the runs were completely in Tiled.

    Parameters
    ----------
    folder : Path
    server : str
        The server whose journals are wanted; those that name none are everybody's.

    Returns
    -------
    found : list of Journal
        Locked by this process.
    elsewhere : dict of str to int
        Number of journals of each other server; they are left alone.
    """
    found: list[Journal] = []
    elsewhere: dict[str, int] = {}
    for path in sorted(folder.glob("*.jsonl")):
        try:
            journal = Journal.taken_over(path)
        except OSError:
            continue  # another session writes or finishes this run
        if journal.server and server and journal.server != server:
            elsewhere[journal.server] = elsewhere.get(journal.server, 0) + 1
            journal.close()
        else:
            found.append(journal)
    return found, elsewhere


def check_spool(folder: Path) -> None:
    """Write and read something in the folder of the journals, which is made if necessary.

    Raises
    ------
    BadInputError
        If that fails.
    """
    probe = folder / f".probe-{os.getpid()}-{time.time_ns()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with probe.open("xb") as file:
                file.write(bytes(64 * 1024))
                file.flush()
                os.fsync(file.fileno())
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise BadInputError(
            f"no journal can be written in {str(folder)!r} ({error.strerror}), so rows could be lost: free space, "
            "correct its permissions, or give connect(directory=…) another folder"
        ) from error


def _write(descriptor: int, data: Any, offset: int) -> None:
    view = memoryview(data)
    while len(view):
        count = os.pwrite(descriptor, view, offset)
        view, offset = view[count:], offset + count
