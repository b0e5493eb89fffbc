"""The scanning microprobe: what it counts follows the sample and the laws of counting, and time is counted too."""

import math
import sys
import time
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.plans import grid_scan
from ophyd.utils import LimitError

from ebl_autonomy.errors import BadInputError, EblError
from ebl_autonomy.plans import Line
from ebl_autonomy.sim_devices import Fault, SimMicroprobe, SimSample
from ebl_autonomy.testing import check_device

FE = np.add.outer(1000.0 * np.arange(20), 100.0 * np.arange(30))
"""A plane, which bilinear interpolation reproduces."""


def plane(**more: Any) -> SimSample:
    return SimSample.from_maps({"Fe": FE, "Cr": 0.1 * FE}, step_um=(0.5, 1.0), origin_um=(10.0, -5.0), **more)


def flat(rate: float, **more: Any) -> SimSample:
    return SimSample.from_maps({"Fe": np.full((8, 8), rate)}, step_um=1.0, **more)


def shoot(probe: SimMicroprobe, x: float | None = None, y: float | None = None) -> dict[str, Any]:
    """One exposure of all detectors."""
    if x is not None and y is not None:
        probe.x.set(x)
        probe.y.set(y)
    for detector in probe.detectors:
        assert detector.trigger().done
    readings: dict[str, Any] = {}
    for detector in probe.detectors:
        readings.update(detector.read())
    return {key: item["value"] for key, item in readings.items()}


@pytest.mark.parametrize("spectrum", [False, True])
def test_devices_keep_the_contract(RE: RunEngine, spectrum: bool) -> None:
    probe = SimMicroprobe(plane(), spectrum=spectrum)
    for detector in probe.detectors:
        check_device(detector, RE)
    check_device(probe.clock, RE)
    check_device(probe.x, RE, positions=[11.0, 12.5])
    check_device(probe.y, RE, positions=[-5.0, 3.0])
    check_device(probe.energy, RE, positions=[7000.0, 9000.0])
    check_device(probe.dwell, RE, positions=[0.01, 2.0])


def test_counts_are_the_map_at_the_readback() -> None:
    """Bilinear between the centres of pixels, and the background beyond the outermost pixels."""
    probe = SimMicroprobe(plane(background={"Fe": 7.0}), dwell_s=1e5 / 1e2, dead_time_s=0.0, i0_noise=0.0)
    for x, y in [(10.0, -5.0), (12.1, 3.3), (24.5, 14.0)]:
        rate = 1000.0 * (y + 5.0) + 200.0 * (x - 10.0)
        counts = shoot(probe, x, y)
        assert counts["xrf_Fe"] == pytest.approx(1000.0 * rate, abs=6.0 * math.sqrt(1000.0 * rate) + 1e-9)
        assert counts["xrf_Cr"] == pytest.approx(100.0 * rate, abs=6.0 * math.sqrt(100.0 * rate) + 1e-9)
        assert probe.expected(x, y)["Fe"] == pytest.approx(rate)
    outside = shoot(probe, 9.7, -5.0)  # 0.3 µm from the centre of a pixel of 0.5 µm
    assert outside["xrf_Fe"] == pytest.approx(7000.0, abs=500.0)
    assert outside["xrf_Cr"] == 0.0
    assert probe.expected([9.76, 9.74], [-5.0, -5.0])["Fe"] == pytest.approx([0.0, 7.0])


def test_the_noise_is_that_of_counting() -> None:
    probe = SimMicroprobe(flat(4000.0), seed=3, dead_time_s=0.0, i0_noise=0.0, dwell_s=0.05)
    counts = np.array([shoot(probe, 4.0, 4.0)["xrf_Fe"] for _ in range(2000)])
    assert counts.mean() == pytest.approx(200.0, abs=4.0 * math.sqrt(200.0 / 2000.0))
    assert counts.var() == pytest.approx(200.0, rel=0.15)
    assert np.all(counts == np.rint(counts))


