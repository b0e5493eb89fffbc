"""What a report tells of a map: its channels, the error, the dose, what a raster would have given, and the regions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ebl_autonomy.analysis.rasters import even_raster, nrmse, rebuilt, similarity
from ebl_autonomy.data.mapped import Mapped, Measured
from ebl_autonomy.errors import BadInputError, validation_text
from ebl_autonomy.records import SURVEY, RunRecord, to_float
from ebl_autonomy.report.map_images import Images
from ebl_autonomy.report.raster_times import RasterTimes
from ebl_autonomy.report.wording import duration, number, percent
from ebl_autonomy.space import FloatArray

__all__ = ["DRAWN", "ChannelMap", "DoseSaved", "MapSection", "RasterScore", "RegionBox", "map_section"]

DRAWN: Final = 6
"""Channels that are drawn; the others are named."""

Interval = tuple[float, float]


class RegionBox(BaseModel):
    """A region that a survey found.

    Attributes
    ----------
    label : str
    x, y : (low, high)
        The box of the fine scan, in motor units.
    score : float or None
        What it was ranked by; more is better.
    reason : str
    runs : list of str
        The uids of its scans; several if it was scanned at several energies.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    label: str
    x: Interval
    y: Interval
    score: float | None = None
    reason: str = ""
    runs: list[str] = []


class ChannelMap(BaseModel):
    """The map of one channel in numbers.

    Attributes
    ----------
    name, unit : str
    low, high, mean : float or None
        Over the map; None if nothing is known of the channel.
    std : float or None
        The root mean square of the standard deviation over the map, if the agent tells it.
    predicted_error : float or None
        What the agent expects of the error of its map, as a share of the channel's standard deviation over the map.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    unit: str
    low: float | None
    high: float | None
    mean: float | None
    std: float | None
    predicted_error: float | None


class DoseSaved(BaseModel):
    """The dose of a map against that of a full raster with the same exposure of each point.

    Attributes
    ----------
    basis : str
        What was counted: ``"dose"`` (as the run counted it), ``"dwell"`` (seconds of exposure), or ``"points"``.
    spent, full : float
        Of the run, and of one row at each pixel with the mean exposure of a row of the run.
    saved : float
        The share that was saved; negative if the run spent more.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    basis: str
    spent: float
    full: float
    saved: float


class RasterScore(BaseModel):
    """How an even raster would show one channel.

    The raster takes the reference at its points, without noise, and is linear between them.

    Attributes
    ----------
    of : str
        ``"points"`` or ``"time"``: what the raster has no more of than the run.
    channel : str
    points : int
        Of the raster.
    lines : int
    reference : str
        ``"truth"``, or ``"agent"``: the agent's own final map, of which nothing can be said of the error.
    nrmse, similarity : float or None
        Of the raster: error as a share of the standard deviation of the reference, and structural similarity.
    own_nrmse, own_similarity : float or None
        Of the run's map, against the truth; None without it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    of: str
    channel: str
    points: int
    lines: int
    reference: str
    nrmse: float | None
    similarity: float | None
    own_nrmse: float | None = None
    own_similarity: float | None = None


class MapSection(BaseModel):
    """The map of a run without an objective over two motors.

    Attributes
    ----------
    x, y : str
        The motors along the rows and along the columns.
    x_range, y_range : (low, high)
        The edges of the map, in motor units.
    shape : (int, int)
        Rows and columns of pixels.
    from_agent : bool
        Whether the maps are the agent's; otherwise the mean of the readings in each pixel.
    note : str
        Why they are not the agent's, though it has maps; else empty.
    measured : int
        Pixels with at least one valid row.
    share : float or None
        The same as a share of all pixels; None if the run does not say what its pixels are.
    channels : list of ChannelMap
    not_drawn : list of str
        Channels without a figure.
    normalisers : list of ChannelMap
        The outcomes by which the channels are normalised, such as I0 and the live time, over the measured rows.
    dose : DoseSaved or None
    rasters : list of RasterScore
    raster_seconds : float or None
        Seconds of a full raster, by the run's own seconds.
    run_seconds : float or None
        Seconds of the run up to its last row, if `raster_seconds` is known; of the clock if the run has one.
    regions : list of RegionBox
        In the order of their ranks.
    sentences : list of str
        All of this in words.
    images : Images or None
        The maps themselves; not in JSON.
    truth : dict of str to array
        The truth that was given; not in JSON.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    x: str
    y: str
    x_range: Interval
    y_range: Interval
    shape: tuple[int, int]
    from_agent: bool
    note: str = ""
    measured: int
    share: float | None
    channels: list[ChannelMap]
    not_drawn: list[str] = []
    normalisers: list[ChannelMap] = []
    dose: DoseSaved | None = None
    rasters: list[RasterScore] = []
    raster_seconds: float | None = None
    run_seconds: float | None = None
    regions: list[RegionBox] = []
    sentences: list[str] = []
    images: Images | None = Field(default=None, exclude=True, repr=False)
    truth: dict[str, Any] = Field(default_factory=dict, exclude=True, repr=False)


