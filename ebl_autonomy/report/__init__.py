"""What a run looks like to a person: a summary, one HTML page with figures, a progress bar."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ebl_autonomy.report.page import write_report
    from ebl_autonomy.report.progress import ProgressBar
    from ebl_autonomy.report.summary import Summary, summarise

# matplotlib is loaded when a figure is wanted.
_HOME = {"ProgressBar": "progress", "Summary": "summary", "summarise": "summary", "write_report": "page"}

__all__ = ["ProgressBar", "Summary", "summarise", "write_report"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"ebl_autonomy.report.{_HOME[name]}"), name)
    raise AttributeError(f"module 'ebl_autonomy.report' has no attribute {name!r}")
