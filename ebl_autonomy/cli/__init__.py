"""The command line: ``ebl-autonomy demo | report | runs | serve``."""

from __future__ import annotations

from ebl_autonomy.cli.main import app

__all__ = ["app"]
