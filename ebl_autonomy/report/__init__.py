"""What a run looks like to a person: a summary, one HTML page with figures, a progress bar, a live figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebl_autonomy.lazy import lazy_attributes

if TYPE_CHECKING:
    from ebl_autonomy.report.live import LiveView
    from ebl_autonomy.report.page import write_report
    from ebl_autonomy.report.progress import ProgressBar
    from ebl_autonomy.report.summary import Summary, summarise

# matplotlib is loaded when a figure is wanted.

__all__ = ["LiveView", "ProgressBar", "Summary", "summarise", "write_report"]

__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        "LiveView": ".live",
        "ProgressBar": ".progress",
        "Summary": ".summary",
        "summarise": ".summary",
        "write_report": ".page",
    },
)
