"""Spectra from few energies, on measured ones: how well they are rebuilt, and how well phases are told apart.

The first table takes transmission spectra of the XAS Data Library (K edges of Mn, Fe, Ni, Cu and Zn), cuts out the
XANES region, and lets each method measure 18 % of its energies. The agent is told the tabulated edge. Errors are those
against the whole measured spectrum, normalised to an edge step of 1, so they include its noise. The samples are split
in halves, repeated scans of a sample in the same; the agent's constants were chosen on the half for development.
White lines count where the whole spectrum has a clear maximum behind the edge.

The second table takes the phase map of the HXN sample, rebuilds its stack of 73 energies from the reference spectra,
adds Poisson noise, and fits the four phases in each pixel. The agent steers by the mean spectra of some blocks of
pixels, as of coarse regions.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.interpolate import Akima1DInterpolator
from sklearn.metrics import adjusted_rand_score

from benchmarks.reporting import Progress, Report, table
from ebl_autonomy.agents import EnergyAgent
from ebl_autonomy.analysis.spectra import (
    References,
    edge_energy,
    edge_position,
    fit_phases,
    normalise,
    white_line,
)
from ebl_autonomy.space import FloatArray
from ebl_autonomy.testing import measured_file

SHARE = 0.18
"""Share of the energies that is measured."""
BATCH = 4
REGIONS: dict[str, tuple[float, float, float | None]] = {
    "-50 to 100 eV, as measured": (-50.0, 100.0, None),
    "-30 to 80 eV, as measured": (-30.0, 80.0, None),
    "-50 to 100 eV, every 0.5 eV": (-50.0, 100.0, 0.5),
}
"""Range about the edge, and the step to which a spectrum is interpolated."""
PHASES = {
    "LiFePO4": "LiFe(II)PO4",
    "Pyrite": "Pyrite",
    "StainlessSteelNP": "StainlessSteelNP",
    "Hematite_NP": "Hematite_NP",
}
"""Reference spectrum of each phase of the map."""
BLOCKS = 8
"""Mean spectra by which the agent steers."""
PRESENT = 0.02
"""Least amount of all phases in a pixel of the sample, as a share of the largest."""
SIGNALS = {
    "transmission, 1e5 photons": ("transmission", 1e5),
    "transmission, 1e6 photons": ("transmission", 1e6),
    "fluorescence, 2000 counts at most": ("fluorescence", 2e3),
    "fluorescence, 2e4 counts at most": ("fluorescence", 2e4),
}
"""Kind of detection, and photons per pixel and energy."""


@dataclass(frozen=True)
class Measured:
    """One measured spectrum: its sample, tabulated edge in eV, energies in eV, and ln(I0 / I), shape (n,) each."""

    sample: str
    tabulated: float
    energies: FloatArray
    absorption: FloatArray

    def region(self, low: float, high: float, step: float | None) -> tuple[FloatArray, FloatArray]:
        """Energies about the edge, and the spectrum normalised there."""
        near = (self.energies > self.tabulated - 25.0) & (self.energies < self.tabulated + 40.0)
        edge = edge_position(self.energies[near], self.absorption[near])
        part = (self.energies >= edge + low) & (self.energies <= edge + high)
        energies = self.energies[part]
        flat = normalise(energies, self.absorption[part]).flat
        if step is None:
            return energies, flat
        grid = np.arange(energies[0], energies[-1], step)
        return grid, np.interp(grid, energies, flat)


@dataclass(frozen=True)
class Score:
    """How well one spectrum was rebuilt; energies in eV."""

    rmse: float
    edge: float
    half_step: float
    white_line: float
    predicted: float = np.nan
    """The predicted error over the true one."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=3, help="noise of the phase maps")
    parser.add_argument("--spectra", type=int, help="use only so many spectra of each half")


def lines(options: argparse.Namespace) -> Iterator[str]:
    """The report: a table of rebuilt spectra, and one of phases."""
    yield from _rebuilt(options.spectra)
    yield ""
    yield from _phases(options.seeds)


# -- spectra -----------------------------------------------------------------------------------------------------------


def _rebuilt(most: int | None) -> Iterator[str]:
    halves = {name: part[:most] for name, part in halves_of(library()).items()}
    progress = Progress("spectra", len(REGIONS) * len(halves))
    rows = []
    decisions: list[float] = []
    for region, cut in REGIONS.items():
        for half, spectra in halves.items():
            spans = [spectrum.region(*cut) for spectrum in spectra]
            for method, rebuild in {"EnergyAgent": by_agent(decisions), "evenly spaced, Akima": evenly}.items():
                scores = [
                    score(*span, *rebuild(*span, spectrum.tabulated))
                    for span, spectrum in zip(spans, spectra, strict=True)
                ]
                rows.append([region, f"{half} ({len(spectra)})", method, *_summary(scores)])
            progress.step()
    yield (
        f"{SHARE:.0%} of the energies; medians over the spectra. A decision of the agent, for {BATCH} energies, takes "
        f"{1e3 * float(np.median(decisions)):.0f} ms in the median.\n"
    )
    head = ["region", "half (spectra)", "method", "RMSE", "under 0.005", "edge, eV", "half step, eV", "white line, eV"]
    yield table([*head, "predicted / true"], rows)


