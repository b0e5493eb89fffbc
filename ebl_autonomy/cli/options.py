"""Options and arguments that several commands have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ebl_autonomy.errors import BadInputError

__all__ = ["Folder", "Json", "Key", "Output", "Seed", "TierOption", "Uri", "examples", "key_for"]

Uri = Annotated[
    str | None, typer.Option("--tiled", help="Address of a running Tiled server; the default is an embedded one.")
]
Key = Annotated[
    str | None,
    typer.Option("--api-key", help="API key of the running Tiled server; the default is $TILED_API_KEY."),
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--directory",
        help="Data folder of the embedded Tiled server; the default is $EBL_AUTONOMY_DATA, or the user's data folder.",
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Seeds the misalignment or the sample, the noise and the agent.")]
TierOption = Annotated[str, typer.Option(help="Motors to align: 4 (A), 8 (B) or 12 (C).")]
Output = Annotated[Path, typer.Option(help="Folder for the report.")]
Json = Annotated[bool, typer.Option("--json", help="Print only the result, as JSON.")]


def examples(*commands: str) -> str:
    """The last line of a command's help."""
    return "Examples: " + "; ".join(f"ebl-autonomy {command}" for command in commands)


def key_for(tiled: str | None, api_key: str | None) -> str | None:
    """The key of a running server. The environment's belongs to that server: the embedded one has a key of its own."""
    if api_key is not None and tiled is None:
        raise BadInputError("--api-key is the key of a running server: give its address too, as --tiled URI")
    return api_key or (os.environ.get("TILED_API_KEY") if tiled is not None else None)
