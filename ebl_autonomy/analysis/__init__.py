"""Numerics on detector data and models: beams in images, slices of a model; free of devices, plans and agents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebl_autonomy.lazy import lazy_attributes

if TYPE_CHECKING:
    from ebl_autonomy.analysis.beam import beam_statistics, width_at_half_maximum
    from ebl_autonomy.analysis.slices import Slice, slice_through

__all__ = ["Slice", "beam_statistics", "slice_through", "width_at_half_maximum"]

__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        "Slice": ".slices",
        "beam_statistics": ".beam",
        "slice_through": ".slices",
        "width_at_half_maximum": ".beam",
    },
)