def library() -> list[Measured]:
    """All measured spectra whose edge is known."""
    found = []
    for path in sorted(measured_file("xas_xdi").glob("*.xdi")):
        head, rows = [], []
        for line in path.read_text(errors="replace").splitlines():
            (head if line.startswith("#") else rows).append(line.lstrip("# "))
        fields = dict(line.split(":", 1) for line in head if ":" in line)
        names = {k.split(".")[1]: v.split()[0] for k, v in fields.items() if k.startswith("Column.")}
        data = np.array([[float(word) for word in row.split()] for row in rows if row.strip()])
        column = {name: data[:, int(number) - 1] for number, name in names.items() if int(number) <= data.shape[1]}
        absorption = column["mutrans"] if "itrans" not in column else np.log(column["i0"] / column["itrans"])
        energies, first = np.unique(column["energy"], return_index=True)
        apart = np.concatenate([[True], np.diff(energies) > 1e-3])
        edge = edge_energy(f"{fields['Element.symbol'].strip()} {fields.get('Element.edge', 'K').strip()}")
        found.append(Measured(_sample(path), edge, energies[apart], absorption[first][apart]))
    return found


def _sample(path: Path) -> str:
    """Name of the sample: that of the file without the number of the scan."""
    return re.sub(r"_(rt_)?0*\d$", "", path.stem)


def halves_of(spectra: list[Measured]) -> dict[str, list[Measured]]:
    """Every other sample for development, the others for the test."""
    samples = sorted({spectrum.sample for spectrum in spectra})
    return {
        half: [spectrum for spectrum in spectra if samples.index(spectrum.sample) % 2 == parity]
        for parity, half in enumerate(("development", "test"))
    }


def by_agent(decisions: list[float]) -> Callable[[FloatArray, FloatArray, float], tuple[FloatArray, float]]:
    """The spectrum that the agent rebuilds and its predicted RMSE; the seconds of each decision are added."""

    def rebuild(energies: FloatArray, flat: FloatArray, tabulated: float) -> tuple[FloatArray, float]:
        variable = {"type": "DiscreteVariable", "values": energies.tolist()}
        agent = EnergyAgent({"variables": {"energy": variable}, "observables": ["mu"]}, edge=tabulated)
        total = int(SHARE * len(energies))
        while len(agent.results) < total:
            began = time.perf_counter()
            points = agent.suggest(min(BATCH, total - len(agent.results)))
            decisions.append(time.perf_counter() - began)
            places = [int(np.argmin(np.abs(energies - point["energy"]))) for point in points]
            agent.ingest([{**p, "mu": float(flat[i])} for p, i in zip(points, places, strict=True)])
        mean, _ = agent.spectrum(energies)
        return mean, agent.predicted_error()["mu"] * float(np.ptp(mean))

    return rebuild


def evenly(energies: FloatArray, flat: FloatArray, _: float) -> tuple[FloatArray, float]:
    """As many energies at even distances in eV, and Akima's interpolation."""
    wanted = np.linspace(energies[0], energies[-1], int(SHARE * len(energies)))
    places = np.unique([int(np.argmin(np.abs(energies - energy))) for energy in wanted])
    return np.asarray(Akima1DInterpolator(energies[places], flat[places])(energies), dtype=float), np.nan


def score(energies: FloatArray, flat: FloatArray, rebuilt: FloatArray, predicted: float) -> Score:
    """Errors of a rebuilt spectrum against the whole one."""
    rmse = float(np.sqrt(np.mean((rebuilt - flat) ** 2)))
    edges = [
        abs(edge_position(energies, rebuilt, method) - edge_position(energies, flat, method))
        for method in ("derivative", "half_step")
    ]
    lines_ = white_line(energies, flat), white_line(energies, rebuilt)
    apart = abs(lines_[0].energy - lines_[1].energy) if lines_[0] and lines_[1] else np.nan
    return Score(rmse, *edges, apart, predicted / rmse if rmse else np.nan)


def _summary(scores: list[Score]) -> list[str]:
    rmse = np.array([one.rmse for one in scores])
    positions = [[getattr(one, part) for one in scores] for part in ("edge", "half_step", "white_line")]
    predicted = float(np.median([one.predicted for one in scores]))
    return [
        f"{np.median(rmse):.4f}",
        f"{np.mean(rmse < 0.005):.0%}",
        *(f"{np.nanmedian(position):.3f}" for position in positions),
        f"{predicted:.2f}" if np.isfinite(predicted) else "",
    ]


