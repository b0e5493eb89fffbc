"""How a search stands, judged from its readings alone: whether the motors matter, and whether more points would help.

The judgement needs no agent: it is the same for all agents, and takes no agent's word for its own success. Two models
look at the readings. A mixture of simple Gaussian processes with fixed settings tells whether there is any response.
Its answer is a ratio of probabilities, which stays honest although the agent chose each point after it had seen the
earlier readings, and although it may have stopped when it liked. A fitted Gaussian process tells how large the
response, the noise and the gains are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from scipy.stats import qmc

from ebl_autonomy.analysis.response import response_factor
from ebl_autonomy.space import FloatArray
from ebl_autonomy.surrogates.base import InputLayout, Observations
from ebl_autonomy.surrogates.improvement import expected_improvement
from ebl_autonomy.surrogates.numba_surrogate import NumbaSurrogate
from ebl_autonomy.surrogates.transforms import OutcomeTransform

__all__ = [
    "FLAT",
    "LATE",
    "LITTLE",
    "NEARBY",
    "RESPONDS",
    "UNCERTAIN",
    "FrontVerdict",
    "Kind",
    "Progress",
    "Verdict",
    "judge",
    "judge_front",
]

Kind = Literal["too few points", "infeasible", "flat", "noisy", "still improving", "converged"]

RESPONDS: Final = 20.0
"""The motors matter if the readings are this many times more probable with a response than without (Kass and Raftery
1995, J. Am. Stat. Assoc. 90, 773: "strong"). By Ville's inequality a run without any response passes this with a
probability of at most 1/20, however its points were chosen and whenever it was stopped (Grünwald, de Heide and Koolen
2024, J. R. Stat. Soc. B 86, 1091), as long as the noise is about normal."""
FLAT: Final = 3.0
"""Nothing responds if the readings are this many times more probable without a response than with one that is at least
as large as the noise ("positive" by Kass and Raftery)."""
LITTLE: Final = 0.02
"""Gains below this share of the response's range are negligible."""
UNCERTAIN: Final = 0.2
"""The run is noisy if the value of the best point is uncertain by more than this share of the response's range."""
LATE: Final = 1 / 3
"""The share of the points, the last ones, whose gain tells whether the search still improves."""
NEARBY: Final = 0.1
"""Half the side of the box around the best point in which a further gain is looked for, as a share of the domain."""
BORDER: Final = 0.01
"""Distance from a limit, as a share of the domain, within which a point counts as at the limit."""
INWARD: Final = 0.1
"""How far from a limit, as a share of the domain, the response must be worse for the limit to matter."""
FAR_OFF: Final = 6.0
"""A reading this many robust standard deviations from the median is an outlier; among 20 normal ones, 1 run in 200 has
one. With outliers the noise is not normal, and the readings cannot show that nothing responds."""
FASTEST_DRIFT: Final = 3.0
"""What forgets within fewer points than this is noise: no reading could be compared with another one."""
MOST_ROWS: Final = 150
"""More rows than this are thinned out, evenly, because the time grows with the cube of their number."""
CORNERS: Final = 8192
"""Samples by which the volume that a front dominates is measured."""


@dataclass(frozen=True)
class Progress:
    """What the readings say of a search; in the objective's unit unless noted.

    Attributes
    ----------
    points, valid, feasible : int
        Rows, rows with a finite objective, and of those the rows that satisfy all constraints.
    factor : float
        See `response_factor`; NaN with fewer than three valid rows.
    noise, spread : float
        Standard deviation of the noise (if nothing responds, of the readings, a slow drift aside), and the range of the
        modelled response over the measured points.
    best : int or None
        The feasible row with the best expected value.
    value, uncertainty : float
        Mean and standard deviation of the response at `best`, at the end of the run.
    late_gain : float
        By how much `best` is expected to be better than the best row before the last third; 0 if it is the same.
    late_share, left_share, uncertain_share : float
        Shares of the range, on the scale on which the model is best (which may be logarithmic): the late gain, the gain
        that one more point near `best` is expected to bring, and the uncertainty of `best`.
    late_sigmas : float
        The late gain in standard deviations.
    left : float
        The gain that one more point near `best` is expected to bring.
    at_limit : dict of int to {-1, 1}
        The variables that stand at their lower (-1) or upper (1) limit at `best`, and get worse inward.
    drift_points : float
        Number of points after which a reading holds little information; infinite without a drift.
    outliers : int
        Readings far from all others that the motors do not explain; see `FAR_OFF`.
    """

    points: int
    valid: int
    feasible: int
    factor: float = math.nan
    noise: float = math.nan
    spread: float = math.nan
    best: int | None = None
    value: float = math.nan
    uncertainty: float = math.nan
    late_gain: float = math.nan
    late_share: float = math.nan
    late_sigmas: float = math.nan
    left: float = math.nan
    left_share: float = math.nan
    uncertain_share: float = math.nan
    at_limit: dict[int, Literal[-1, 1]] | None = None
    drift_points: float = math.inf
    outliers: int = 0


