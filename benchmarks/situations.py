"""Situations that defeat a local search, or a search that trusts its readings: false hills, flat domains, many motors.

A *kind* of situation is a name and a number of variables. The seed draws everything else: positions, widths, rotations,
ranges of the motors, scale and sense of the outcome, the level of light noise, and the start, which is far from the
optimum. Whoever searches sees `Situation.vocs` (its default values are the start) and what `Situation.measure` returns,
which carries no standard deviation.

Inside, positions are rows of the unit cube, and the *signal* is 1 at the optimum. It is 0 at the start, or where there
is nothing to measure, so noise levels and regrets are shares of the whole range. `shapes` holds the functions.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from benchmarks import shapes
from benchmarks.shapes import Function, away_from_middle, far_start, hill, normalised, peak_of
from ebl_autonomy.space import VOCS, FloatArray, Space

SIGNAL = "signal"
LOAD = "heat_load"
"""The outcome that a constraint limits."""
LIGHT_NOISE = (0.0, 1e-3, 3e-3)
"""Standard deviations, as shares of the range. The seed draws one of them where the noise is not the point."""
GLITCHES = 0.05
"""The share of readings that are glitches."""

Noise = Callable[[float, np.random.Generator], float]
"""``noise(signal, rng)`` is a reading of the signal."""


@dataclass(frozen=True)
class Limit:
    """A constraint on a second outcome.

    Attributes
    ----------
    value : callable
        The outcome without noise, shape (n,), for positions of shape (n, d). At most 1 where it is allowed.
    unit : float
        The size of the limit in the outcome's unit.
    noise : float
        Standard deviation, as a share of the limit.
    """

    value: Function
    unit: float
    noise: float


@dataclass(frozen=True)
class Situation:
    """One instance of a kind.

    Attributes
    ----------
    signal : callable
        The signal without noise, shape (n,), for positions in the unit cube, shape (n, d); 1 at the optimum.
    optimum, start : FloatArray, shape (d,)
        Positions in the unit cube.
    noise : callable
        See `Noise`.
    low, width : FloatArray, shape (d,)
        Lower bounds and ranges of the variables, in their own units.
    unit, offset : float
        The outcome is ``offset + unit * signal``. The unit is negative if the outcome is to be minimised.
    choices : dict of int to int
        The number of positions of each discrete variable, by its index. Their values are 0, 1, 2, ...
    unordered : tuple of int
        The indices of the discrete variables whose values have no order.
    limit : Limit, optional
    invalid : callable, optional
        Whether the reading is NaN, shape (n,), at positions of shape (n, d).
    batch : int
        The number of points that are asked for, and told, together.
    workers : int
        The number of measurements under way at the same time. They end in any order.
    """

    signal: Function
    optimum: FloatArray
    start: FloatArray
    noise: Noise
    low: FloatArray
    width: FloatArray
    unit: float
    offset: float
    choices: Mapping[int, int] = field(default_factory=dict)
    unordered: tuple[int, ...] = ()
    limit: Limit | None = None
    invalid: Callable[[FloatArray], Any] | None = None
    batch: int = 1
    workers: int = 1

    @property
    def dim(self) -> int:
        return len(self.optimum)

    @cached_property
    def names(self) -> list[str]:
        return [f"wheel_{i}" if i in self.choices else f"motor_{i}" for i in range(self.dim)]

    @property
    def unordered_names(self) -> list[str]:
        """The discrete variables whose values have no order, which `vocs` does not say."""
        return [self.names[i] for i in self.unordered]

    @property
    def objectives(self) -> dict[str, str]:
        return {SIGNAL: "MAXIMIZE" if self.unit > 0.0 else "MINIMIZE"}

    @property
    def reference(self) -> None:
        """None: there is one objective."""

    @cached_property
    def vocs(self) -> VOCS:
        """What a method knows in advance. The beamline stands at the default values."""
        variables: dict[str, dict[str, Any]] = {}
        for i, name in enumerate(self.names):
            if i in self.choices:
                count = self.choices[i]
                values = [float(value) for value in range(count)]
                start = float(round(self.start[i] * (count - 1)))
                variables[name] = {"type": "DiscreteVariable", "values": values, "default_value": start}
            else:
                ends = [float(self.low[i]), float(self.low[i] + self.width[i])]
                start = float(np.clip(self.low[i] + self.start[i] * self.width[i], *ends))
                variables[name] = {"type": "ContinuousVariable", "domain": ends, "default_value": start}
        constraints = {LOAD: ["LESS_THAN", self.limit.unit]} if self.limit else {}
        return VOCS(variables=variables, objectives=self.objectives, constraints=constraints)

    @cached_property
    def space(self) -> Space:
        return Space(self.vocs)

    def measure(self, point: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """The result at `point`: everything in it, and the outcomes; NaN where the reading is invalid."""
        u = self.space.unit([point])
        outcomes = {SIGNAL: self.offset + self.unit * self.noise(float(self.signal(u)[0]), rng)}
        if self.limit is not None:
            load = float(self.limit.value(u)[0]) + self.limit.noise * rng.standard_normal()
            outcomes[LOAD] = self.limit.unit * load
        if self.invalid is not None and self.invalid(u)[0]:
            outcomes = dict.fromkeys(outcomes, np.nan)
        return {**point, **outcomes}

    @cached_property
    def fingerprint(self) -> str:
        """A short text that changes with the situation: with the VOCS, the signal, or the noise."""
        rng = np.random.default_rng(0)
        told = [self.measure(point, rng) for point in self.space.points(rng.random((8, self.dim)))]
        numbers = [*self.space.standing().values(), *(value for result in told for value in result.values())]
        text = f"{self.batch} {self.workers} " + " ".join(f"{number:.6g}" for number in numbers)
        return f"{zlib.crc32(text.encode()):08x}"

    def regret(self, point: Mapping[str, Any] | None) -> float:
        """What `point` lacks of the best signal, by the truth; 1 without a point, or where it is not allowed.

        Beyond the limit by up to three standard deviations of a reading still counts as allowed, because the optimum
        lies at the limit, and no method can tell both sides apart there.
        """
        if point is None:
            return 1.0
        u = self.space.unit([point])
        if not self.allowed(u, 3.0 * self.limit.noise if self.limit else 0.0)[0]:
            return 1.0
        return max(1.0 - float(self.signal(u)[0]), 0.0)

    def allowed(self, u: FloatArray, tolerance: float = 0.0) -> Any:
        """Whether positions, shape (n, d), satisfy the limit and give a valid reading, shape (n,).

        The tolerance is a share of the limit.
        """
        allowed = np.ones(len(u), dtype=bool)
        if self.limit is not None:
            allowed &= self.limit.value(u) < 1.0 + tolerance
        if self.invalid is not None:
            allowed &= ~np.asarray(self.invalid(u))
        return allowed


@dataclass(frozen=True)
class Kind:
    """A family of situations in one number of variables.

    Attributes
    ----------
    family : str
    dim : int
    title : str
    make : callable
        ``make(dim, rng) -> Situation``.
    """

    family: str
    dim: int
    title: str
    make: Callable[[int, np.random.Generator], Situation]

    @property
    def name(self) -> str:
        return f"{self.family}_{self.dim}"

    def situation(self, seed: int) -> Situation:
        """The instance that `seed` draws."""
        return self.make(self.dim, np.random.default_rng([seed, self.dim, zlib.crc32(self.family.encode())]))


def _gaussian(std: float) -> Noise:
    return lambda signal, rng: signal + std * float(rng.standard_normal())


def _light(rng: np.random.Generator) -> Noise:
    return _gaussian(float(rng.choice(LIGHT_NOISE)))


def _student(scale: float) -> Noise:
    """Student's t with two degrees of freedom, whose variance is infinite."""
    return lambda signal, rng: signal + scale * float(rng.standard_t(2))


