"""The fine scans that belong to a coarse map: a run each, linked by the start document."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ebl_autonomy.data.lookup import start_of
from ebl_autonomy.records import SURVEY, to_float

__all__ = ["fine_scans"]


def fine_scans(client: Any, coarse: str) -> list[dict[str, Any]]:
    """The regions of the fine scans of a survey, in the order of their numbers.

    Parameters
    ----------
    client : tiled container or None
        Empty without one, and if it cannot search.
    coarse : str
        The uid of the run with the coarse map.

    Returns
    -------
    list of dict
        Each region with a box, as the start documents of its scans have it, with the uids of these scans, first one
        first, under ``runs``: a region may be scanned at several energies, or again.
    """
    if client is None:
        return []
    from tiled.client.utils import ClientError
    from tiled.queries import Eq

    try:
        starts = [start_of(node) for node in client.search(Eq(f"start.{SURVEY}.coarse", coarse)).values()]
    except ClientError:  # an archive that cannot search so
        return []
    found: dict[Any, dict[str, Any]] = {}
    for start in sorted(starts, key=lambda one: to_float(one.get("time"))):
        survey = start.get(SURVEY)
        region = survey.get("region") if isinstance(survey, Mapping) else None
        if isinstance(survey, Mapping) and isinstance(region, Mapping) and _has_box(region):
            number = survey.get("number")
            known = found.setdefault(number, {"label": f"region {number}", **region, "runs": []})
            known["runs"].append(str(start.get("uid", "")))
    return [found[number] for number in sorted(found, key=to_float)]


def _has_box(region: Mapping[str, Any]) -> bool:
    """Whether a region has a box; the start document of somebody else's plan may hold anything under the same key."""
    try:
        ends = [to_float(end) for axis in "xy" for end in region[axis]]
    except (KeyError, TypeError):
        return False
    return len(ends) == 4 and all(map(math.isfinite, ends))