def map_section(
    record: RunRecord,
    mapped: Mapped,
    rows: Measured,
    images: Images,
    *,
    errors: Mapping[str, float],
    note: str = "",
    regions: Sequence[Mapping[str, Any]] = (),
    truth: Mapping[str, Any] | None = None,
) -> MapSection:
    """See `MapSection`.

    Parameters
    ----------
    record : RunRecord
    mapped, rows : Mapped, Measured
        Of the same run.
    images : Images
        The maps of its agent, or the measured pixels.
    errors : mapping of str to float
        That the agent predicts.
    note : str
        See `MapSection`.
    regions : sequence of mapping
        With the keys of `RegionBox`; others are ignored.
    truth : mapping of str to array, shape (rows, columns), optional
        The true map of some channels, rows and columns in ascending order of their positions.

    Raises
    ------
    BadInputError
        If a region lacks a key, or a true map is of no channel or of another shape than the map.
    """
    known = {name: _true_map(name, values, mapped, images) for name, values in (truth or {}).items()}
    pixels, measured = images.pixels, len(rows.numbers_on(images.pixels))
    declared = bool(images.std) or mapped.grid is not None
    channels = [_channel(record, name, images, errors) for name in mapped.channels]
    partial = declared and 0 < measured < pixels.size  # of a whole raster there is nothing to compare
    times = RasterTimes.of(record, mapped, pixels) if partial else None
    section = MapSection(
        x=mapped.x,
        y=mapped.y,
        x_range=pixels.x,
        y_range=pixels.y,
        shape=pixels.shape,
        from_agent=bool(images.std),
        note=note,
        measured=measured,
        share=measured / pixels.size if declared else None,
        channels=channels,
        not_drawn=list(mapped.channels[DRAWN:]),
        normalisers=[_normaliser(record, name) for name in mapped.normalisers],
        dose=_dose(record, mapped, rows, pixels.size) if partial else None,
        rasters=_scores(images, known, len(rows), times) if partial else [],
        raster_seconds=times.seconds(pixels.size) if times is not None else None,
        run_seconds=times.taken if times is not None else None,
        regions=[_region(one) for one in regions],
        images=images,
        truth=known,
    )
    return section.model_copy(update={"sentences": _sentences(record, section, len(rows))})


def _region(given: Mapping[str, Any]) -> RegionBox:
    try:
        return RegionBox.model_validate(dict(given))
    except (ValidationError, TypeError, ValueError) as error:
        text = validation_text(error) if isinstance(error, ValidationError) else str(error)
        raise BadInputError(f"the region {given!r}: {text}; give label, x=[low, high], y=[low, high]") from error