# -- phases ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stack:
    """The stack of the HXN sample without noise: n energies in eV, and p phases in k pixels."""

    energies: FloatArray
    references: References
    amounts: FloatArray
    """Shape (p, k)."""

    @classmethod
    def load(cls) -> Stack:
        """The measured phase map and references; ahead of the range of the references, they are 0."""
        with np.load(measured_file("hxn_fe_nanoxrf_nanoxanes.npz")) as data:
            names = [str(name) for name in data["ref_names"]]
            spectra, energies = data["ref_mu"].astype(float), data["ref_energy_eV"].astype(float)
            stack, amounts = data["stack_energy_eV"].astype(float), data["chemical_map"].astype(float)
            phases = [str(phase) for phase in data["chemical_phases"]]
        ahead = np.arange(stack.min() - 1.0, energies[0], 1.0)
        known = {
            phase: np.concatenate([np.zeros(len(ahead)), spectra[:, names.index(PHASES[phase])]]) for phase in phases
        }
        total = amounts.sum(axis=0)
        return cls(
            stack, References(np.concatenate([ahead, energies]), known), amounts[:, total > PRESENT * total.max()]
        )

    def noisy(self, kind: str, photons: float, rng: np.random.Generator) -> FloatArray:
        """Absorption of all pixels with Poisson noise, shape (n, k)."""
        absorption = np.maximum(self.references.at(self.energies) @ self.amounts, 0.0)
        if kind == "transmission":
            return np.asarray(-np.log(np.maximum(rng.poisson(photons * np.exp(-absorption)), 1) / photons), dtype=float)
        return np.asarray(
            rng.poisson(photons * absorption / absorption.max()) * absorption.max() / photons, dtype=float
        )


def _phases(seeds: int) -> Iterator[str]:
    stack = Stack.load()
    dominant = stack.amounts.argmax(axis=0)
    progress = Progress("phases", len(SIGNALS))
    rows = []
    for label, (kind, photons) in SIGNALS.items():
        measured: dict[str, list[list[float]]] = {}
        for seed in range(seeds):
            readings = stack.noisy(kind, photons, np.random.default_rng(seed))
            whole = fit_phases(stack.energies, readings, stack.references)
            designs = {"all 73": np.arange(len(stack.energies))}
            designs |= {f"EnergyAgent, {count}": steered(stack, readings, kind, count) for count in (8, 12, 16)}
            designs["evenly spaced, 16"] = np.round(np.linspace(0, len(stack.energies) - 1, 16)).astype(int)
            for name, places in designs.items():
                fit = fit_phases(stack.energies[places], readings[places], stack.references)
                measured.setdefault(name, []).append(
                    [
                        _rms(fit.fractions - whole.fractions),
                        _rms(fit.weights - whole.weights) / float(np.std(whole.weights)),
                        _rms(fit.fractions - stack.amounts / stack.amounts.sum(axis=0)),
                        float(adjusted_rand_score(dominant, fit.weights.argmax(axis=0))),
                    ]
                )
        rows += [
            [label, name, *(f"{value:.3f}" for value in np.mean(values, axis=0))] for name, values in measured.items()
        ]
        progress.step()
    pixels = stack.amounts.shape[1]
    yield (
        f"HXN sample: {len(PHASES)} phases in {pixels} pixels, means of {seeds} seeds. Fractions are shares of the sum "
        "of a pixel; amounts are relative to their standard deviation over the map. The index compares the largest "
        "phase of each pixel with the true one.\n"
    )
    head = ["signal", "energies", "fractions, RMSE to all", "amounts, NRMSE to all", "fractions, RMSE to truth"]
    yield table([*head, "adjusted Rand index"], rows)


def steered(stack: Stack, readings: FloatArray, kind: Any, count: int) -> FloatArray:
    """Places of the energies that the agent chooses by the mean spectra of blocks of pixels."""
    names = [f"block_{i}" for i in range(BLOCKS)]
    block = np.arange(readings.shape[1]) * BLOCKS // readings.shape[1]
    means = np.stack([readings[:, block == i].mean(axis=1) for i in range(BLOCKS)], axis=1)
    variable = {"type": "DiscreteVariable", "values": stack.energies.tolist()}
    agent = EnergyAgent(
        {"variables": {"energy": variable}, "observables": names},
        references={name: spectrum.tolist() for name, spectrum in stack.references.spectra.items()},
        reference_energies=stack.references.energies.tolist(),
        noise=kind,
    )
    places: list[int] = []
    while len(places) < count:
        points = agent.suggest(min(BATCH, count - len(places)))
        chosen = [int(np.argmin(np.abs(stack.energies - point["energy"]))) for point in points]
        agent.ingest(
            [{**p, **dict(zip(names, map(float, means[i]), strict=True))} for p, i in zip(points, chosen, strict=True)]
        )
        places += chosen
    return np.sort(np.array(places))


def _rms(values: FloatArray) -> float:
    return float(np.sqrt(np.nanmean(values**2)))


REPORT = Report("spectra", __doc__, arguments, lines)
