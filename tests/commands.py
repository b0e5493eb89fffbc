"""The command line, in a process of its own as a user meets it, or in this one, which saves the imports."""

import logging
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from ebl_autonomy.cli import app

COMMAND = str(Path(sys.executable).parent / "ebl-autonomy")


def call(*arguments: str, folder: Path, code: int = 0, columns: int = 160) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder`, whose runs are in ``folder/data``."""
    done = subprocess.run(
        [COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        cwd=folder,
        env={**os.environ, **_environment(folder), "COLUMNS": str(columns)},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def call_here(*arguments: str, folder: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """As `call`, in this process: for commands that make no RunEngine, because they leave theirs to the exit."""
    out, errors = (TextIOWrapper(BytesIO(), encoding="utf-8", newline="") for _ in range(2))
    logger = logging.getLogger("bluesky")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
        for name, value in {**_environment(folder), "COLUMNS": "160"}.items():
            patch.setenv(name, value)
        patch.chdir(folder)
        level = logger.level
        try:
            with pytest.raises(SystemExit) as ended:
                app(list(arguments), prog_name="ebl-autonomy")
        finally:
            logger.setLevel(level)
    told = [_text(stream) for stream in (out, errors)]
    assert ended.value.code == code, told
    return subprocess.CompletedProcess([COMMAND, *arguments], code, *told)


def _environment(folder: Path) -> dict[str, str]:
    return {"EBL_AUTONOMY_DATA": str(folder / "data"), "NO_COLOR": "1"}


def _text(stream: TextIOWrapper) -> str:
    stream.flush()
    buffer = stream.detach()
    assert isinstance(buffer, BytesIO)
    return buffer.getvalue().decode()