@pytest.mark.parametrize("rate", [1e3, 1e6, 1e9, 1e18])
def test_dead_time_is_not_paralysable_and_is_corrected_by_the_live_time(rate: float) -> None:
    dead, dwell = 2e-6, 0.5
    probe = SimMicroprobe(flat(rate), dead_time_s=dead, dwell_s=dwell, i0_noise=0.0)
    seen = shoot(probe, 4.0, 4.0)
    observed = rate * dwell / (1.0 + rate * dead)
    assert seen["xrf_Fe"] == pytest.approx(observed, abs=6.0 * math.sqrt(observed))
    assert seen["xrf_real_time"] == dwell
    assert 0.0 < seen["xrf_live_time"] < dwell
    corrected = seen["xrf_Fe"] * seen["xrf_real_time"] / seen["xrf_live_time"]
    assert corrected == pytest.approx(rate * dwell, rel=6.0 / math.sqrt(observed))
    assert seen["xrf_Fe"] <= dwell / dead * 1.01


def test_without_dead_time_any_rate_counts() -> None:
    seen = shoot(SimMicroprobe(flat(1e25), dead_time_s=0.0, i0_noise=0.0), 4.0, 4.0)
    assert seen["xrf_Fe"] == pytest.approx(0.03 * 1e25)
    assert seen["xrf_live_time"] == seen["xrf_real_time"]


def test_an_empty_map_reads_nothing_but_the_beam() -> None:
    seen = shoot(SimMicroprobe(flat(0.0)), 3.2, 3.9)
    assert seen["xrf_Fe"] == 0.0
    assert seen["xanes_mu"] == pytest.approx(0.0, abs=0.05)
    assert seen["i0"] == pytest.approx(3e4, rel=0.05)


def test_a_single_pixel_can_be_scanned() -> None:
    probe = SimMicroprobe(SimSample.from_maps({"Fe": [[1e5]]}, step_um=2.0), beam_um=0.0)
    assert shoot(probe, 0.9, -0.9)["xrf_Fe"] > 2000.0
    assert shoot(probe, 1.1, 0.0)["xrf_Fe"] == 0.0


def test_without_beam_all_readings_stay_finite() -> None:
    seen = shoot(SimMicroprobe(flat(1e3, absorption=np.full((8, 8), 2000.0)), i0_rate=0.0), 4.0, 4.0)
    assert all(math.isfinite(value) for value in seen.values())
    assert (seen["i0"], seen["stxm_counts"], seen["xanes_it"], seen["xanes_mu"]) == (0.0, 0.0, 0.0, 0.0)


def test_absorption_follows_the_energy_and_the_phases() -> None:
    energies = np.linspace(7100.0, 7200.0, 51)
    mu = 0.2 + 0.8 / (1.0 + np.exp(-(energies - 7130.0) / 4.0))
    weight = np.tile(np.linspace(0.5, 2.0, 6), (4, 1))
    sample = SimSample.from_maps({"Fe": weight}, step_um=1.0, phases={"a": weight}, spectra=(energies, {"a": mu}))
    probe = SimMicroprobe(sample, i0_rate=1e8, dwell_s=1.0)
    assert probe.energy.limits[0] <= 7100.0
    assert probe.energy.limits[1] >= 7200.0
    for energy, x in [(7105.0, 0.0), (7131.0, 2.5), (7199.0, 5.0)]:
        probe.energy.set(energy)
        truth = np.interp(energy, energies, mu) * (0.5 + 0.3 * x)
        seen = shoot(probe, x, 1.0)
        assert seen["xanes_mu"] == pytest.approx(truth, abs=1e-3)
        assert probe.expected(x, 1.0)["mu"] == pytest.approx(truth)
        assert seen["stxm_counts"] == pytest.approx(1e8 * math.exp(-truth), rel=0.02)


def test_the_dark_field_shows_edges() -> None:
    step = np.zeros((9, 20))
    step[:, 10:] = 1.0
    probe = SimMicroprobe(SimSample.from_maps({"Fe": step}, step_um=1.0, absorption=step), dwell_s=1.0)
    edge, inside = (shoot(probe, x, 4.0)["darkfield_counts"] for x in (9.5, 15.0))
    assert edge > 20.0 * inside