@dataclass(frozen=True)
class Verdict:
    """How a search stands, and the evidence."""

    kind: Kind
    progress: Progress


@dataclass(frozen=True)
class FrontVerdict:
    """How a search for the best of one or more objectives stands.

    Attributes
    ----------
    kind : Kind
    each : tuple of Verdict
        Of each objective, as if it were the only one.
    late_share : float
        With several objectives, by which share the last third of the points enlarged what the front dominates, where a
        gain within twice the noise does not count; NaN if it cannot be told.
    """

    kind: Kind
    each: tuple[Verdict, ...]
    late_share: float = math.nan


def judge(
    unit: FloatArray,
    values: FloatArray,
    sign: float,
    *,
    feasible: np.ndarray | None = None,
    context: FloatArray | None = None,
    discrete: Sequence[int] = (),
) -> Verdict:
    """How the search for the best value of one objective stands.

    * *too few points*: fewer valid rows than variables + 3, or too few to tell whether the motors matter.
    * *infeasible*: no row satisfies all constraints.
    * *flat*: the readings speak against a response to the motors that is as large as the noise, and none is an outlier;
      see `FLAT`.
    * *noisy*: the motors matter, or may, but the best point is uncertain by more than `UNCERTAIN`.
    * *still improving*: the last third of the points gained more than `LITTLE` and two standard deviations, or the
      model expects more than `LITTLE` of one more point near the best.
    * *converged*: neither. Whether there is a better point far away, no finite number of points can tell.

    Parameters
    ----------
    unit : FloatArray, shape (n, d)
        The measured points in the unit cube, in the order of measurement.
    values : FloatArray, shape (n,)
        The objective in its own unit; NaN where the measurement was invalid.
    sign : float
        +1 to maximise, -1 to minimise.
    feasible : bool array, shape (n,), optional
        Whether each row satisfies all constraints; by default all do.
    context : FloatArray, shape (n, c), optional
        What was measured beside the motors and not chosen, in any units.
    discrete : sequence of int
        Variables that have a few values only: these have no limits.
    """
    progress = _progress(np.atleast_2d(unit), np.asarray(values, dtype=float), sign, feasible, context, discrete)
    return Verdict(_kind(progress, np.atleast_2d(unit).shape[1]), progress)


def _kind(progress: Progress, variables: int) -> Kind:
    if progress.valid and not progress.feasible:
        return "infeasible"
    if progress.valid < variables + 3 or math.isnan(progress.factor):
        return "too few points"
    if _is_flat(progress.factor, progress.outliers):
        return "flat"
    if progress.factor < RESPONDS and progress.valid < 4 * variables + 10:
        return "too few points"
    if progress.factor < RESPONDS or progress.uncertain_share > UNCERTAIN:
        return "noisy"
    gained_late = progress.late_share > LITTLE and progress.late_sigmas > 2.0
    return "still improving" if gained_late or progress.left_share > LITTLE else "converged"


def judge_front(
    unit: FloatArray,
    values: FloatArray,
    signs: FloatArray,
    *,
    feasible: np.ndarray | None = None,
    context: FloatArray | None = None,
    discrete: Sequence[int] = (),
    suspect: np.ndarray | None = None,
) -> FrontVerdict:
    """How the search for the best of one or more objectives stands; of one objective the same as `judge`.

    Of several objectives it is flat or noisy if each of them is, still improving if the front grew by more than
    `LITTLE` in the last third of the points or each objective alone still improves, and otherwise converged.

    Parameters
    ----------
    values : FloatArray, shape (n, m)
    signs : FloatArray, shape (m,)
        +1 for an objective to maximise, -1 for one to minimise.
    unit, feasible, context, discrete
        As for `judge`.
    suspect : bool array, shape (n,), optional
        Rows that are known to hold an outlier, which are on no front; `judge` recognises those of a single objective.
    """
    values = np.asarray(values, dtype=float)
    each = tuple(
        judge(unit, column, float(sign), feasible=feasible, context=context, discrete=discrete)
        for column, sign in zip(values.T, signs, strict=True)
    )
    if len(each) == 1:
        return FrontVerdict(each[0].kind, each)
    usable = np.asarray(np.isfinite(values).all(axis=1))
    if feasible is not None:
        usable &= feasible
    if not usable.any():
        return FrontVerdict("infeasible", each)
    if suspect is not None and (trusted := usable & ~suspect).any():
        usable = trusted
    share = _front_growth(values, signs, usable, [one.progress.noise for one in each])
    kinds = {one.kind for one in each}
    if "too few points" in kinds:
        return FrontVerdict("too few points", each, share)
    if len(kinds) == 1 and kinds <= {"flat", "noisy"}:
        return FrontVerdict(each[0].kind, each, share)
    if kinds <= {"flat", "noisy"}:
        return FrontVerdict("noisy", each, share)
    improving = share > LITTLE or kinds == {"still improving"}
    return FrontVerdict("still improving" if improving else "converged", each, share)


