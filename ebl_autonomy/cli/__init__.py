"""The command line: ``ebl-autonomy demo | report | runs | export | agents | docs | serve``."""

from __future__ import annotations

from ebl_autonomy.cli.main import app
from ebl_autonomy.lazy import public_dir

__all__ = ["app"]

__dir__ = public_dir(__name__)
