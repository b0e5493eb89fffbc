"""The data folder: private to its user, with one API key, one server and the leases of the sessions that need it.

api_key         the key of every server of this folder
leases/         one locked file per open connection; the server ends when none is left
port            the port that a restarted server listens on again
server.json     address of the server that answers, and the folders that it may read
server.lock     locked by the process that serves the folder
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import platformdirs

from ebl_autonomy.errors import BadInputError

__all__ = [
    "DataFolder",
    "Lease",
    "api_key_of",
    "default_directory",
    "existing_folders",
    "is_data_folder",
    "make_directory",
    "open_private",
    "outside",
]

logger = logging.getLogger(__name__)

_STEMS = ("api_key", "catalog", "data", "leases", "port", "server", "spool", "tables")
"""The names of what we keep in a data folder, up to the first dot."""
_MARKS = ("api_key", "catalog.db", "spool")
"""A folder with none of these has not been used as a data folder yet."""


def default_directory() -> Path:
    """The default data folder: ``$EBL_AUTONOMY_DATA``, or else the user's data folder."""
    named = os.environ.get("EBL_AUTONOMY_DATA")
    return Path(named) if named else Path(platformdirs.user_data_dir("ebl_autonomy"))


def make_directory(directory: Path) -> Path:
    """Create the folder if it does not exist, and close it to other users; returns its absolute path.

    A folder that holds nothing but our data gets the mode 0700. In a folder that holds other things too, only what is
    ours is closed, because other users may need the rest.

    Raises
    ------
    BadInputError
        If the folder cannot be created, or cannot be written to.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = directory.resolve()
        _tighten(directory)
    except OSError as error:
        raise BadInputError(
            f"the data folder {str(directory)!r} cannot be created ({error.strerror}): give another directory, "
            "or set $EBL_AUTONOMY_DATA"
        ) from error
    return directory


def is_data_folder(directory: Path) -> bool:
    """Whether a folder is there and has been used as a data folder."""
    return any((directory / mark).exists() for mark in _MARKS)


def open_private(path: str | Path, mode: str) -> IO[Any]:
    """`open` a file; if that creates the file, only its user can read it."""
    return open(path, mode, opener=lambda name, flags: os.open(name, flags, 0o600))


def api_key_of(directory: Path) -> str:
    """The API key of the folder's server. It is created at first use, readable by the user only.

    Raises
    ------
    BadInputError
        If the folder cannot be created.
    """
    path = make_directory(directory) / "api_key"
    if not (key := _text(path)):
        with open_private(f"{path}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # of many sessions that begin at once, one creates the key
            if not (key := _text(path)):
                key = secrets.token_hex(32)
                _write(path, key)
    return key


def existing_folders(folders: Sequence[str | Path]) -> tuple[Path, ...]:
    """The absolute paths of folders that detectors write into.

    Raises
    ------
    BadInputError
        If one does not exist, is no folder, or cannot be read.
    """
    if isinstance(folders, (str, Path)):
        folders = [folders]
    found = []
    for given in folders:
        path = Path(given).expanduser()
        if not path.is_dir():
            what = "is not a folder" if path.exists() else "does not exist"
            raise BadInputError(f"readable={str(given)!r} {what}: give a folder that a detector writes into")
        if not os.access(path, os.R_OK | os.X_OK):
            raise BadInputError(f"readable={str(given)!r} cannot be read by this user: correct its permissions")
        # Documents name files as the detector knows them, so links count as they are written too.
        found += [path.absolute(), path.resolve()]
    return tuple(dict.fromkeys(found))


def outside(path: Path, folders: Sequence[Path]) -> bool:
    """Whether an absolute path lies in none of the folders. One with ".." is judged by where it leads."""
    path = path.resolve() if ".." in path.parts else path
    return not any(path.is_relative_to(folder) for folder in folders)


class Lease:
    """What keeps the server of a folder alive: a locked file, released by the system when the process dies.

    Parameters
    ----------
    directory : Path
    readable : sequence of Path
        Folders that the session needs the server to read.
    """

    def __init__(self, directory: Path, readable: Sequence[Path] = ()) -> None:
        folder = directory / "leases"
        folder.mkdir(mode=0o700, exist_ok=True)
        self._path = folder / f"{os.getpid()}-{secrets.token_hex(4)}"
        while True:
            self._file: IO[str] = open_private(self._path, "w")
            fcntl.flock(self._file, fcntl.LOCK_EX)
            # A server that met the file before it was locked has taken it for a dead session's and deleted it.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._file.fileno()), self._path.stat()):
                    break
            self._file.close()
        self._file.write(json.dumps([str(path) for path in readable]))
        self._file.flush()

    def release(self) -> None:
        """Let the server end, if nobody else needs it."""
        self._path.unlink(missing_ok=True)
        self._file.close()

    def abandon(self) -> None:
        """In a forked child: leave the lease to the parent, so that it ends with the parent."""
        self._file.close()


class DataFolder:
    """The state of a data folder that its sessions and its server share.

    Parameters
    ----------
    path : Path
        An existing folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def serving(self, patience_s: float = 1.0) -> Iterator[bool]:
        """Lock the folder for a server; False if another server serves it."""
        deadline = time.monotonic() + patience_s
        with open_private(self.path / "server.lock", "w") as lock:
            # `is_served` holds the lock for a moment, and a server that ends holds it for a little longer.
            while not (ours := _locks(lock, fcntl.LOCK_EX)) and time.monotonic() < deadline:
                time.sleep(0.02)
            if ours:
                self.withdraw()  # what a killed server announced
            yield ours

    @property
    def is_served(self) -> bool:
        """Whether a process serves the folder; that process may still be starting, or stopping."""
        try:
            with (self.path / "server.lock").open() as lock:
                return not _locks(lock, fcntl.LOCK_SH)
        except FileNotFoundError:
            return False

    @property
    def server(self) -> dict[str, Any] | None:
        """``uri``, ``pid``, ``leased`` and ``readable`` of the server that answers; None if there is none."""
        # What a killed server left must not lead to whoever listens on its port now: they would be sent the key.
        if not self.is_served:
            return None
        try:
            info = json.loads((self.path / "server.json").read_text())
        except FileNotFoundError:
            return None
        return {"leased": True, "readable": [], **info}

    def announce(self, uri: str, readable: Sequence[Path], leased: bool) -> None:
        """Say that a server answers at `uri`, and whether it needs leases; to be called by that server."""
        info = {"uri": uri, "pid": os.getpid(), "leased": leased, "readable": [str(path) for path in readable]}
        _write(self.path / "server.json", json.dumps(info))

    def withdraw(self) -> None:
        """Say that the server no longer answers."""
        (self.path / "server.json").unlink(missing_ok=True)

    @property
    def port(self) -> int:
        """The port of the latest server; 0 if there was none."""
        text = _text(self.path / "port")
        return int(text) if text.isdecimal() else 0

    @port.setter
    def port(self, port: int) -> None:
        _write(self.path / "port", str(port))

    def leases(self) -> list[tuple[Path, ...]]:
        """The readable folders of each session that holds a lease. Files that dead sessions left are deleted."""
        held: list[tuple[Path, ...]] = []
        for path in (self.path / "leases").glob("*"):
            with suppress(FileNotFoundError), path.open() as file:
                if _locks(file, fcntl.LOCK_SH):
                    path.unlink(missing_ok=True)
                else:
                    held.append(_paths(file.read()))
        return held