def _front_growth(values: FloatArray, signs: FloatArray, usable: np.ndarray, noises: Sequence[float]) -> float:
    """See `FrontVerdict.late_share`; the volumes are measured on the scales of `OutcomeTransform`."""
    early = np.arange(len(values)) < math.ceil((1.0 - LATE) * len(values))
    lessened = values - 2.0 * signs * np.nan_to_num(np.array(noises))
    columns, late_columns = [], []
    for column, late_column, sign in zip(values.T, lessened.T, signs, strict=True):
        transform = OutcomeTransform.of(column[usable])
        low, high = np.sort(sign * transform.forward(column[usable]))[[0, -1]]
        span = float(high - low) or 1.0
        columns.append((sign * transform.forward(column) - low) / span)
        late_columns.append((sign * transform.forward(late_column) - low) / span)
    before, after = np.stack(columns, axis=1)[usable & early], np.stack(late_columns, axis=1)[usable & ~early]
    corners = qmc.Sobol(len(signs), scramble=True, rng=0).random(CORNERS)
    dominated, grown = _dominated(before, corners), _dominated(after, corners)
    whole = int((dominated | grown).sum())
    return float((grown & ~dominated).sum() / whole) if whole else math.nan


def _dominated(values: FloatArray, corners: FloatArray) -> np.ndarray:
    """Whether each corner, shape (k, m), is dominated by one of the values, shape (n, m)."""
    found = np.zeros(len(corners), dtype=bool)
    for value in values:
        found |= (value >= corners).all(axis=1)
    return found


def _progress(
    unit: FloatArray,
    values: FloatArray,
    sign: float,
    feasible: np.ndarray | None,
    context: FloatArray | None,
    discrete: Sequence[int],
) -> Progress:
    points = len(values)
    finite = np.isfinite(values)
    allowed = finite if feasible is None else finite & feasible
    counts = points, int(finite.sum()), int(allowed.sum())
    rows = np.flatnonzero(finite)
    if len(rows) > MOST_ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, MOST_ROWS).round().astype(int)]
    if len(rows) < 3:
        return Progress(*counts)
    factor = response_factor(unit[rows], values[rows])
    outliers = _outliers(values[rows]) if factor < RESPONDS else 0
    if not allowed.any():
        return Progress(*counts, factor=factor, outliers=outliers)
    # The best reading is not thinned out. The factor does without it, because it was chosen for its value.
    rows = np.union1d(rows, [np.argmax(np.where(allowed, sign * values, -np.inf))])
    ours = allowed[rows]
    if factor == 0.0:
        first = int(rows[np.argmax(ours)])
        return Progress(*counts, factor, noise=0.0, spread=0.0, best=first, value=float(values[first]), uncertainty=0.0)
    model = _Model(unit, values, rows, context)
    mean, std = model.latent(unit[rows])
    mean = sign * mean
    spread = float(np.ptp(mean)) or 1.0
    candidates = np.flatnonzero(ours)
    best = candidates[np.argmax(mean[candidates])]
    early = candidates[rows[candidates] < math.ceil((1.0 - LATE) * points)]
    before = early[np.argmax(mean[early])] if len(early) else candidates[0]
    late = float(mean[best] - mean[before])
    near_mean, near_std = model.latent(_near(unit[rows[best]], discrete))
    expected = [
        expected_improvement(float(gain), float(std), 0.0)
        for gain, std in zip(sign * near_mean - mean[best], near_std, strict=True)
    ]
    left = max(expected)
    in_unit, in_unit_std = model.in_units(unit[rows])
    per_latent = float(np.ptp(in_unit)) / spread
    return Progress(
        *counts,
        factor=factor,
        noise=_scatter(values[rows]) if _is_flat(factor, outliers) else model.noise,
        spread=float(np.ptp(in_unit)),
        best=int(rows[best]),
        value=float(in_unit[best]),
        uncertainty=float(in_unit_std[best]),
        late_gain=float(sign * (in_unit[best] - in_unit[before])),
        late_share=late / spread,
        late_sigmas=late / max(float(np.hypot(std[best], std[before])), 1e-300) if late > 0.0 else 0.0,
        left=left * per_latent,
        left_share=left / spread,
        uncertain_share=float(std[best]) / spread,
        at_limit=_at_limit(model, unit[rows[best]], sign, LITTLE * spread, discrete),
        drift_points=model.drift_points,
        outliers=outliers,
    )


