"""Puts the pages that README.md leads to into the wheel, because whoever has only the wheel has no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PAGES = (
    "README.md",
    "CHANGELOG.md",
    "docs/*.md",
    "docs/*.ipynb",
    "docs/decisions/*.md",
    "docs/images/*.png",
    "examples/**/*.*",
)
FOLDER = "ebl_autonomy/manual"


class Manual(BuildHookInterface[Any]):
    """Adds the pages under `FOLDER`, in the folders that they have here, so that their links hold."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the pages to a wheel; the sources, of which an editable install is made, have them already."""
        if version == "editable":
            return
        root = Path(self.root)
        pages = [
            page
            for pattern in PAGES
            for page in root.glob(pattern)
            if page.is_file() and "__pycache__" not in page.parts
        ]
        for page in pages:
            build_data["force_include"][str(page)] = f"{FOLDER}/{page.relative_to(root)}"