def _glitching(std: float, factor: bool) -> Noise:
    """Some readings are ten times too large or too small (`factor`), or ten ranges too high or too low."""

    def noise(signal: float, rng: np.random.Generator) -> float:
        reading = signal + std * float(rng.standard_normal())
        if rng.random() >= GLITCHES:
            return reading
        up = rng.random() < 0.5
        if factor:
            return reading * (10.0 if up else 0.1)
        return reading + (10.0 if up else -10.0)

    return noise


def _situation(
    rng: np.random.Generator, signal: Function, optimum: FloatArray, start: FloatArray, noise: Noise, **more: Any
) -> Situation:
    """A situation with drawn ranges, scale, offset and sense, unless `more` gives them."""
    dim = len(optimum)
    unit = 10.0 ** rng.uniform(-2.0, 4.0)
    drawn = {
        "low": rng.uniform(-100.0, 100.0, dim),
        "width": 10.0 ** rng.uniform(-1.0, 3.0, dim),
        "unit": float(rng.choice([-1.0, 1.0])) * unit,
        "offset": unit * rng.uniform(-5.0, 5.0),
    }
    return Situation(signal, optimum, start, noise, **{**drawn, **more})


def _smooth(
    rng: np.random.Generator,
    dim: int,
    noise: Noise | None = None,
    share: tuple[float, float] = (0.05, 0.3),
    **more: Any,
) -> Situation:
    """One hill. `share` is the range of the share of the domain where it exceeds half its height."""
    optimum = away_from_middle(rng, dim)
    signal = hill(rng, optimum, shapes.log_uniform(rng, *share))
    return _situation(rng, signal, optimum, far_start(rng, signal, dim), noise or _light(rng), **more)


