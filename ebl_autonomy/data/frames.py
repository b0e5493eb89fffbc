"""Which frames of an HDF5 file belong to the rows of a stream.

A file also holds the frames of exposures that were cut or repeated. Tiled reads the file through a slice of its first
axis, so that it gives one datum for each row, in the order of the rows, whatever else the file holds or will hold.
"""

from __future__ import annotations

from typing import Any

from bluesky_tiled_plugins.writing.consolidators import HDF5Consolidator

__all__ = ["FrameRanges", "frame_slice"]

_IMAGE_RANK = 2


class FrameRanges:
    """The indices that belong to rows, in the order of the rows, as ranges without a gap."""

    def __init__(self) -> None:
        self._ranges: list[list[int]] = []

    def add(self, start: int, stop: int) -> None:
        """Add the indices of the next row or rows: from `start` to before `stop`."""
        if self._ranges and self._ranges[-1][1] == start:
            self._ranges[-1][1] = stop
        else:
            self._ranges.append([start, stop])

    @property
    def has_gaps(self) -> bool:
        """Whether some index before the last one belongs to no row."""
        return len(self._ranges) > 1 or self._ranges[0][0] > 0

    def slice(self, size: int) -> str | list[int]:
        """The selection of a file's first axis.

        Parameters
        ----------
        size : int
            Number of elements of that axis that one index stands for.

        Returns
        -------
        str or list of int
            ``"start:stop"`` of one range; otherwise each element.
        """
        ranges = [(size * start, size * stop) for start, stop in self._ranges]
        if len(ranges) == 1:
            return f"{ranges[0][0]}:{ranges[0][1]}"
        return [element for start, stop in ranges for element in range(start, stop)]


def frame_slice(consolidator: Any, frames: FrameRanges) -> str | list[int] | None:
    """The parameter ``slice`` of Tiled's HDF5 adapter that gives the frames of the rows.

    Returns
    -------
    str, list of int or None
        None if each index has a file of its own, the document has a slice of its own, or the axes of the file are not
        known and each frame belongs to a row.
    """
    if not isinstance(consolidator, HDF5Consolidator) or "slice" in consolidator.adapter_parameters():
        return None
    shape, file_rank = consolidator.datum_shape, len(consolidator.chunk_shape)
    if not shape or shape[0] == 1:
        return frames.slice(1)
    if "frame_per_point" in consolidator.metadata or file_rank == len(shape):
        return frames.slice(shape[0])  # the frames of all rows follow one another
    if file_rank > len(shape):
        return frames.slice(1)  # the rows have an axis of their own
    if not frames.has_gaps:
        return None
    return frames.slice(shape[0] if len(shape) > _IMAGE_RANK else 1)
