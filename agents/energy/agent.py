"""The agent that chooses the energies of spectra."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import numpy as np

from ebl_autonomy.agents.base import Agent, AgentOptions, Point, Prediction
from ebl_autonomy.agents.energy.options import EnergyOptions
from ebl_autonomy.agents.energy.readings import Choice, Readings, Way
from ebl_autonomy.agents.energy.rebuilding import Rebuilding
from ebl_autonomy.agents.energy.separating import Separating
from ebl_autonomy.analysis.spectra import References, edge_energy, edge_position
from ebl_autonomy.analysis.spectra.edges import METHODS
from ebl_autonomy.errors import AgentError, BadInputError, NoMoreProposals
from ebl_autonomy.records import Decision
from ebl_autonomy.space import VOCS, FloatArray

__all__ = ["EnergyAgent"]

MOST_CANDIDATES: Final = 20_000
LEAST_SPAN_EV: Final = 1.0
"""Least width of a domain: within less, an absorption spectrum has no shape, and energies may be in keV."""
CLEAR: Final = 4.0
"""Least step of an edge, in standard deviations of a reading."""


class EnergyAgent(Agent):
    """Chooses the energies of absorption spectra (XANES), so that few of them tell all.

    The VOCS has one variable, the energy in eV, continuous or discrete. Its outcomes, observables or objectives, are
    the spectra: one per spot or region, in any unit. Without references, the energies are those that rebuild the shape
    of the spectra; with references, those that separate the phases.

    Energies are proposed in sweeps, each of them ascending. An energy is proposed once, whether its result is valid or
    not.

    Parameters
    ----------
    vocs : VOCS or mapping
    seed : int
        No effect: the agent is deterministic.
    **options
        See `ebl_autonomy.agents.EnergyOptions`.

    Raises
    ------
    BadInputError
        If the VOCS has several variables or a constraint, the references do not cover the domain, or references are
        collinear.
    NoMoreProposals
        By ``suggest(n)`` if the target is reached, or fewer than n energies are left; its ``remaining`` is their
        number.
    """

    name = "energy"
    Options: ClassVar[type[AgentOptions]] = EnergyOptions
    orders_batches = True

    def __init__(self, vocs: VOCS | Mapping[str, Any], seed: int = 0, **options: Any) -> None:
        super().__init__(vocs, seed, **options)
        if len(self.space.names) != 1:
            raise BadInputError(
                f"EnergyAgent takes one variable, the energy in eV; the VOCS has {self.space.names}: keep one of them"
            )
        if self.space.logarithmic.any():
            raise BadInputError(f"the energy {self.space.names[0]!r} is on a logarithmic scale: leave log_scale out")
        self._energy = self.space.names[0]
        self._spectra = [*self.vocs.objectives, *self.vocs.observables]
        self._avoided: list[tuple[float, float]] = []
        self._space_changed()

    def _validate_vocs(self, vocs: VOCS) -> None:
        if vocs.constraints:
            raise BadInputError(
                f"EnergyAgent knows no constraints, the VOCS has {list(vocs.constraints)}: make them observables"
            )
        if not vocs.objectives and not vocs.observables:
            raise BadInputError("the VOCS has no outcome: name at least one spectrum under observables")

    def _space_changed(self) -> None:
        span = float(self.space.high[0] - self.space.low[0])
        if span < LEAST_SPAN_EV:
            raise BadInputError(
                f"the domain of {self._energy!r} spans {span:g} eV, from {self.space.low[0]:g} to "
                f"{self.space.high[0]:g}: give the energy in eV, not in keV, or a wider domain"
            )
        every = self._make_candidates()
        allowed = np.ones(len(every), dtype=bool)
        for low, high in self._avoided:
            allowed &= (every < low) | (every > high)
        if not allowed.any():
            raise BadInputError(f"all {len(every)} energies lie in the forbidden regions {self._avoided}: narrow these")
        self._candidates = every[allowed]
        self._way = self._make_way()

    # -- what is known ---------------------------------------------------------------------------------------------

    def spectrum(self, energies: Sequence[float] | FloatArray) -> tuple[FloatArray, FloatArray]:
        """The spectra, rebuilt from the readings.

        Parameters
        ----------
        energies : sequence of float, shape (n,)
            In eV.

        Returns
        -------
        mean, std : FloatArray, shape (n,) or (n, m)
            In the unit of the readings; of m spectra, in the order of the VOCS. NaN for a spectrum without readings.
        """
        mean, std = self._way.spectrum(self._readings(), np.asarray(energies, dtype=float))
        return (mean[:, 0], std[:, 0]) if len(self._spectra) == 1 else (mean, std)

    def edge(self, method: str = "derivative") -> dict[str, float]:
        """Position of the edge of each spectrum, in eV; NaN if none is found that rises above the noise.

        Parameters
        ----------
        method : {"derivative", "half_step"}
            See `ebl_autonomy.analysis.spectra.edge_position`.

        Raises
        ------
        BadInputError
            If there is no such method.
        """
        if method not in METHODS:  # also where no spectrum has an edge to be found
            raise BadInputError(f"method={method!r}: give one of {METHODS}")
        grid = np.arange(self.space.low[0], self.space.high[0], 0.1)
        readings = self._readings()
        mean, _ = self._way.spectrum(readings, grid)
        noise = dict(zip(self._spectra, self._way.noise(readings), strict=True))
        edges = {}
        for name, column, flat in zip(self._spectra, mean.T, self._way.flat(readings), strict=True):
            edges[name] = math.nan
            if flat or not np.isfinite(column).all():
                continue
            edge = edge_position(grid, column, method)
            ahead, behind = column[grid < edge], column[grid > edge]
            if len(ahead) and len(behind) and np.median(behind) - np.median(ahead) > CLEAR * noise[name]:
                edges[name] = edge
        return edges

    def phases(self) -> dict[str, dict[str, dict[str, float]]]:
        """The phases of each spectrum that has enough readings; empty without references.

        Returns
        -------
        dict
            By spectrum and phase: ``amount``, the ends of its confidence interval of 95 % ``low`` and ``high``, its
            ``fraction``, and the standard deviation ``fraction_std``.
        """
        readings = self._readings()
        fit = self._way.fit(readings) if isinstance(self._way, Separating) else None
        if fit is None:
            return {}
        parts = {
            "amount": fit.weights,
            "low": fit.low,
            "high": fit.high,
            "fraction": fit.fractions,
            "fraction_std": fit.fraction_std,
        }
        return {
            readings.names[spectrum]: {
                phase: {key: float(part[row, column]) for key, part in parts.items()}
                for row, phase in enumerate(fit.names)
            }
            for column, spectrum in enumerate(readings.seen)
        }

    def unexplained(self) -> list[str]:
        """The spectra that the references do not explain: a phase is missing among them, or the energies are off."""
        readings = self._readings()
        fit = self._way.fit(readings) if isinstance(self._way, Separating) else None
        if fit is None or not isinstance(self._way, Separating):
            return []
        found = self._way.unexplained(readings, fit)
        return [readings.names[spectrum] for spectrum, bad in zip(readings.seen, found, strict=True) if bad]

    def predicted_error(self) -> dict[str, float]:
        """What the option ``target_error`` is compared with, for each spectrum; infinite if it is not known yet."""
        return dict(zip(self._spectra, map(float, self._way.error(self._readings())), strict=True))

    def predict(self, points: Sequence[Mapping[str, Any]]) -> Prediction:
        """See `Agent.predict`; empty for a spectrum without a model."""
        mean, std = self._way.spectrum(self._readings(), np.array([float(point[self._energy]) for point in points]))
        return {name: (mean[:, i], std[:, i]) for i, name in enumerate(self._spectra) if np.isfinite(mean[:, i]).all()}

    def avoid(self, boxes: Sequence[Mapping[str, tuple[float, float]]]) -> None:
        """Propose no energy inside of these boxes, in eV; each call replaces the one before.

        Raises
        ------
        BadInputError
            If they leave no energy, or none that separate the references; the agent proposes as before.
        """
        self._search_instead("_avoided", [box[self._energy] for box in boxes])

    # -- choice ----------------------------------------------------------------------------------------------------

    def _propose(self, count: int) -> list[tuple[FloatArray, Decision]]:
        self._end_if_reached()
        choice = self._of_sweep(count) or self._choose(len(self._results), count, self._pending)
        order = np.argsort(choice.energies)
        points = [{self._energy: float(energy)} for energy in choice.energies[order]]
        predicted = self.predict(points)
        score = choice.score[order] if len(choice.score) else np.full(count, math.nan)
        decisions = [
            Decision(
                mean={name: float(mean[i]) for name, (mean, _) in predicted.items()},
                std={name: float(std[i]) for name, (_, std) in predicted.items()},
                acquisition=float(score[i]),
                reason=choice.reason,
                model_version=self._way.version,
            )
            for i in range(count)
        ]
        return list(zip(self.space.unit(points), decisions, strict=True))

    def _of_sweep(self, count: int) -> Choice | None:
        """The next energies of the sweep that is under way, decided from the results before it; None if it has too few.

        Each sweep is planned again for each of its energies: the plan follows from the results alone.
        """
        assert isinstance(self.options, EnergyOptions)
        size, first = self.options.sweep, self._way.first
        began = first + (self._made - first) // size * size
        if self._made < first or count >= size or len(self._results) < began:
            return None
        size = min(size, int(np.sum(~self._near(self._candidates, self._energies(self._asked[:began])))))
        if size < count:
            return None
        planned = self._choose(began, size, [])
        tried = self._energies([*self._asked[began:], *self._pending])
        left = np.flatnonzero(~self._near(planned.energies, tried))
        if len(left) < count:
            return None
        part = left[np.argsort(planned.energies[left])][:count]
        score = planned.score[part] if len(planned.score) else planned.score
        return Choice(planned.energies[part], planned.reason, score)

    def _choose(self, known: int, count: int, pending: Sequence[Point]) -> Choice:
        """`count` energies, from the first `known` results. An energy whose result was invalid is not tried again."""
        waiting = self._energies(pending)
        tried = np.concatenate([self._energies(self._asked[:known]), waiting])
        free = self._candidates[~self._near(self._candidates, tried)]
        if len(free) < count:
            raise NoMoreProposals(
                f"suggest({count}): {len(free)} of {len(self._candidates)} energies are left, the others are measured "
                "or pending; make resolution_ev smaller, or the domain wider, to go on",
                remaining=len(free),
            )
        return self._way.choose(self._readings(known), free, tried, waiting, count)

    def _end_if_reached(self) -> None:
        assert isinstance(self.options, EnergyOptions)
        target = self.options.target_error
        if target is None:
            return
        errors = self.predicted_error()
        if flat := [name for name, found in zip(self._spectra, self._way.flat(self._readings()), strict=True) if found]:
            errors |= dict.fromkeys(flat, 0.0)
        if len(flat) == len(errors):
            raise NoMoreProposals(
                f"after {len(self._results)} results, the spectra {flat} are flat between {self.space.low[0]:g} and "
                f"{self.space.high[0]:g} eV: no edge rises above the noise; correct the domain, or measure longer"
            )
        if all(error <= target for error in errors.values()):
            worst = max(errors, key=lambda name: errors[name])
            raise NoMoreProposals(
                f"the target is reached after {len(self._results)} results: the predicted error is "
                f"{errors[worst]:.2g} ({worst!r}), target_error is {target:g}"
            )

    def _readings(self, known: int | None = None) -> Readings:
        return Readings.of(self._results[:known], self._energy, self._spectra)

    def _energies(self, points: Sequence[Point]) -> FloatArray:
        return np.array([point[self._energy] for point in points], dtype=float)

    def _near(self, energies: FloatArray, tried: FloatArray) -> Any:
        """Whether each energy is the same as one that was tried, shape (n,), bool."""
        if not len(tried):
            return np.zeros(len(energies), dtype=bool)
        return np.min(np.abs(energies[:, None] - tried[None, :]), axis=1) < self._apart

    def _make_candidates(self) -> FloatArray:
        assert isinstance(self.options, EnergyOptions)
        name = self.space.names[0]
        if name in self.space.choices:
            values = np.sort(self.space.choices[name])
            self._apart = 0.5 * float(np.min(np.diff(values))) if len(values) > 1 else 0.5
            return np.array(values, dtype=float)
        low, high = float(self.space.low[0]), float(self.space.high[0])
        step = self.options.resolution_ev
        count = int(np.floor((high - low) / step + 1e-9)) + 1
        if not 4 <= count <= MOST_CANDIDATES:
            raise BadInputError(
                f"the domain of {name!r} is {low:g} to {high:g}, with resolution_ev={step:g} that is {count} energies: "
                f"give the energy in eV, and a resolution that makes 4 to {MOST_CANDIDATES} of them"
            )
        self._apart = 0.5 * step
        return np.array(low + step * np.arange(count), dtype=float)

    def _make_way(self) -> Way:
        options = self.options
        assert isinstance(options, EnergyOptions)
        low, high = float(self.space.low[0]), float(self.space.high[0])
        if (options.references is None) != (options.reference_energies is None):
            missing = "references" if options.references is None else "reference_energies"
            raise BadInputError(f"{missing} is missing: give references and reference_energies together, or neither")
        if options.references is not None and options.reference_energies is not None:
            references = References(
                np.array(options.reference_energies), {n: np.array(s) for n, s in options.references.items()}
            )
            references.require_cover(low, high)
            references.require_distinct(self._candidates)
            return Separating(references, options)
        edge = edge_energy(options.edge) if isinstance(options.edge, str) else options.edge
        if edge is not None and not low - 50.0 < edge < high + 50.0:
            in_kev = low - 50.0 < 1000.0 * edge < high + 50.0
            raise BadInputError(
                f"the edge at {edge:g} eV lies outside the domain of {self._energy!r}, {low:g} to {high:g} eV: "
                f"{'give it in eV, not in keV' if in_kev else 'correct one of them'}"
            )
        return Rebuilding(low, high, edge, options.edge_std_ev, options.initial)

    def best(self) -> Any:
        """See `Agent.best`; a spectrum has none, unless the VOCS has an objective."""
        if not self.space.objectives:
            raise AgentError("a spectrum has no best energy: read spectrum(), edge() or phases() instead")
        return super().best()