def _false_hill(dim: int, rng: np.random.Generator) -> Situation:
    while True:
        flipped = rng.permutation(dim) < max(2, round(0.7 * dim))
        side = rng.choice([-1.0, 1.0], dim)
        false = 0.5 + side * rng.uniform(0.2, 0.4, dim)
        true = 0.5 + side * np.where(flipped, -1.0, 1.0) * rng.uniform(0.2, 0.4, dim)
        share = shapes.log_uniform(rng, 0.003, 0.015)
        low, high = hill(rng, false, share * rng.uniform(1.0, 2.0)), hill(rng, true, share)

        def both(u: FloatArray, low: Function = low, high: Function = high) -> FloatArray:
            return 0.1 * low(u) + high(u)

        way = false + np.linspace(0.0, 1.0, 100)[:, None] * (true - false)
        # Wide hills meet: then the way to the true peak does not lead down, and no search is fooled.
        if np.min(both(way)) < 0.04 and peak_of(both, false)[1] < 0.15:
            break
    optimum, best = peak_of(both, true)
    start = np.clip(false + 0.01 * rng.standard_normal(dim), 0.0, 1.0)
    return _situation(rng, lambda u: both(u) / best, optimum, start, _light(rng))


def _flat(dim: int, rng: np.random.Generator) -> Situation:
    optimum = away_from_middle(rng, dim)
    metric = shapes.metric(rng, optimum, rng.uniform(0.07, 0.13))

    def signal(u: FloatArray) -> FloatArray:
        return np.maximum(1.0 - metric(u), 0.0)

    return _situation(rng, signal, optimum, far_start(rng, signal, dim), _light(rng))


def _many_motors(dim: int, rng: np.random.Generator) -> Situation:
    matter = np.sort(rng.permutation(dim)[:4])
    optimum = rng.uniform(0.0, 1.0, dim)
    optimum[matter] = away_from_middle(rng, 4)
    peak = hill(rng, optimum[matter], shapes.log_uniform(rng, 0.05, 0.3))

    def signal(u: FloatArray) -> FloatArray:
        return peak(u[:, matter])

    return _situation(rng, signal, optimum, far_start(rng, signal, dim), _light(rng))


def _many_peaks(shape: Callable[[np.random.Generator, FloatArray], Function]) -> Any:
    """Of a function with its only global optimum at a given position."""

    def make(dim: int, rng: np.random.Generator) -> Situation:
        optimum = away_from_middle(rng, dim)
        function = shape(rng, optimum)
        start = far_start(rng, function, dim)
        return _situation(rng, normalised(function, optimum, start), optimum, start, _light(rng))

    return make


def _several_hills(draw: Callable[[np.random.Generator, int], tuple[Function, FloatArray]]) -> Any:
    """Of a function whose optimum is near one of the positions that `draw` returns, shape (k, d)."""

    def make(dim: int, rng: np.random.Generator) -> Situation:
        function, near = draw(rng, dim)
        optimum, _ = max((peak_of(function, position) for position in near), key=lambda found: found[1])
        start = far_start(rng, function, dim)
        return _situation(rng, normalised(function, optimum, start), optimum, start, _light(rng))

    return make


