"""One self-contained HTML page about a run: what happened, and everything needed to do it again."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ebl_autonomy.records import RunRecord
from ebl_autonomy.report.figures import figures
from ebl_autonomy.report.summary import summarise
from ebl_autonomy.report.wording import number, with_error

__all__ = ["write_report"]

_PACKAGES = ("ebl-autonomy", "bluesky", "ophyd", "tiled", "botorch", "gpytorch", "torch", "numpy")


def write_report(
    record: RunRecord,
    directory: Path | str,
    *,
    best_possible: float | None = None,
    pixel_um: float | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``report.html`` into a folder.

    Parameters
    ----------
    record : RunRecord
    directory : path
        Made if it is not there.
    best_possible : float, optional
        Of the objective, if it is known: shown beside what was reached.
    pixel_um : float, optional
        Size of a pixel of the baseline's images, µm.
    facts : mapping, optional
        More lines for "To do it again".

    Returns
    -------
    Path
        The page.
    """
    summary = summarise(record)
    environment = Environment(
        loader=PackageLoader("ebl_autonomy.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["number"] = number
    environment.globals["with_error"] = with_error
    unit = record.metadata.units.get(summary.objective, "")
    page = environment.get_template("page.html.j2").render(
        summary=summary,
        when=datetime.fromtimestamp(float(record.start["time"])).strftime("%Y-%m-%d %H:%M"),
        goal=_goal(record.metadata.agent["vocs"].get("objectives") or {}),
        unit=f" ({unit})" if unit else "",
        best_possible=best_possible,
        # SVG of our own making; every string in it was drawn by matplotlib, which escapes.
        figures={title: Markup(svg) for title, svg in figures(record, summary, pixel_um, best_possible).items()},
        motors=record.metadata.motors,
        variables=[name for name in record.metadata.agent["vocs"]["variables"] if name not in record.metadata.context],
        outcomes=record.metadata.outcomes,
        explanation=record.explanation,
        target=record.metadata.until.get("target"),
        units=record.metadata.units,
        limits=record.metadata.limits,
        facts={**_facts(record), **dict(facts or {})},
        agent=json.dumps(record.metadata.agent, indent=2),
    )
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _goal(objectives: Mapping[str, Any]) -> str:
    """What the run was for, such as "Minimize size and maximize flux"."""
    aims = [f"{objective['type'].removesuffix('Objective').lower()} {name}" for name, objective in objectives.items()]
    text = " and ".join(aims) or "explore"
    return text[0].upper() + text[1:]


def _facts(record: RunRecord) -> dict[str, Any]:
    facts: dict[str, Any] = {"run": record.uid, "Python": platform.python_version()}
    for package in _PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            continue
    metadata = record.metadata
    facts["batch"], facts["at most"] = metadata.batch, f"{metadata.max_points} points"
    if metadata.envelope:
        facts["envelope"] = json.dumps(metadata.envelope)
    if metadata.until:
        facts["until"] = json.dumps(metadata.until)
    return facts
