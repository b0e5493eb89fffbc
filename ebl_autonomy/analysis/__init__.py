"""Numerics on detector data: beams in images. Independent of devices, plans and agents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebl_autonomy.lazy import lazy_attributes

if TYPE_CHECKING:
    from ebl_autonomy.analysis.beam import beam_statistics, width_at_half_maximum

__all__ = ["beam_statistics", "width_at_half_maximum"]

__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        "beam_statistics": ".beam",
        "width_at_half_maximum": ".beam",
    },
)