def _wheel(positions: int, counts: int = 0) -> Any:
    """A wheel of filters without order, and motors; the third variable is an integer if `counts` is given."""

    def make(dim: int, rng: np.random.Generator) -> Situation:
        gain = rng.uniform(0.05, 0.7, positions)
        best = int(rng.integers(positions))
        gain[best] = 1.0
        choices = {0: positions} | ({1: counts} if counts else {})
        first = len(choices)
        at = away_from_middle(rng, dim - first)
        peak = hill(rng, at, shapes.log_uniform(rng, 0.03, 0.15))
        shifts = rng.uniform(-0.08, 0.08, (positions, dim - first))
        shifts[best] = 0.0
        number = int(rng.integers(1, max(counts - 1, 2)))

        def signal(u: FloatArray) -> FloatArray:
            slot = np.clip(np.rint(u[:, 0] * (positions - 1)), 0, positions - 1).astype(int)
            value = gain[slot] * peak(u[:, first:] - shifts[slot])
            return value * np.exp(-0.5 * ((u[:, 1] * (counts - 1) - number) / 2.0) ** 2) if counts else value

        optimum = np.concatenate([[best / (positions - 1)], [number / (counts - 1)] if counts else [], at])
        start = far_start(rng, signal, dim)
        for i, count in choices.items():
            start[i] = np.rint(start[i] * (count - 1)) / (count - 1)
        return _situation(rng, signal, optimum, start, _light(rng), choices=choices, unordered=(0,))

    return make


def _far_ranges(dim: int, rng: np.random.Generator) -> Situation:
    width = rng.permutation(10.0 ** np.linspace(-9.0, 9.0, dim))
    return _smooth(rng, dim, width=width, low=-width * rng.random(dim))


def _corner(dim: int, rng: np.random.Generator) -> Situation:
    corner = rng.integers(0, 2, dim).astype(float)
    weight, bend = rng.uniform(0.3, 1.0, dim), rng.uniform(0.0, 2.0, dim)

    def function(u: FloatArray) -> FloatArray:
        t = np.abs(u - corner)
        return -np.sum(weight * (t + bend * t**2), axis=1)

    start = np.abs(corner - rng.uniform(0.5, 0.95, dim))
    return _situation(rng, normalised(function, corner, start), corner, start, _light(rng))


def _bowl(dim: int, rng: np.random.Generator) -> Situation:
    optimum = away_from_middle(rng, dim)
    metric = shapes.metric(rng, optimum, 0.1, spread=0.8)

    def function(u: FloatArray) -> FloatArray:
        return -metric(u)

    start = far_start(rng, function, dim)
    unit = 10.0 ** rng.uniform(-2.0, 4.0)
    signal = normalised(function, optimum, start)
    return _situation(rng, signal, optimum, start, _light(rng), unit=-unit, offset=100.0 * unit)


def _small_feasible(dim: int, rng: np.random.Generator) -> Situation:
    while True:
        wish, middle = away_from_middle(rng, dim), away_from_middle(rng, dim)
        distance, load = shapes.metric(rng, wish, 0.3), shapes.metric(rng, middle, rng.uniform(0.03, 0.08))
        optimum = shapes.constrained_minimum(distance, load, middle)
        best = float(0.5 ** distance(optimum[None])[0])
        if load(wish[None])[0] > 1.0 and best > 0.2:
            break

    def signal(u: FloatArray) -> FloatArray:
        return 0.5 ** distance(u) / best

    start = far_start(rng, lambda u: -load(u), dim)
    limit = Limit(load, 10.0 ** rng.uniform(-1.0, 3.0), float(rng.choice(LIGHT_NOISE)))
    return _situation(rng, signal, optimum, start, _light(rng), limit=limit)


def _hole(dim: int, rng: np.random.Generator) -> Situation:
    optimum = away_from_middle(rng, dim)
    signal = hill(rng, optimum, shapes.log_uniform(rng, 0.05, 0.2))
    radius = rng.uniform(0.2, 0.35)
    inward = (0.5 - optimum) / np.linalg.norm(0.5 - optimum)
    hole = optimum + (radius + rng.uniform(0.03, 0.1)) * inward

    def invalid(u: FloatArray) -> Any:
        return np.sum((u - hole) ** 2, axis=1) < radius**2

    start = far_start(rng, lambda u: signal(u) + 10.0 * invalid(u), dim)
    return _situation(rng, signal, optimum, start, _light(rng), invalid=invalid)


