"""What a run looks like to a person: a summary, a verdict, one HTML page with figures, a progress bar, a live view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebl_autonomy.lazy import lazy_attributes

if TYPE_CHECKING:
    from ebl_autonomy.report.contents import Contents, report_contents
    from ebl_autonomy.report.live import LiveView
    from ebl_autonomy.report.page import write_report
    from ebl_autonomy.report.progress import ProgressBar
    from ebl_autonomy.report.standing import Standing, standing_of
    from ebl_autonomy.report.summary import Summary, summarise

# matplotlib is loaded when a figure is wanted.

__all__ = [
    "Contents",
    "LiveView",
    "ProgressBar",
    "Standing",
    "Summary",
    "report_contents",
    "standing_of",
    "summarise",
    "write_report",
]

__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        "Contents": ".contents",
        "LiveView": ".live",
        "ProgressBar": ".progress",
        "Standing": ".standing",
        "Summary": ".summary",
        "report_contents": ".contents",
        "standing_of": ".standing",
        "summarise": ".summary",
        "write_report": ".page",
    },
)
