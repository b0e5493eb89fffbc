"""How a run stands, in words: converged, still improving, noisy, flat, and why; from its record alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict

from ebl_autonomy.analysis.verdict import FLAT, LATE, RESPONDS, FrontVerdict, Progress, Verdict, judge_front
from ebl_autonomy.records import PhaseMapsRecord, RunRecord
from ebl_autonomy.report.summary import RowsInOrder
from ebl_autonomy.report.wording import number, with_error
from ebl_autonomy.surrogates.improvement import expected_improvement

__all__ = ["Standing", "standing_of"]

LATEST: Final = 3
"""The proposals, counted from the end, whose expected gain is told."""
NOTHING_TO_SPEAK_OF: Final = 1e-3
"""Gains below this share of the range are told without their digits."""
MANY: Final = 0.5
"""The share of rows or proposals from which on those that came to nothing are pointed out."""

_HEADLINES: Final = {
    "no points": "Nothing was measured.",
    "invalid": "No row is valid, so there is nothing to judge.",
    "phases": "Phase maps of a survey: there is no objective to judge.",
    "explored": "Explored: there is no objective to judge.",
    "too few points": "Too few points to judge.",
    "infeasible": "No measured point satisfies all constraints.",
    "flat": "Flat: nothing responds to these motors.",
    "noisy": "Noisy: the best point is not known well.",
    "still improving": "Still improving: more points are likely to pay.",
    "converged": "Converged: more points near the best are not likely to pay.",
}


class Standing(BaseModel):
    """How a run stands, and the evidence.

    Attributes
    ----------
    kind : str
        One of the kinds of `ebl_autonomy.analysis.verdict.judge`, or ``"no points"``, ``"invalid"`` (no valid row),
        ``"explored"`` (no objective) or ``"phases"`` (phase maps of a survey).
    headline : str
        The kind in a sentence.
    evidence : list of str
        The numbers that it rests on, in sentences.
    warnings : list of str
        What the user may want to change: a best point at a limit, a drift, many invalid rows.
    objectives : dict of str to str
        With several objectives, the kind of each alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    headline: str
    evidence: list[str] = []
    warnings: list[str] = []
    objectives: dict[str, str] = {}


def standing_of(record: RunRecord, rows: RowsInOrder | None = None) -> Standing:
    """See `Standing`; `rows` are those of the record, with the suspects that are known."""
    rows = RowsInOrder(record) if rows is None else rows
    space, warnings = rows.space, _fruitless(record, rows)
    if isinstance(record, PhaseMapsRecord):
        return _standing("phases", warnings=warnings)
    if not len(rows):
        return _standing("no points", warnings=warnings)
    if not space.objectives:
        return _standing("explored", [f"{_count(len(rows), 'row')} measured."], warnings)
    values = np.array([[float(result[name]) for name in space.objectives] for result in rows.results])
    if not np.isfinite(values).all(axis=1).any():
        return _standing("invalid", warnings=warnings)
    context = np.array([[float(result[name]) for name in space.context] for result in rows.results])
    told = judge_front(
        space.unit(rows.results),
        values,
        space.signs,
        feasible=rows.feasible,
        context=context.reshape(len(rows), len(space.context)),
        discrete=[space.names.index(name) for name in space.choices],
        suspect=rows.suspect(*space.objectives),
    )
    evidence: list[str] = []
    for name, verdict in zip(space.objectives, told.each, strict=True):
        words = _Words(name, record.metadata.units, space.names)
        evidence += words.evidence(verdict) if len(told.each) == 1 else [words.alone(verdict)]
        warnings += words.warnings(verdict.progress)
    if len(told.each) > 1:
        evidence.insert(0, _front(told))
    elif expected := _expected_by_the_agent(record, rows, told.each[0].progress.spread):
        evidence.append(expected)
    each = {name: verdict.kind for name, verdict in zip(space.objectives, told.each, strict=True)}
    return _standing(told.kind, evidence, warnings, each if len(each) > 1 else {})