def _narrow(dim: int, rng: np.random.Generator, matter: int | None = None) -> Situation:
    """Lorentzian profiles along each motor, or along some of them, in decades above the dark counts."""
    dark = 1e-5
    among = np.ones(dim, dtype=bool) if matter is None else rng.permutation(dim) < matter
    width = rng.uniform(0.05, 0.12, dim)
    optimum = rng.uniform(0.3, 0.7, dim)

    def signal(u: FloatArray) -> FloatArray:
        transmitted = np.prod(1.0 / (1.0 + ((u - optimum) / width)[:, among] ** 2), axis=1)
        return 1.0 + (np.log10(dark + transmitted) - np.log10(dark + 1.0)) / 5.0

    start = optimum + rng.choice([-1.0, 1.0], dim) * width * rng.uniform(0.8, 2.0, dim)
    return _situation(rng, signal, optimum, start, _light(rng))


def _kinds() -> list[Kind]:
    def glitches(dim: int, rng: np.random.Generator) -> Situation:
        return _smooth(rng, dim, _glitching(0.01, factor=bool(rng.integers(2))))

    return [
        *(Kind("false_hill", d, "a false hill at the start", _false_hill) for d in (3, 6)),
        *(Kind("flat", d, "flat but for a tenth of the domain", _flat) for d in (2, 4)),
        *(Kind("few_matter", d, "four motors matter", _many_motors) for d in (12, 20, 30)),
        *(Kind("glitches", d, "5 % of the readings ten times off", glitches) for d in (3, 5)),
        Kind("heavy_tails", 4, "Student's t of 2 degrees", lambda d, rng: _smooth(rng, d, _student(0.05))),
        *(Kind("noise_tenth", d, "noise of 10 %", lambda d, rng: _smooth(rng, d, _gaussian(0.1))) for d in (2, 5)),
        Kind("noise_hundredth", 4, "noise of 1 %", lambda d, rng: _smooth(rng, d, _gaussian(0.01))),
        Kind("levy", 8, "Levy's function, shifted", _many_peaks(shapes.levy)),
        Kind("ackley", 10, "Ackley's function, shifted", _many_peaks(shapes.ackley)),
        Kind("rastrigin", 4, "ripples on a bowl", _many_peaks(shapes.rastrigin)),
        Kind("shekel", 4, "seven narrow peaks", _several_hills(shapes.foxholes)),
        Kind("filters", 4, "6 filters without order and 3 motors", _wheel(6)),
        Kind("turret", 4, "9 filters without order, an integer and 2 motors", _wheel(9, counts=12)),
        Kind("tiny_signal", 3, "a signal of 1e-12", lambda d, rng: _smooth(rng, d, unit=1e-12, offset=0.0)),
        Kind("huge_offset", 3, "an offset of 1e9 signals", lambda d, rng: _smooth(rng, d, unit=1e-3, offset=1e6)),
        Kind("far_ranges", 4, "ranges from 1e-9 to 1e9", _far_ranges),
        Kind("batches", 6, "batches of 8", lambda d, rng: _smooth(rng, d, batch=8)),
        Kind("asynchronous", 4, "4 measurements at a time", lambda d, rng: _smooth(rng, d, workers=4)),
        Kind("corner", 5, "the optimum in a corner", _corner),
        Kind("hartmann", 6, "four hills of unequal widths", _several_hills(shapes.unequal_hills)),
        Kind("bowl", 4, "a bowl with an offset", _bowl),
        Kind("valley", 4, "a curved valley", _many_peaks(shapes.valley)),
        Kind("small_feasible", 4, "a small feasible region", _small_feasible),
        Kind("hole", 3, "a hole of invalid readings", _hole),
        *(Kind("narrow", d, "a narrow peak a few widths away", _narrow) for d in (4, 8)),
        Kind("narrow_few", 20, "the same, of four of the motors", lambda d, rng: _narrow(d, rng, matter=4)),
    ]


KINDS: dict[str, Kind] = {kind.name: kind for kind in _kinds()}