def test_the_beam_blurs_the_sample_not_the_counts() -> None:
    spike = np.zeros((41, 41))
    spike[20, 20] = 1e6
    sample = SimSample.from_maps({"Fe": spike}, step_um=0.5)
    probe = SimMicroprobe(sample, beam_um=(4.0, 2.0), dwell_s=1.0, dead_time_s=0.0)
    centre = probe.expected(10.0, 10.0)["Fe"]
    assert probe.expected(12.0, 10.0)["Fe"] == pytest.approx(0.5 * centre, rel=0.03)  # half the FWHM away
    assert probe.expected(10.0, 11.0)["Fe"] == pytest.approx(0.5 * centre, rel=0.03)
    x, y = np.meshgrid(np.arange(-10.0, 30.5, 0.5), np.arange(-10.0, 30.5, 0.5))
    assert probe.expected(x, y)["Fe"].sum() == pytest.approx(1e6, rel=1e-6)
    counts = np.array([shoot(probe, 11.0, 10.0)["xrf_Fe"] for _ in range(500)])
    assert counts.var() == pytest.approx(counts.mean(), rel=0.3)


def test_at_the_rim_the_beam_sees_the_background() -> None:
    probe = SimMicroprobe(flat(100.0, background=10.0), beam_um=2.0)
    assert probe.expected(-0.5, 3.5)["Fe"] == pytest.approx(55.0, rel=0.02)
    assert probe.expected(-8.0, 3.5)["Fe"] == pytest.approx(10.0)
    assert SimMicroprobe(flat(100.0, background=100.0), beam_um=3.0).expected(-1.3, 0.2)["Fe"] == pytest.approx(100.0)


def test_the_sample_drifts_against_the_readbacks() -> None:
    probe = SimMicroprobe(plane(), drift_um_per_hour=(2.0, -3.0), dead_time_s=0.0, i0_noise=0.0, dwell_s=3600.0)
    shoot(probe, 15.0, 5.0)  # ends after an hour, and some moves
    seconds = probe.clock.read()["clock"]["value"]
    assert probe.drift_um(seconds) == pytest.approx((2.0, -3.0), rel=0.01)
    seen = shoot(probe)["xrf_Fe"] / 3600.0  # after two hours
    assert seen == pytest.approx(1000.0 * (5.0 + 6.0 + 5.0) + 200.0 * (15.0 - 4.0 - 10.0), rel=0.002)


def test_the_same_seed_repeats_and_another_one_differs() -> None:
    def run(seed: int) -> list[dict[str, Any]]:
        probe = SimMicroprobe(SimSample.cells(1), seed=seed, top_up=True)
        return [shoot(probe, x, 20.0) for x in np.linspace(0.0, 39.0, 20)]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_a_detector_counts_the_same_whoever_counts_beside_it() -> None:
    alone, together = SimMicroprobe(plane(), seed=4), SimMicroprobe(plane(), seed=4)
    for x in (11.0, 12.0, 13.0):
        counts = shoot(together, x, 5.0)["xrf_Fe"]
        alone.x.set(x), alone.y.set(5.0)  # type: ignore[func-returns-value]
        alone.xrf.trigger()
        assert alone.xrf.read()["xrf_Fe"]["value"] == counts


def test_i0_and_the_counts_fluctuate_together() -> None:
    probe = SimMicroprobe(flat(1e8), i0_rate=1e8, i0_noise=0.1, dead_time_s=0.0, dwell_s=1.0)
    seen = [shoot(probe, 4.0, 4.0) for _ in range(50)]
    i0, fe = (np.array([row[key] for row in seen]) for key in ("i0", "xrf_Fe"))
    assert np.std(i0) / np.mean(i0) == pytest.approx(0.1, rel=0.4)
    assert np.std(fe / i0) / np.mean(fe / i0) < 1e-3


def test_detectors_that_are_triggered_together_share_one_exposure() -> None:
    probe = SimMicroprobe(plane(), dwell_s=0.5, readout_s=0.25)
    probe.xrf.trigger()
    probe.i0.trigger()
    assert probe.clock.now() == 0.75
    stamp = probe.xrf.read()["xrf_Fe"]["timestamp"]
    assert probe.i0.read()["i0"]["timestamp"] == stamp
    probe.transmission.trigger()  # the exposure is read already
    assert probe.clock.now() == 1.5
    probe.transmission.trigger()  # its second exposure
    assert probe.clock.now() == 2.25
    probe.x.set(11.0)
    probe.xrf.trigger()  # the stage has moved
    assert probe.clock.now() == pytest.approx(2.25 + probe.x.seconds(11.0 - 17.25) + 0.75)