def _locks(file: IO[Any], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _paths(text: str) -> tuple[Path, ...]:
    try:
        return tuple(Path(path) for path in json.loads(text))
    except json.JSONDecodeError:  # locked a moment ago, and not written yet
        return ()


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""


def _write(path: Path, text: str) -> None:
    """Write a private file as a whole: a reader sees what it held before, or all of `text`."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}.new")
    with open_private(draft, "w") as file:
        file.write(text)
    draft.replace(path)


def _tighten(directory: Path) -> None:
    """Close to other users what earlier versions, or the user's umask, left open."""
    names = os.listdir(directory)
    used = any(name in _MARKS for name in names)
    ours = [directory / name for name in names if used and name.partition(".")[0] in _STEMS]
    only_ours = len(ours) == len(names)
    changed = [path for path in ours if _is_open(path)]
    if changed:  # so the files below may be open too
        for path in changed:
            for root, folders, files in os.walk(path):
                for name in folders + files:
                    _close(Path(root, name))
            _close(path)
    if _is_open(directory):
        if only_ours:
            _close(directory)
            if names:
                changed.append(directory)
        elif changed or not ours:
            logger.warning("%s holds other files too and stays open to other users; our files in it are not", directory)
    if changed:
        logger.warning("the data in %s could be read by other users: now only by their owner", directory)


def _is_open(path: Path) -> bool:
    try:
        return bool(path.lstat().st_mode & 0o077) and not path.is_symlink()
    except FileNotFoundError:  # another session's draft
        return False


def _close(path: Path) -> None:
    with suppress(FileNotFoundError, PermissionError):  # PermissionError: the file of another user
        if _is_open(path):
            path.chmod(path.stat().st_mode & 0o700)
