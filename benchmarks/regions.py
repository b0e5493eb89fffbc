"""Regions of interest: minority phases of a real sample inside the fine scans, phase labels, and regions against truth.

The real sample is the model aggregate of LiFePO4, pyrite, steel and hematite that was measured at HXN (NSLS-II), its
X-ray fluorescence maps played through Poisson noise. ROIAgent measures every fifth pixel of every fifth row, finds the
regions of the minority phases from P, S, Cr and Fe alone, and scans these at the full resolution. Seconds are those of
dwell, moves, and the overhead of each run; all together may take a quarter of a raster. The sample is where the sum of
the true phase weights, as its square root, is above Otsu's threshold; each of its pixels belongs to the phase with the
largest weight, and a minority phase is one with less than half of the sample's pixels. Phase labels are compared over
the sample's pixels by the adjusted Rand index; k-means sees the counts of all channels, each in units of its standard
deviation.

The procedural samples come with the truth. A thing is found if half of it lies in regions, and a region is right if
half of it lies on things. Compared are a median filter with 1.25 times Otsu's threshold, erosion, dilation and more
than 8 pixels, and the mean plus two standard deviations.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from scipy import ndimage

from benchmarks.reporting import Report, median, table
from ebl_autonomy.agents import ROIAgent
from ebl_autonomy.analysis.regions import Maps, dominant_phase, find_regions, marker_ratios, minority_phases, phase_maps
from ebl_autonomy.errors import NoMoreProposals
from ebl_autonomy.pixels import PixelGrid
from ebl_autonomy.sim_devices import SimSample
from ebl_autonomy.space import AxisTravel, FloatArray, Travel
from ebl_autonomy.testing import measured_file

HXN = "hxn_fe_nanoxrf_nanoxanes.npz"
MARKERS: dict[str, str | None] = {"LiFePO4": "P", "Pyrite": "S", "StainlessSteelNP": "Cr", "Hematite_NP": None}
"""The element that marks each phase of the sample; all of them hold Fe."""
COARSE = 5
"""Fine pixels per coarse pixel, along each axis."""
DWELL_S = 0.05
STAGE = AxisTravel(velocity=20.0, acceleration_s=0.01, settle_s=0.01)
"""A piezo stage, µm/s."""
SHARE = 0.25
"""Of the time of a raster at the full resolution, that a survey may take."""
OVERHEADS = (0.0, 2.0)
"""Seconds of each run beside its dwell and moves."""
WAY_S = 0.1
"""Seconds from one fine scan to the next, and along its rows beside its pixels; moves, which are counted anyway."""
COUNTS = {"bright": 200.0, "dim": 50.0}
"""Counts in a fine pixel per unit of the published maps: Fe has 2700 at its 99th percentile, or a quarter of it."""


@dataclass(frozen=True)
class Truth:
    """The real sample.

    Attributes
    ----------
    rates : mapping of str to FloatArray, shape (ny, nx)
        By element, in the published unit.
    labels : int array, shape (ny, nx)
        1 for the first phase of `MARKERS`, and so on; 0 outside of the sample.
    grid : PixelGrid
        µm.
    """

    rates: Mapping[str, FloatArray]
    labels: np.ndarray
    grid: PixelGrid

    @property
    def minorities(self) -> list[str]:
        weights = {name: (self.labels == i).astype(float) for i, name in enumerate(MARKERS, 1)}
        return list(minority_phases(weights))

    def area(self, phase: str) -> np.ndarray:
        """Where the phase dominates."""
        return np.asarray(self.labels == 1 + list(MARKERS).index(phase))


@cache
def hxn() -> Truth:
    """The sample; its phase weights begin five rows above its fluorescence maps."""
    from skimage.filters import threshold_otsu

    with np.load(measured_file(HXN)) as data:
        elements = [str(name) for name in data["xrf_elements"]]
        rates = np.maximum(data["xrf"].astype(float), 0.0)[:, 5:]
        weights = {
            str(name): one.astype(float)
            for name, one in zip(data["chemical_phases"], data["chemical_map"], strict=True)
        }
        pixel = round(float(data["pixel_um"]), 6)
    total = np.sqrt(np.sum(list(weights.values()), axis=0))
    labels = dominant_phase({name: weights[name] for name in MARKERS}, total > threshold_otsu(total))
    ny, nx = labels.shape
    grid = PixelGrid((0.0, nx * pixel), (0.0, ny * pixel), (ny, nx))
    return Truth(dict(zip(elements, rates, strict=True)), labels, grid)


@dataclass(frozen=True)
class Survey:
    """What a survey by ROIAgent came to.

    Attributes
    ----------
    inside : dict of str to float
        Share of each minority phase's area inside the fine scans.
    time : float
        Seconds over those of a raster at the full resolution, both with the overhead of each run.
    regions, points : int
        Fine scans, and readings in all.
    """

    inside: dict[str, float]
    time: float
    regions: int
    points: int


def survey(seed: int, counts: float, overhead_s: float = 0.0) -> Survey:
    """Let ROIAgent survey the real sample, every pixel measured with Poisson noise."""
    truth = hxn()
    grid = truth.grid
    rng = np.random.default_rng(seed)
    raster = seconds(_path(grid)) + overhead_s
    coarse = seconds(_path(PixelGrid.of_step(grid.x, grid.y, COARSE * grid.step[0]))) + overhead_s
    agent = ROIAgent(
        {"variables": {"x": list(grid.x), "y": list(grid.y)}, "observables": list(truth.rates)},
        seed=seed,
        coarse_step=COARSE * grid.step[0],
        fine_step=grid.step[0],
        dwell_s=DWELL_S,
        regions={
            "phases": {"markers": MARKERS, "common": "Fe"},
            "refine": COARSE,
            "margin": 0.0,
            "time_share": SHARE - coarse / raster,
            "overhead_s": overhead_s + WAY_S,
            "pixel_s": raster / grid.size,
        },
    )
    path = []
    for point in _proposals(agent):
        (row,), (column,) = grid.indices([point["x"]], [point["y"]])
        path.append(point)
        agent.ingest([{**point, **{name: rng.poisson(one[row, column] * counts) for name, one in truth.rates.items()}}])
    scanned = np.zeros(grid.shape, dtype=bool)
    for region in agent.regions():
        rows, columns = grid.indices(*np.array(list(_raster(agent.fine(region)))).T)
        scanned[rows, columns] = True
    inside = {phase: float(scanned[truth.area(phase)].mean()) for phase in truth.minorities}
    taken = seconds(path) + overhead_s * (1 + len(agent.regions()))
    return Survey(inside, taken / raster, len(agent.regions()), len(path))


def _proposals(agent: ROIAgent) -> Iterator[dict[str, Any]]:
    while True:
        try:
            yield from agent.suggest(1)  # as a plan would
        except NoMoreProposals:
            return


def _raster(grid: PixelGrid) -> Iterator[tuple[float, float]]:
    for row, y in enumerate(grid.centres_y):
        for x in grid.centres_x[:: -1 if row % 2 else 1]:
            yield float(x), float(y)


def _path(grid: PixelGrid) -> list[dict[str, float]]:
    return [{"x": x, "y": y} for x, y in _raster(grid)]


def seconds(path: Sequence[Mapping[str, float]]) -> float:
    """Dwell and moves from point to point."""
    travel = Travel({"x": STAGE, "y": STAGE})
    xs, ys = (np.array([point[name] for point in path]) for name in ("x", "y"))
    moves = np.maximum(travel.axes["x"].seconds(np.diff(xs)), travel.axes["y"].seconds(np.diff(ys)))
    return float(DWELL_S * len(path) + moves.sum())


@dataclass(frozen=True)
class Labels:
    """Adjusted Rand index of the labels of the sample's pixels, by method."""

    kmeans: float
    fine: float
    coarse: float