def test_the_clock_counts_moves_exposures_and_readout(RE: RunEngine) -> None:
    probe = SimMicroprobe(plane(), dwell_s=0.5, readout_s=0.1)
    began, rows = probe.clock.now(), []
    assert not probe.clock.waits

    def keep(name: str, doc: dict[str, Any]) -> None:
        if name == "event":
            rows.append(doc["data"])

    RE(grid_scan(probe.detectors, probe.y, 0.0, 2.0, 3, probe.x, 11.0, 12.5, 4), keep)
    assert len(rows) == 12
    moves = 9 * probe.x.seconds(0.5) + 2 * probe.x.seconds(1.5)  # y moves meanwhile
    first = max(probe.x.seconds(17.25 - 11.0), probe.y.seconds(4.5))
    assert probe.clock.now() - began == pytest.approx(12 * 0.6 + moves + first, rel=1e-3)
    keys = {"sample_x", "sample_y", "xrf_Fe", "xrf_Cr", "xrf_live_time", "xrf_real_time", "stxm_counts"}
    assert keys | {"darkfield_counts", "xanes_mu", "xanes_it", "i0"} == set(rows[0])


def test_the_dwell_time_is_moved_like_a_motor(RE: RunEngine) -> None:
    probe = SimMicroprobe(flat(1e4), dead_time_s=0.0)
    RE(bps.mv(probe.dwell, 2.0))
    assert shoot(probe, 4.0, 4.0)["xrf_Fe"] == pytest.approx(2e4, rel=0.05)
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(LimitError, match="dwell"):
            probe.dwell.set(wrong)
    assert probe.dwell.position == 2.0


def test_faults_hold_for_their_exposures() -> None:
    faults = [
        Fault("beam dump", 2, 2),
        Fault("nan", 3, 3),
        Fault("timeout", 5, 5),
        Fault("stuck motor", 7, 7, "sample_x"),
    ]
    probe = SimMicroprobe(flat(1e5), faults=faults, spectrum=True)
    good, dark, lost, after = (shoot(probe, 4.0, 4.0) for _ in range(4))
    assert good["xrf_Fe"] > 2000.0
    assert (dark["xrf_Fe"], dark["i0"], dark["stxm_counts"]) == (0.0, 0.0, 0.0)
    assert all(np.all(value == 0) if key == "xrf_spectrum" else math.isnan(value) for key, value in lost.items())
    assert after["xrf_Fe"] > 2000.0
    hung = [detector.trigger() for detector in probe.detectors]
    assert not any(status.done for status in hung)
    hung[0].set_finished()  # so that its thread ends
    assert shoot(probe)["xrf_Fe"] > 2000.0
    assert not probe.x.set(5.0).done
    probe.x.stop()
    shoot(probe)
    assert probe.x.set(5.0).done


def test_faults_hold_for_rows_of_a_flown_line_too() -> None:
    probe = SimMicroprobe(flat(1e5), faults=[Fault("shutter closed", 3, 4), Fault("nan", 6, 6)])
    probe.flyer.prepare(Line({"sample_x": 0.0}, {"sample_x": 7.0}, rows=7, seconds=0.7))
    probe.flyer.kickoff()
    (page,) = probe.flyer.collect_pages()
    counts = page["data"]["xrf_Fe"]
    assert counts[2:4] == [0.0, 0.0]
    assert math.isnan(counts[5])
    assert min(counts[:2] + [counts[4], counts[6]]) > 5000.0