def _standing(
    kind: str, evidence: Sequence[str] = (), warnings: Sequence[str] = (), objectives: Mapping[str, str] | None = None
) -> Standing:
    return Standing(
        kind=kind,
        headline=_HEADLINES[kind],
        evidence=list(evidence),
        warnings=list(dict.fromkeys(warnings)),
        objectives=dict(objectives or {}),
    )


class _Words:
    """What is known of one objective, in sentences."""

    def __init__(self, name: str, units: Mapping[str, str], motors: Sequence[str]) -> None:
        self._name, self._motors = name, motors
        self._unit = f" {units[name]}" if units.get(name) else ""

    def evidence(self, verdict: Verdict) -> list[str]:
        progress = verdict.progress
        sentences = [
            f"{_count(progress.valid, 'valid row')} of {progress.points}, with {_count(len(self._motors), 'motor')}."
        ]
        if math.isnan(progress.factor):
            return sentences
        sentences.append(self._response(progress))
        if progress.best is None or not progress.spread > 0.0:
            return sentences
        if verdict.kind == "flat":
            return [
                *sentences,
                f"The readings of {self._name} scatter by {self._size(progress.noise)} (σ). A smaller response, or a "
                "peak much narrower than the distance between the points, would have been missed.",
            ]
        sentences.append(
            f"Over the measured points, {self._name} varies by {self._size(progress.spread)}; the noise of a reading "
            f"is {self._size(progress.noise)} (σ)."
        )
        sentences.append(
            f"At the best point, the readings as a whole give {with_error(progress.value, progress.uncertainty)}"
            f"{self._unit}."
        )
        late = progress.points - math.ceil((1.0 - LATE) * progress.points)
        gained = "gained nothing"
        if progress.late_share >= NOTHING_TO_SPEAK_OF:
            gained = (
                f"gained {self._size(progress.late_gain)} ({_percent(progress.late_share)} of the range, "
                f"{number(progress.late_sigmas)} σ)"
            )
        sentences.append(f"The last {_count(late, 'row')} {gained}.")
        left = "next to nothing"
        if progress.left_share >= NOTHING_TO_SPEAK_OF:
            left = f"{self._size(progress.left)} ({_percent(progress.left_share)} of the range) at most"
        sentences.append(f"Another point nearby is expected to gain {left}.")
        return sentences

    def alone(self, verdict: Verdict) -> str:
        """One of several objectives in short."""
        progress = verdict.progress
        told = f"{self._name} alone: {verdict.kind}."
        if progress.best is None or not progress.spread > 0.0:
            return told
        noise = self._size(progress.noise)
        if verdict.kind == "flat":
            return f"{told} Its readings scatter by {noise} (σ)."
        told += f" It varies by {self._size(progress.spread)}; the noise of a reading is {noise} (σ)."
        best = f"{with_error(progress.value, progress.uncertainty)}{self._unit}"
        return f"{told} At its best, the readings as a whole give {best}."

    def warnings(self, progress: Progress) -> list[str]:
        sentences = [
            f"The best point of {self._name} is at the {'lower' if side < 0 else 'upper'} limit of {self._motors[i]}: "
            "widen its domain if the motor can go further."
            for i, side in (progress.at_limit or {}).items()
        ]
        if math.isfinite(progress.drift_points):
            sentences.append(
                f"{self._name} drifts: a reading holds for about {_count(round(progress.drift_points) or 1, 'point')}. "
                "Gains are those at the end of the run."
            )
        if progress.outliers:
            sentences.append(
                f"{_count(progress.outliers, 'reading')} of {self._name} lie far from all others and are not explained "
                "by the motors: glitches of the detector, or a peak that is too narrow for the points."
            )
        return sentences

    def _response(self, progress: Progress) -> str:
        if progress.factor == 0.0:
            return "All valid readings are the same."
        if progress.factor < 1.0:
            strength = "" if progress.factor < 1.0 / FLAT else "slightly "
            return (
                f"The readings speak {strength}against a response to the motors: they are "
                f"{_times(1.0 / progress.factor)} more probable without one than with one that is at least as large as "
                "the noise."
            )
        shown = "show" if progress.factor >= RESPONDS else "hint at"
        return (
            f"The readings {shown} a response to the motors: they are {_times(progress.factor)} more probable "
            "with one than without."
        )

    def _size(self, value: float) -> str:
        return f"{number(value)}{self._unit}"