def _true_map(name: str, values: Any, mapped: Mapped, images: Images) -> FloatArray:
    if name not in mapped.channels:
        raise BadInputError(f"truth: {name!r} is no channel of the map, which has {list(mapped.channels)}")
    true = np.asarray(values, dtype=float)
    if true.shape != images.pixels.shape:
        raise BadInputError(
            f"truth[{name!r}] has shape {true.shape}: the map has {images.pixels.shape} (rows, columns)"
        )
    return true


def _channel(record: RunRecord, name: str, images: Images, errors: Mapping[str, float]) -> ChannelMap:
    mean = images.mean.get(name, np.full(1, math.nan))
    std = images.std.get(name, np.full(1, math.nan))
    finite, spread = mean[np.isfinite(mean)], std[np.isfinite(std)]
    return ChannelMap(
        name=name,
        unit=record.metadata.units.get(name, ""),
        low=float(finite.min()) if len(finite) else None,
        high=float(finite.max()) if len(finite) else None,
        mean=float(finite.mean()) if len(finite) else None,
        std=float(np.sqrt(np.mean(spread**2))) if len(spread) else None,
        predicted_error=errors.get(name),
    )


def _normaliser(record: RunRecord, name: str) -> ChannelMap:
    read = np.array([to_float(value) for value in record.rows.get(name, ())], dtype=float)
    finite = read[np.isfinite(read)]
    low, high, mean = (float(f(finite)) if len(finite) else None for f in (np.min, np.max, np.mean))
    unit = record.metadata.units.get(name, "")
    return ChannelMap(name=name, unit=unit, low=low, high=high, mean=mean, std=None, predicted_error=None)


def _dose(record: RunRecord, mapped: Mapped, rows: Measured, pixels: int) -> DoseSaved | None:
    """By the dose that the run counted, or the exposures that its agent chose, or else the points alone."""
    count = len(rows)
    if not count:
        return None
    basis, spent = "points", float(count)
    doses = [p.dose for p in record.proposals if p.dose is not None and p.rows]
    dwells = [to_float(one.get(mapped.dwell)) for p in record.proposals if p.rows for one in p.results]
    if doses and not any(unpriced for _, unpriced in doses) and math.isfinite(doses[-1][0]) and doses[-1][0] > 0.0:
        basis, spent = "dose", max(dose for dose, _ in doses)
    elif mapped.dwell and dwells and np.isfinite(dwells).all() and sum(dwells) > 0.0:
        basis, spent = "dwell", float(sum(dwells))
    full = spent / count * pixels
    return DoseSaved(basis=basis, spent=spent, full=full, saved=1.0 - spent / full)


def _scores(
    images: Images, truth: Mapping[str, FloatArray], points: int, times: RasterTimes | None
) -> list[RasterScore]:
    """A raster of as many points, and one of as much time, for each channel that has a reference."""
    counts = {"points": min(points, images.pixels.size), "time": times.points() if times is not None else 0}
    found = []
    for of, count in counts.items():
        if not count:
            continue
        rows, columns = even_raster(images.pixels.shape, count)
        for name, mean in images.mean.items():
            reference = truth.get(name, mean if images.std and not truth else None)
            if reference is None or not np.isfinite(reference).all():
                continue
            shown = rebuilt(reference, rows, columns)
            ours = (nrmse(mean, reference), similarity(mean, reference)) if name in truth else (math.nan, math.nan)
            values = [nrmse(shown, reference), similarity(shown, reference), *ours]
            score, alike, own, own_alike = (value if math.isfinite(value) else None for value in values)
            found.append(
                RasterScore(
                    of=of,
                    channel=name,
                    points=len(rows) * len(columns),
                    lines=len(rows),
                    reference="truth" if name in truth else "agent",
                    nrmse=score,
                    similarity=alike,
                    own_nrmse=own,
                    own_similarity=own_alike,
                )
            )
    return found


