"""The experiment's metadata in the start document, and how later versions of this package read it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ebl_autonomy.errors import DataError, validation_text

__all__ = ["SCHEMA_VERSION", "Finish", "RunMetadata", "json_limits"]

SCHEMA_VERSION: Final = "2.3"
"""Major and minor version of the streams, keys and metadata of a run.

A new minor version adds keys that a reader may ignore. A new major version changes existing keys: older readers must
refuse it, and this module then gains a step that converts the older form to the new one.

1    One row per proposal. Written as the number 1.
2.0  One or more rows per proposal (``row_in_proposal``); ``seconds_elapsed``; the stream ``recommended``.
2.1  The agent is told the positions that were read: ``positions_from_rows`` names all variables that are not discrete.
     ``position_tolerance``; None for the open side of ``limits``; ``dose_spent`` and ``exposures_unpriced`` with each
     row and abandonment if the envelope has a ``dose_key``.
     The stream ``left_at``. A forbidden region is not crossed unless it says ``"sweep": false``; before, that was the
     default.
2.2  The readings of start and end are in the stream ``start_and_end``; before, in ``baseline``. ``position_share``.
2.3  The stream ``suspects``, of runs whose agent has taken a reading for an outlier; ``decided_by`` in the stream
     ``decisions``.
"""

Finish = Literal["best", "stay", "return"]


class RunMetadata(BaseModel):
    """The experiment's metadata in the start document, under ``start["ebl_autonomy"]``.

    ``agent`` is the agent's full configuration as ``{"agent": name, "vocs": {...}, "options": {...}}``. The next
    proposal depends only on it, the part of the domain in ``searched``, the results of the run, and the results of the
    past runs that ``prior`` names.

    Attributes
    ----------
    schema_version : str
        See `SCHEMA_VERSION`.
    acquisition : str
        How a proposal was turned into rows: ``"point"``, ``"stub"``, ``"fly line"``, or the name of a custom
        acquisition.
    positions_from_rows : list of str
        Variables whose values a result takes from its row, where the motor was read. All other variables have the
        proposed values.
    position_tolerance : dict of str to float
        Largest distance of a motor from its target, in motor units, at which a row was accepted.
    position_share : dict of str to float
        The same as a share of the target, of motors whose variable is on a logarithmic scale.
    limits : dict of str to (low, high)
        Effective limits of each motor, in motor units; None for an open side. See `intervals`.
    searched : dict of str to (low, high)
        The part of the domain that the agent searched, in motor units, of each variable of which it was not all.
    finish : str
        Where the plan was to leave the motors.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    schema_version: str = SCHEMA_VERSION
    package_version: str
    agent: dict[str, Any]
    motors: list[str]
    outcomes: list[str]
    acquisition: str = "point"
    rows_per_proposal: int = 1
    positions_from_rows: list[str] = []
    derived: list[str] = []
    context: list[str] = []
    envelope: dict[str, Any] = {}
    until: dict[str, Any] = {}
    limits: dict[str, tuple[float | None, float | None]] = {}
    position_tolerance: dict[str, float] = {}
    position_share: dict[str, float] = {}
    searched: dict[str, tuple[float, float]] = {}
    units: dict[str, str] = {}
    prior: list[str] = []
    max_points: int
    batch: int
    finish: Finish
    clock: str | None = None

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The limits of each motor as numbers, infinite on an open side."""
        return {
            name: (-math.inf if low is None else low, math.inf if high is None else high)
            for name, (low, high) in self.limits.items()
        }

    @property
    def tells_suspects(self) -> bool:
        """Whether the run says which readings its agent took for outliers; earlier versions did not."""
        return _version(self.schema_version) >= (2, 3)

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> RunMetadata:
        """The metadata that this or any earlier version of this package wrote; unknown keys are ignored.

        Raises
        ------
        DataError
            If a newer major version wrote the metadata, or they are damaged; the message says which, and the remedy.
        """
        written = str(raw.get("schema_version", 1))
        newest = _version(SCHEMA_VERSION)[0]
        if _version(written)[0] > newest:
            raise DataError(
                f"the run was written with schema version {written}, this package reads versions up to {newest}: "
                "install a newer ebl-autonomy to read it"
            )
        raw = {**raw, "schema_version": written}
        if _version(written) < (2, 1):
            raw["envelope"] = _with_explicit_sweep(raw.get("envelope") or {})
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            wrong = validation_text(error)
            raise DataError(f"the run's metadata (schema version {written}) is damaged: {wrong}") from error


def _version(written: str) -> tuple[int, int]:
    major, _, minor = written.partition(".")
    try:
        return int(major), int(minor or 0)
    except ValueError as error:
        raise DataError(f"the run has schema_version {written!r}, which is not a version number") from error


def _with_explicit_sweep(envelope: Mapping[str, Any]) -> dict[str, Any]:
    regions = [{"sweep": False, **region} for region in envelope.get("forbidden") or ()]
    return {**envelope, **({"forbidden": regions} if regions else {})}


def json_limits(limits: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float | None, float | None]]:
    """Limits as JSON can hold them: None for an infinite side."""
    return {
        name: (low if math.isfinite(low) else None, high if math.isfinite(high) else None)
        for name, (low, high) in limits.items()
    }