def _is_flat(factor: float, outliers: int) -> bool:
    return factor < 1.0 / FLAT and not outliers


def _scatter(values: FloatArray) -> float:
    """Standard deviation of readings of a constant that may drift slowly, by their successive differences.

    von Neumann, Kent, Bellinson and Hart 1941, Ann. Math. Stat. 12, 153. Where nothing responds, it is the noise; a
    model of many readings may take some of it for a response.
    """
    return math.sqrt(0.5 * float(np.mean(np.diff(values) ** 2)))


def _outliers(values: FloatArray) -> int:
    """The number of values beyond `FAR_OFF` times the scaled median absolute deviation from the median.

    Hampel 1974, J. Am. Stat. Assoc. 69, 383.
    """
    z = OutcomeTransform.of(values).forward(values)
    off = np.abs(z - np.median(z))
    return int((off > FAR_OFF * 1.4826 * np.median(off)).sum())


class _Model:
    """A Gaussian process fitted to the readings, asked about the end of the run."""

    CLOCK: Final = 50.0
    """Points per unit of time."""

    def __init__(self, unit: FloatArray, values: FloatArray, rows: np.ndarray, context: FloatArray | None) -> None:
        n, d = unit.shape
        beside = np.zeros((n, 0)) if context is None else context
        beside = (beside - np.nanmin(beside, axis=0)) / np.maximum(np.ptp(beside, axis=0), 1e-300) if n else beside
        beside = np.where(np.isfinite(beside), beside, 0.5)
        self._given = np.append(beside[-1], (n - 1) / self.CLOCK)
        inputs = np.hstack([unit, beside, np.arange(n)[:, None] / self.CLOCK])
        data = Observations(inputs[rows], values[rows, None], np.full((len(rows), 1), math.nan))
        self._fit(InputLayout(d, beside.shape[1], clock=True), data)
        self.drift_points = float(self._surrogate.diagnose(0).length_scales[-1]) * self.CLOCK
        if self.drift_points < FASTEST_DRIFT:
            self._given, self.drift_points = self._given[:-1], math.inf
            self._fit(InputLayout(d, beside.shape[1]), replace(data, X=data.X[:, :-1]))
        self.noise = self._surrogate.diagnose(0).noise

    def _fit(self, layout: InputLayout, data: Observations) -> None:
        self._surrogate = NumbaSurrogate(layout, 1)
        self._surrogate.fit(data)
        self._surrogate.condition_on(data)

    def latent(self, unit: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the response at k points, shape (k,) each, on the scale of the model."""
        mean, std = self._surrogate.predict_latent(self._now(unit))
        return mean[:, 0], std[:, 0]

    def in_units(self, unit: FloatArray) -> tuple[FloatArray, FloatArray]:
        """As `latent`, in the objective's unit."""
        mean, std = self._surrogate.predict(self._now(unit))
        return mean[:, 0], std[:, 0]

    def _now(self, unit: FloatArray) -> FloatArray:
        return np.hstack([unit, np.broadcast_to(self._given, (len(unit), len(self._given)))])


def _near(best: FloatArray, discrete: Sequence[int]) -> FloatArray:
    """256 points of the box around the best point, inside the domain; discrete variables stay."""
    d = len(best)
    around = best + NEARBY * (2.0 * qmc.Sobol(d, scramble=True, rng=0).random(256) - 1.0)
    around[:, list(discrete)] = best[list(discrete)]
    return np.asarray(np.clip(around, 0.0, 1.0))


def _at_limit(
    model: _Model, best: FloatArray, sign: float, least: float, discrete: Sequence[int]
) -> dict[int, Literal[-1, 1]]:
    """The variables at a limit, from which the response falls by at least `least` inward."""
    found: dict[int, Literal[-1, 1]] = {}
    here = sign * model.latent(best[None])[0][0]
    for i, value in enumerate(best):
        if i in discrete or BORDER < value < 1.0 - BORDER:
            continue
        side: Literal[-1, 1] = -1 if value <= BORDER else 1
        inside = best.copy()
        inside[i] = INWARD if side < 0 else 1.0 - INWARD
        if here - sign * model.latent(inside[None])[0][0] > least:
            found[i] = side
    return found