# -- in words --------------------------------------------------------------------------------------------------


def _sentences(record: RunRecord, told: MapSection, rows: int) -> list[str]:
    size = math.prod(told.shape)
    sentences = [f"{rows:,} {'row was' if rows == 1 else 'rows were'} measured."]
    if told.share is not None:
        valid = "" if told.measured or not rows else " None of them is valid."
        sentences = [
            f"{told.measured:,} of {size:,} pixels ({percent(told.share)}) were measured, in {rows:,} "
            f"{'row' if rows == 1 else 'rows'}.{valid}"
        ]
    if record.stop_reason:
        sentences.append(f"Why it ended: {record.stop_reason}.")
    errors = [
        f"{one.name} {number(one.predicted_error, 2)}" for one in told.channels if one.predicted_error is not None
    ]
    if errors:
        sentences.append(
            f"The agent expects these errors of its maps, as shares of each channel's own standard deviation (NRMSE): "
            f"{', '.join(errors)}."
        )
    if told.dose is not None:
        sentences.append(_dose_in_words(told.dose))
    if told.raster_seconds is not None and told.run_seconds is not None:
        sentences.append(
            f"The run took {duration(told.run_seconds)} up to its last row; by its own seconds for each point and for "
            f"travel, a full raster would have taken {duration(told.raster_seconds)}."
        )
    for of in ("points", "time"):
        if scores := [one for one in told.rasters if one.of == of]:
            sentences.append(_scores_in_words(of, scores))
    survey = record.start.get(SURVEY)
    if isinstance(survey, Mapping) and isinstance(survey.get("region"), Mapping):
        region, number_of = survey["region"], survey.get("number")
        number_of = number_of + 1 if isinstance(number_of, int) else "?"  # plans count from 0
        reason = f": {region['reason']}" if region.get("reason") else ""
        sentences.append(
            f"It is fine scan {number_of} of {survey.get('of', '?')} of a survey, of the region "
            f"{region.get('label', '?')!r} of the coarse map in run {survey.get('coarse', '?')}{reason}."
        )
    return sentences


def _dose_in_words(dose: DoseSaved) -> str:
    spent = {
        "dose": f"a dose of {number(dose.spent)}",
        "dwell": f"{number(dose.spent)} s of exposure",
        "points": f"{dose.spent:,.0f} {'exposure' if dose.spent == 1.0 else 'exposures'}",
    }[dose.basis]
    against = f"against {number(dose.full)} of a full raster with the same mean exposure of each point"
    if dose.basis == "points":
        against = f"against {dose.full:,.0f} of a full raster with the same exposure of each point"
    outcome = f"{percent(dose.saved)} of the dose was saved" if dose.saved > 0.0 else "no dose was saved"
    return f"The run spent {spent} {against}: {outcome}."


def _scores_in_words(of: str, scores: Sequence[RasterScore]) -> str:
    points, lines = scores[0].points, scores[0].lines
    what = "as many points" if of == "points" else "the same time"
    raster = f"An even raster of {what} ({points:,} points in {lines:,} {'line' if lines == 1 else 'lines'})"
    if scores[0].reference == "agent":
        told = ", ".join(f"{one.channel} {number(one.nrmse, 2)}" for one in scores)
        return (
            f"{raster}, taken from the agent's own final map and interpolated linearly, would differ from that map by "
            f"(NRMSE): {told}. This says what the raster would have missed if the agent's map is right; it is no error "
            "of the agent's map, because the truth is not known."
        )
    told = "; ".join(
        f"{one.channel} {number(one.nrmse, 2)} (SSIM {number(one.similarity, 3)}), this run "
        f"{number(one.own_nrmse, 2)} (SSIM {number(one.own_similarity, 3)})"
        for one in scores
    )
    return (
        f"{raster}, taken from the truth without noise and interpolated linearly, has these errors against the truth "
        f"(NRMSE): {told}."
    )
