"""Where real measurements lie on this machine, for tests and benchmarks that play them through simulated devices."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from ebl_autonomy.errors import DataError

__all__ = ["measured_file"]

VARIABLE: Final = "EBL_DATA"
"""Environment variable that names the folder with the measurements."""


def measured_file(name: str) -> Path:
    """A file or folder of real measurements.

    It is looked for in the folder that the environment variable ``EBL_DATA`` names; without the variable, in the folder
    ``shared/data`` beside the working directory or beside the sources.

    Parameters
    ----------
    name : str
        Name inside that folder.

    Raises
    ------
    DataError
        If there is no such file; the message says where it was looked for.
    """
    given = os.environ.get(VARIABLE)
    beside = (Path.cwd(), Path(__file__).resolve().parents[2])
    folders = [Path(given)] if given else [folder.parent / "shared" / "data" for folder in beside]
    for folder in folders:
        if (found := folder / name).exists():
            return found
    raise DataError(
        f"the measurement {name!r} is in none of {[str(folder) for folder in dict.fromkeys(folders)]}: "
        f"set {VARIABLE} to the folder that holds it"
    )