def _front(told: FrontVerdict) -> str:
    if math.isnan(told.late_share):
        return "The front cannot be judged yet."
    return (
        f"The last third of the points enlarged what the front dominates by {_percent(told.late_share)}, where a gain "
        "within twice the noise does not count."
    )


def _expected_by_the_agent(record: RunRecord, rows: RowsInOrder, spread: float) -> str:
    """What the agent expected of its latest proposals, by the predictions in the stream `decisions`."""
    name, sign = rows.space.objectives[0], float(rows.space.signs[0])
    best, gains = -math.inf, []
    suspect = rows.suspect(name)
    by_proposal: dict[int, list[int]] = {}
    for i, owner in enumerate(rows.owners):
        by_proposal.setdefault(owner, []).append(i)
    for owner, proposal in enumerate(record.proposals):
        mean, std = proposal.decision.mean.get(name), proposal.decision.std.get(name, 0.0)
        if mean is not None and math.isfinite(best):
            gains.append(expected_improvement(sign * mean, std, best))
        for i in by_proposal.get(owner, ()):
            if rows.feasible[i] and not suspect[i] and math.isfinite(rows.values[i]):
                best = max(best, sign * float(rows.values[i]))
    if len(gains) < LATEST:
        return ""
    unit, gain = record.metadata.units.get(name, ""), float(np.mean(gains[-LATEST:]))
    size = f"{number(gain)}{f' {unit}' if unit else ''}"
    if gain < NOTHING_TO_SPEAK_OF * spread:
        size = "next to nothing"
    return f"The agent expected its last {LATEST} proposals to improve on the best reading by {size} on average."


def _fruitless(record: RunRecord, rows: RowsInOrder) -> list[str]:
    """Warnings about rows and proposals that came to nothing, and constraints that no row satisfies."""
    sentences, space = [], rows.space
    values = [[float(result[name]) for name in space.objectives] for result in rows.results]
    invalid = sum(not all(map(math.isfinite, one)) for one in values)
    if invalid > MANY * max(len(rows), 1):
        reasons = Counter(p.reason for p in record.proposals if p.status == "accepted" and p.reason)
        most = f" The most frequent reason: {reasons.most_common(1)[0][0]}." if reasons else ""
        sentences.append(f"{invalid} of {_count(len(rows), 'row')} are invalid: was the beam lost?{most}")
    failed = [p for p in record.proposals if p.status in ("refused", "abandoned") and p.rule != "run"]
    if len(failed) > MANY * max(len(record.proposals), 1):
        rules = Counter(p.rule for p in failed if p.rule)
        most = f", most of them by {rules.most_common(1)[0][0]!r}" if rules else ""
        sentences.append(
            f"{len(failed)} of {_count(len(record.proposals), 'proposal')} were refused or could not be measured{most}."
        )
    for name, limit in space.limits.items():
        measured = [float(result[name]) for result in rows.results if math.isfinite(float(result[name]))]
        if measured and not any(map(limit.holds, measured)):
            nearest = min(measured, key=lambda value: max(limit.low - value, value - limit.high))
            sentences.append(f"No row satisfies the constraint on {name}: the nearest reading is {number(nearest)}.")
    return sentences


def _count(number_of: int, what: str) -> str:
    return f"{number_of} {what}{'' if number_of == 1 else 's'}"


def _percent(share: float) -> str:
    return f"{100.0 * share:.2g} %"


def _times(factor: float) -> str:
    if factor >= 1e6:
        return "over a million times"
    return f"{factor:.2g} times" if factor < 99.5 else f"{float(f'{factor:.2g}'):,.0f} times"
