"""A disk that can be full: a small tmpfs where this process may mount one."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

__all__ = ["SmallDisk"]

_FILLER = "filler"


class SmallDisk:
    """A folder on a small file system of its own.

    Parameters
    ----------
    folder : Path
        Mount point; it is created.
    size : str
        Size as ``mount`` takes it, e.g. ``"4m"``.

    Attributes
    ----------
    is_small : bool
        False where nothing can be mounted: then the disk is the common one, and `fill` does nothing.
    """

    def __init__(self, folder: Path, size: str) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        try:
            self.is_small = subprocess.run(command, check=False, capture_output=True).returncode == 0
        except FileNotFoundError:
            self.is_small = False

    def fill(self) -> None:
        """Take all space that is left."""
        if not self.is_small:
            return
        with (self.folder / _FILLER).open("ab", buffering=0) as file:
            block = 1 << 16
            while block:
                try:
                    file.write(b"\0" * block)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    block //= 2

    def free(self) -> None:
        """Give the space back."""
        (self.folder / _FILLER).unlink(missing_ok=True)

    def remove(self) -> None:
        """Unmount."""
        if self.is_small:
            subprocess.run(["umount", "-l", str(self.folder)], check=False, capture_output=True)
            self.is_small = False
