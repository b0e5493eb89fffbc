"""bluesky's magics find the simulated devices by their labels, in a real IPython shell."""

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from ebl_autonomy.sim_devices import SimBeamline
from ebl_autonomy.sim_devices.layout import MOTORS


@pytest.fixture
def shell() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of IPython about a shell without a terminal
        from bluesky.magics import BlueskyMagics

        shell = InteractiveShell()
        shell.register_magics(BlueskyMagics)
        yield shell
        shell.history_manager.end_session()


def rows_of(text: str) -> dict[str, list[str]]:
    """The first word of each line of a table, with the other words."""
    return {words[0]: words[1:] for line in text.splitlines() if (words := line.split())}


def test_wa_shows_position_and_limits_of_every_motor_of_the_beamline(
    shell: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    bl = SimBeamline(seed=0)
    shell.user_ns["bl"] = bl
    bl.kbv.pitch.set(12.5)
    shell.run_line_magic("wa", "motors")
    shown = rows_of(capsys.readouterr().out)
    assert shown["kbv_pitch"] == ["12.5", "-120.0", "120.0", "0.0"]
    assert shown["mono_energy"] == ["7100.0", "5000.0", "9000.0", "0.0"]
    assert set(MOTORS) <= set(shown)
    assert shown["bl.slits.h_gap"] == ["slits_h_gap"]
    assert "Error" not in str(shown)


def test_wa_shows_a_motor_under_the_users_own_name_too_and_the_detectors(
    shell: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    bl = SimBeamline(seed=0)
    shell.user_ns.update(bl=bl, pitch=bl.kbv.pitch)
    shell.run_line_magic("wa", "")
    shown = rows_of(capsys.readouterr().out)
    assert {"motors", "detectors"} <= set(shown)
    assert shown["pitch"] == ["kbv_pitch"]
    assert shown["bl.camera"] == ["camera"]


def test_ct_reads_the_detectors(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shell.user_ns["bl"] = SimBeamline(seed=0)
    shell.run_line_magic("ct", "")
    shown = rows_of(capsys.readouterr().out)
    assert {"camera_spot_area", "camera_total", "i0", "ring_current"} <= set(shown)


def test_the_beamline_and_its_camera_are_one_line_each() -> None:
    bl = SimBeamline(seed=3, tier="A")
    assert repr(bl) == "<SimBeamline: seed 3, tier 'A': kbv_pitch, kbv_height, kbh_pitch, kbh_height>"
    assert repr(bl.camera) == "<SimCamera 'camera': 256 × 256 pixels, exposure 0.1 s>"
