"""``python -m ebl_autonomy.data.serve``: the process of the embedded server; it ends when no session needs it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ebl_autonomy.data.server import run_server


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        run_server(arguments.directory, leased=True)
    except BlockingIOError:
        return 3  # another server already serves the folder: the parent joins it
    return 0


if __name__ == "__main__":
    sys.exit(main())