def test_the_magics_of_bluesky_find_the_devices() -> None:
    probe = SimMicroprobe(flat(1.0))
    assert {"x", "y", "energy", "xrf", "transmission", "absorption", "i0"} <= set(probe.component_names)
    assert probe.x._ophyd_labels_ == {"motors"}
    assert probe.xrf._ophyd_labels_ == {"detectors"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dwell_s": 0.0}, "dwell=0.0"),
        ({"faults": [Fault("stuck motor", 1, 1, "kbv_pitch")]}, r"\['kbv_pitch'\]"),
        ({"beam_um": -1.0}, "beam_um=-1.0"),
        ({"beam_um": 1e6}, "too wide"),
        ({"i0_rate": math.nan}, "i0_rate=nan"),
        ({"dead_time_s": -1e-6}, "dead_time_s=-1e-06"),
        ({"drift_um_per_hour": "fast"}, "drift_um_per_hour='fast'"),
        ({"motors": {"stage": {}}}, r"\['stage'\]"),
    ],
)
def test_wrong_options_are_refused(options: Any, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        SimMicroprobe(plane(), **options)


def test_motors_are_as_they_are_asked_for() -> None:
    probe = SimMicroprobe(plane(), motors={"sample_x": {"limits": (10.0, 24.5), "velocity": 7.0}})
    assert probe.x.limits == (10.0, 24.5)
    assert probe.x.velocity == 7.0
    with pytest.raises(LimitError):
        probe.x.set(9.9)


def test_on_a_slow_clock_exposures_take_wall_time() -> None:
    probe = SimMicroprobe(plane(), speed=2.0, dwell_s=0.2, readout_s=0.0)
    began = time.monotonic()
    statuses = [detector.trigger() for detector in probe.detectors]
    for status in statuses:
        status.wait(timeout=60)
    assert time.monotonic() - began >= 0.1
    stamps = {item["timestamp"] for detector in probe.detectors for item in detector.read().values()}
    assert len(stamps) == 1


ELEMENTS = {"Ca": 3e4, "Fe": 5e4, "Zn": 1e4, "Pb": 2e4}


def test_regions_of_the_spectrum_hold_the_counts_of_their_elements() -> None:
    sample = SimSample.from_maps({name: np.full((3, 3), rate) for name, rate in ELEMENTS.items()}, step_um=1.0)
    probe = SimMicroprobe(sample, spectrum=True, dwell_s=1.0)
    assert probe.xrf.spectrum is not None
    probe.energy.set(14000.0)
    seen = shoot(probe, 1.0, 1.0)
    spectrum = seen["xrf_spectrum"]
    assert spectrum.shape == (probe.xrf.spectrum.bins,)
    assert spectrum.sum() == sum(seen[f"xrf_{name}"] for name in ELEMENTS)
    shares = probe.xrf.spectrum.shares(14000.0)
    regions = probe.xrf.spectrum.regions(14000.0)
    assert set(regions) == set(ELEMENTS)
    for name, (low, high) in regions.items():
        expected = sum(share * seen[f"xrf_{other}"] for other, share in shares[name].items())
        assert spectrum[low:high].sum() == pytest.approx(expected, abs=5.0 * math.sqrt(expected) + 1.0)
        assert shares[name][name] > 0.99
    peak = probe.xrf.spectrum.energies_ev[spectrum.argmax()]
    assert peak == pytest.approx(6404.0, abs=25.0)  # the Kα line of iron


def test_the_spectrum_shows_the_lines_that_the_beam_excites() -> None:
    sample = SimSample.from_maps({"He": np.full((2, 2), 1e4), "Fe": np.full((2, 2), 1e4)}, step_um=1.0)
    probe = SimMicroprobe(sample, spectrum=True)
    assert probe.xrf.spectrum is not None
    for energy, line in [(7200.0, 6404.0), (7000.0, 705.0)]:
        assert set(probe.xrf.spectrum.regions(energy)) == {"Fe"}
        probe.energy.set(energy)
        seen = shoot(probe, 0.5, 0.5)
        assert seen["xrf_spectrum"].sum() == seen["xrf_Fe"]
        assert probe.xrf.spectrum.energies_ev[seen["xrf_spectrum"].argmax()] == pytest.approx(line, abs=60.0)


def test_spectra_need_elements_and_xraylib(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInputError, match="'haem' is no chemical element"):
        SimMicroprobe(SimSample.from_maps({"haem": [[1.0]]}, step_um=1.0), spectrum=True)
    monkeypatch.setitem(sys.modules, "xraylib", None)
    with pytest.raises(EblError, match=r"pip install 'ebl-autonomy\[spectra\]'"):
        SimMicroprobe(flat(1.0), spectrum=True)
    assert shoot(SimMicroprobe(flat(1.0)))["xrf_Fe"] >= 0.0
