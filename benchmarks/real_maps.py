"""Measured maps as the truth of a benchmark: noisy measurements of them, and how far a map is from the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.spatial import cKDTree
from skimage.metrics import structural_similarity

from ebl_autonomy.testing import measured_file

STRONG = 1000.0
"""Counts of the strongest channel's brightest percent."""
NOISE = 0.02
"""Standard deviation of an optical density."""


@dataclass(frozen=True)
class Case:
    """A truth, shape (channels, rows, columns), per dwell time; counts or not."""

    name: str
    truth: np.ndarray
    counts: bool

    @property
    def shape(self) -> tuple[int, int]:
        return self.truth.shape[1], self.truth.shape[2]

    def measured(self, pixels: np.ndarray, rng: np.random.Generator, exposure: float = 1.0) -> np.ndarray:
        """Measurements, shape (n, channels), per dwell time, with `exposure` times that long."""
        rates = self.truth.reshape(len(self.truth), -1)[:, pixels].T
        return self.noisy(rates, rng, exposure)

    def noisy(self, rates: np.ndarray, rng: np.random.Generator, exposure: float = 1.0) -> np.ndarray:
        if self.counts:
            return rng.poisson(rates * exposure) / exposure
        return rng.normal(rates, NOISE / math.sqrt(exposure))


@cache
def cases() -> dict[str, Case]:
    """The maps by name."""
    found = {}
    with np.load(measured_file("hxn_fe_nanoxrf_nanoxanes.npz")) as file:
        maps = dict(zip(map(str, file["xrf_elements"]), file["xrf"].astype(float), strict=True))
    for name, channels in (("Fe", ["Fe"]), ("Cr", ["Cr"]), ("five", list(maps))):
        truth = np.stack([maps[channel] for channel in channels])
        found[name] = Case(name, truth * STRONG / max(np.percentile(one, 99) for one in truth), True)
    with np.load(measured_file("als_stxm_FeL_71214078.npz")) as file:
        k = int(np.argmin(np.abs(file["energy_eV"] - 709.5)))
        density = np.log(file["i0"][k, 1] / np.maximum(file["stack"][k] * float(file["scale"]), 1e-3))
    found["STXM"] = Case("STXM", density[None].astype(float), False)
    return found


def scores(maps: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """NRMSE and SSIM, the mean over the channels."""
    errors = [np.sqrt(np.mean((a - b) ** 2)) / b.std() for a, b in zip(maps, truth, strict=True)]
    alike = [structural_similarity(b, a, data_range=np.ptp(b)) for a, b in zip(maps, truth, strict=True)]
    return float(np.mean(errors)), float(np.mean(alike))


def by_distance(pixels: np.ndarray, values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Inverse distances squared of the ten nearest; maps of shape (channels, rows, columns)."""
    points = np.stack(np.divmod(pixels, shape[1]), axis=1)
    distance, index = cKDTree(points).query(np.indices(shape).reshape(2, -1).T, k=min(10, len(points)))
    weights = 1.0 / np.maximum(distance, 1e-9) ** 2
    maps = (weights[..., None] * values[index]).sum(axis=1) / weights.sum(axis=1, keepdims=True)
    return maps.T.reshape(-1, *shape)
