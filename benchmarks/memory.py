"""Memory of a session that writes images to Tiled live, and of one that writes a backlog.

The resident memory of the session's process is read every 20 ms, and compared with what the process had when it had
written one image, so that the libraries are not counted. The embedded server is another process.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from bluesky import RunEngine
from bluesky.plans import count
from ophyd.sim import SynSignal

from benchmarks.reporting import Report, table
from ebl_autonomy import connect
from ebl_autonomy.data import Connection
from ebl_autonomy.data.entries import encode
from ebl_autonomy.data.spool import Journal

SIDE = 2000
MB = 1e6
PERIOD_S = 0.02


def lines(options: argparse.Namespace) -> Iterator[str]:
    """The report."""
    size = SIDE * SIDE * 2 / MB
    yield f"Images of {size:.0f} MB (uint16). Memory of the session's process:\n"
    rows = []
    for label, mode, images in (
        (f"{options.images} images, live", "live", options.images),
        (f"backlog of {options.backlog * size / 1000:.1f} GB, written at `connect`", "backlog", options.backlog),
    ):
        command = [sys.executable, "-m", "benchmarks.memory", mode, str(images)]
        seconds, before, peak, found = map(
            float, subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-4:]
        )
        rows.append([label, f"{before:.0f}", f"{peak - before:.0f}", f"{images * size / seconds:.0f}", int(found)])
    yield table(["", "before, MB", "peak above it, MB", "MB/s", "images in Tiled"], rows)


def measure(mode: str, images: int) -> tuple[float, float, float, int]:
    """Seconds, memory before and at its peak in MB, and the number of images in Tiled, of one way to write them."""
    with tempfile.TemporaryDirectory() as folder:
        spool = Path(folder) / "spool"
        uid = fill(spool, images) if mode == "backlog" else ""
        RE = RunEngine({})
        with tempfile.TemporaryDirectory() as other, connect(RE, directory=other):
            RE(count([Camera()], 1))  # imports what any session imports that writes an image
        with Peak() as peak:
            began = time.monotonic()
            with connect(RE, directory=folder) as tiled:
                if mode == "live":
                    (uid,) = RE(count([Camera()], images))
                assert tiled.flush(3600.0)
                seconds = time.monotonic() - began
                return seconds, peak.before, peak.highest, stored(tiled, uid)


class Camera(SynSignal):
    """A detector with a new image at each trigger."""

    def __init__(self) -> None:
        image = np.random.default_rng(0).integers(0, 60_000, (SIDE, SIDE), dtype="u2")

        def frame() -> np.ndarray:
            image[0, 0] += 1
            return image.copy()

        super().__init__(name="image", func=frame)

    def describe(self) -> dict[str, Any]:
        return {"image": {**super().describe()["image"], "dtype_numpy": "<u2"}}

    def read_configuration(self) -> dict[str, Any]:
        """Nothing: by default it is the reading, so that each descriptor holds an image as a list of numbers."""
        return {}

    describe_configuration = read_configuration


def fill(spool: Path, images: int) -> str:
    """Leave the journal of a run with that many images, as a session does that died before any was written."""
    documents: list[tuple[str, dict[str, Any]]] = []
    RE = RunEngine({})
    (uid,) = RE(count([Camera()], 1), lambda name, doc: documents.append((name, doc)))
    start, descriptor, event, stop = documents
    journal = Journal.of_run(spool, uid, "")
    for index in range(1, images + 1):
        if index == 1:
            journal.append(encode(1, *start))
            journal.append(encode(2, *descriptor))
        doc = {**event[1], "uid": f"{uid[:28]}{index:08}", "seq_num": index}
        journal.append(encode(index + 2, "event", doc, journal.side_end))
    journal.append(encode(images + 3, "stop", {**stop[1], "num_events": {"primary": images}}))
    journal.close()
    return uid


def stored(tiled: Connection, uid: str) -> int:
    """Number of images of a run."""
    return int(tiled.client[uid]["primary"].base["image"].shape[0])


class Peak:
    """The highest resident memory of this process while the context is open, MB."""

    def __enter__(self) -> "Peak":
        self.before = self.highest = resident()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(PERIOD_S):
            self.highest = max(self.highest, resident())


def resident() -> float:
    """Resident memory of this process, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / MB for line in lines if line.startswith("VmRSS:"))


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=int, default=1000, help="number of images that are written live")
    parser.add_argument("--backlog", type=int, default=250, help="number of images of the backlog")


REPORT = Report("memory", __doc__, _arguments, lines)

if __name__ == "__main__":  # one measurement, in a process of its own
    print(*measure(sys.argv[1], int(sys.argv[2])))
