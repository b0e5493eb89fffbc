"""A plan run for a command: with Ctrl-C, the data folder, and a progress bar."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from bluesky import RunEngine
from bluesky.utils import Msg, RequestAbort, RunEngineInterrupted
from rich.console import Console

from ebl_autonomy.cli.interrupt import Attentive, GracefulInterrupt
from ebl_autonomy.data import connect, read_run
from ebl_autonomy.data.folder import default_directory
from ebl_autonomy.records import RunRecord
from ebl_autonomy.report import ProgressBar

__all__ = ["Measured", "Storage", "measured"]


@dataclass(frozen=True)
class Storage:
    """Where the runs of a command go; see `ebl_autonomy.connect`.

    Attributes
    ----------
    tiled, api_key : str or None
        Of a running server; by default an embedded one.
    directory : Path or None
        Data folder of the embedded server.
    """

    tiled: str | None = None
    api_key: str | None = None
    directory: Path | None = None


@dataclass
class Measured:
    """What a plan has measured.

    Attributes
    ----------
    client : tiled container
    uids : list of str
        Of its runs, in their order; at least one.
    result : object
        The return value of the plan; None if Ctrl-C ended it.
    """

    client: Any
    uids: list[str] = field(default_factory=list)
    result: Any = None

    def record(self, number: int = -1) -> RunRecord:
        """One of the runs, by default the last one."""
        return read_run(self.uids[number], self.client)


@contextmanager
def measured(
    plan: Generator[Msg, Any, Any], ctrl_c: GracefulInterrupt, storage: Storage, quiet: bool = False
) -> Iterator[Measured]:
    """Run a plan; its runs can be read while the context lasts. One Ctrl-C ends the plan, not the command.

    Parameters
    ----------
    plan : generator of Msg
    ctrl_c : GracefulInterrupt
        It has been entered.
    storage : Storage
    quiet : bool
        Whether to leave out the progress bar.

    Raises
    ------
    KeyboardInterrupt
        If Ctrl-C came before a run was open, so that there is nothing to report.
    """
    # Without bluesky's own handler of Ctrl-C.
    RE = RunEngine({}, context_managers=[], during_task=Attentive(), call_returns_result=True)
    folder = storage.directory or default_directory()
    is_new = not folder.exists()
    with connect(RE, storage.tiled, storage.api_key, storage.directory) as connection:
        found = Measured(connection.client)
        RE.subscribe(lambda _, doc: found.uids.append(doc["uid"]), "start")
        with ProgressBar(Console(stderr=True, quiet=quiet)) as bar:
            RE.subscribe(bar)
            if is_new:
                sys.stderr.write(f"created the data folder {folder}\n")
            with redirect_stdout(StringIO()):  # that it pauses, and how the run ended, is told here in other words
                try:
                    ended: Any = RE(ctrl_c.interruptible(plan))
                    found.result = ended.plan_result
                except RunEngineInterrupted:  # Ctrl-C: the plan closes its run
                    RE.abort("interrupted by the user")
                except RequestAbort:
                    pass
        if not found.uids:
            raise KeyboardInterrupt
        connection.flush()
        yield found