def label(seed: int, counts: float) -> Labels:
    """Labels from the elements alone: k-means, and the marker elements on the full and on the coarse map."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    truth = hxn()
    noisy = {
        name: np.random.default_rng([seed, i]).poisson(one * counts)
        for i, (name, one) in enumerate(truth.rates.items())
    }
    sample = truth.labels > 0
    table_ = np.stack([one[sample].astype(float) for one in noisy.values()], axis=-1)
    clusters = KMeans(len(MARKERS), n_init=5, random_state=seed).fit_predict(table_ / table_.std(axis=0))
    full = Maps(noisy, truth.grid.centres_x, truth.grid.centres_y, dwell_s=DWELL_S)
    half = COARSE // 2
    few = {name: one[half::COARSE, half::COARSE] for name, one in noisy.items()}
    coarse = Maps(few, full.x[half::COARSE], full.y[half::COARSE], dwell_s=DWELL_S)
    markers = [name for name in MARKERS.values() if name is not None]
    found = dominant_phase(phase_maps(full, MARKERS, "Fe").channels)
    refined = coarse.refined(COARSE)
    shares = phase_maps(
        refined, MARKERS, "Fe", ratios=marker_ratios(coarse, markers, "Fe"), window=1, present=refined.rate("Fe") > 0.0
    )
    guess = np.zeros(truth.labels.shape, dtype=np.int64)
    part = dominant_phase(shares.channels)[: guess.shape[0], : guess.shape[1]]
    guess[: part.shape[0], : part.shape[1]] = part
    return Labels(
        *(float(adjusted_rand_score(truth.labels[sample], one)) for one in (clusters, found[sample], guess[sample]))
    )


# -- procedural samples ----------------------------------------------------------------------------------------

SAMPLES = ("particles", "cells", "blobs")
DWELLS = (3e-4, 3e-3, 3e-2)
"""Seconds: from a few counts in a pixel of a thing to hundreds."""
BACKGROUND = 2000.0
"""Counts per second, of every channel."""


def sample_of(kind: str, seed: int) -> tuple[dict[str, FloatArray], np.ndarray, FloatArray, FloatArray]:
    """Rates by channel, labels, and the axes of a procedural sample, every second pixel of it."""
    if kind == "blobs":
        return blobs(seed)
    sample = getattr(SimSample, kind)(seed)
    part = np.s_[::2, ::2]
    rates = {name: one[part] + BACKGROUND for name, one in sample.maps.items()}
    return rates, sample.labels[part], sample.x_um[::2], sample.y_um[::2]


def blobs(seed: int) -> tuple[dict[str, FloatArray], np.ndarray, FloatArray, FloatArray]:
    """Ellipses of very different size and brightness on a sloping background; pixels wider than high, y descending."""
    rng = np.random.default_rng(seed)
    x, y = 5.0 + 0.4 * np.arange(70), (0.2 * np.arange(100))[::-1]
    across, down = np.meshgrid(x, y)
    labels = np.zeros(across.shape, dtype=np.int64)
    slope = BACKGROUND * (1.0 + 0.3 * (across - x[0]) / np.ptp(x))
    rates = {"A": slope.copy(), "B": slope[:, ::-1].copy()}
    for number in range(1, 13):
        a, b, turn = rng.uniform(0.4, 2.0), rng.uniform(0.4, 2.0), rng.uniform(0.0, math.pi)
        dx, dy = across - rng.uniform(x[0] + 2, x[-1] - 2), down - rng.uniform(y.min() + 2, y.max() - 2)
        u, v = dx * math.cos(turn) + dy * math.sin(turn), dy * math.cos(turn) - dx * math.sin(turn)
        thing = (u / a) ** 2 + (v / b) ** 2 < 1.0
        labels[thing] = number
        rates["AB"[number % 2]][thing] += BACKGROUND * 10.0 ** rng.uniform(0.3, 1.5)
    return rates, labels, x, y


@dataclass(frozen=True)
class Score:
    """Shares of the things that are found, and of the regions that are right; of their pixels likewise."""

    recall: float
    precision: float
    pixels_found: float
    pixels_right: float


def masks_of(
    method: str, counts: Mapping[str, np.ndarray], x: FloatArray, y: FloatArray, dwell_s: float
) -> list[np.ndarray]:
    """The regions of a method, as masks."""
    if method == "find_regions":
        found = find_regions(Maps(counts, x, y, dwell_s=dwell_s), {"together": True})
        return [region.mask for region in found if region.mask is not None]
    masks: list[np.ndarray] = []
    total = np.zeros(next(iter(counts.values())).shape, dtype=bool)
    for one in counts.values():
        total |= _otsu(one) if method == "1.25 Otsu" else one > one.mean() + 2.0 * one.std()
    labels, number = ndimage.label(total, np.ones((3, 3)))
    masks += [labels == i for i in range(1, number + 1)]
    return [mask for mask in masks if mask.sum() > 8] if method == "1.25 Otsu" else masks


def _otsu(counts: np.ndarray) -> np.ndarray:
    from skimage.filters import threshold_otsu

    smooth = ndimage.median_filter(counts.astype(float), 3)
    return np.asarray(ndimage.binary_dilation(ndimage.binary_erosion(smooth > 1.25 * threshold_otsu(smooth))))


def score(masks: Sequence[np.ndarray], labels: np.ndarray) -> Score:
    """Regions against truth."""
    union = np.any(masks, axis=0) if masks else np.zeros(labels.shape, dtype=bool)
    things = [number for number in range(1, labels.max() + 1) if (labels == number).any()]
    found = [float(union[labels == number].mean()) >= 0.5 for number in things]
    right = [float((labels[mask] > 0).mean()) >= 0.5 for mask in masks]
    common = float((union & (labels > 0)).sum())
    return Score(
        float(np.mean(found)),
        float(np.mean(right)) if right else math.nan,
        common / float((labels > 0).sum()),
        common / float(union.sum()) if union.any() else math.nan,
    )


METHODS = ("find_regions", "1.25 Otsu", "mean + 2 std")


def against_truth(kind: str, dwell_s: float, seed: int) -> dict[str, Score]:
    """All methods on one procedural sample."""
    rates, labels, x, y = sample_of(kind, seed)
    rng = np.random.default_rng([seed, 1])
    counts = {name: rng.poisson(one * dwell_s) for name, one in rates.items()}
    return {method: score(masks_of(method, counts, x, y, dwell_s), labels) for method in METHODS}


# -- the report ------------------------------------------------------------------------------------------------


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=5, help="how many (default 5)")
    parser.add_argument("--samples", nargs="+", choices=SAMPLES, default=list(SAMPLES))


def lines(options: argparse.Namespace) -> Iterator[str]:
    """The report."""
    seeds = range(options.seeds)
    yield f"\nROIAgent on the HXN sample, one of {COARSE} x {COARSE} pixels first; median of {len(seeds)} (worst):\n"
    rows = []
    for (name, counts), overhead in product(COUNTS.items(), OVERHEADS):
        surveys = [survey(seed, counts, overhead) for seed in seeds]
        inside = [worst(phase, surveys) for phase in hxn().minorities]
        times = [one.time for one in surveys]
        rows.append([
            name, f"{overhead:g} s", *inside, f"{100 * median(times):.1f} % ({100 * max(times):.1f} %)",
            f"{median([one.regions for one in surveys]):.0f}", f"{median([one.points for one in surveys]):.0f}",
        ])  # fmt: skip
    yield table(
        [
            "counts",
            "overhead of a run",
            *(f"{name} inside" for name in hxn().minorities),
            "raster time",
            "fine scans",
            "readings",
        ],
        rows,
    )
    yield "\nAdjusted Rand index of phase labels before any spectrum:\n"
    rows = []
    for name, counts in COUNTS.items():
        found = [label(seed, counts) for seed in seeds]
        rows.append(
            [name, *(f"{median([getattr(one, key) for one in found]):.2f}" for key in ("kmeans", "fine", "coarse"))]
        )
    yield table(["counts", "k-means", "markers, every pixel", "markers, coarse map"], rows)
    yield f"\nRegions on procedural samples against truth; mean over {len(seeds)} seeds:\n"
    rows = []
    for kind in options.samples:
        for dwell in DWELLS:
            scores = [against_truth(kind, dwell, seed) for seed in seeds]
            for method in METHODS:
                of = [one[method] for one in scores]
                keys = ("recall", "precision", "pixels_found", "pixels_right")
                rows.append(
                    [f"{kind}, {1e3 * dwell:g} ms", method, *(_mean([getattr(one, key) for one in of]) for key in keys)]
                )
    yield table(["sample", "method", "things found", "regions right", "pixels found", "pixels right"], rows)


def worst(phase: str, surveys: Sequence[Survey]) -> str:
    """Median and smallest share of a phase inside the fine scans."""
    shares = [one.inside[phase] for one in surveys]
    return f"{100 * median(shares):.1f} % ({100 * min(shares):.1f} %)"


def _mean(values: Sequence[float]) -> str:
    known = [value for value in values if math.isfinite(value)]
    return f"{np.mean(known):.2f}" if known else "no region"


REPORT = Report("regions", __doc__, arguments, lines)
