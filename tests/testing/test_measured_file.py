"""Where the real measurements are looked for."""

from pathlib import Path

import pytest

from ebl_autonomy.errors import DataError
from ebl_autonomy.testing import measured_file


def test_the_folder_that_the_environment_names_holds_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "map.npz").write_bytes(b"")
    monkeypatch.setenv("EBL_DATA", str(tmp_path))
    assert measured_file("map.npz") == tmp_path / "map.npz"


def test_the_message_names_the_file_the_folder_and_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EBL_DATA", str(tmp_path))
    with pytest.raises(DataError, match=rf"'map.npz' is in none of .*{tmp_path}.*EBL_DATA"):
        measured_file("map.npz")
