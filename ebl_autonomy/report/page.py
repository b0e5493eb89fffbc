"""One self-contained HTML page about a run: what happened, and everything needed to do it again."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gest_api.generator import Generator
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from ebl_autonomy.errors import BadInputError
from ebl_autonomy.records import PhaseMapsRecord, RunRecord, survey_stage
from ebl_autonomy.report.contents import Contents, report_contents
from ebl_autonomy.report.drawing import svg
from ebl_autonomy.report.figures import figures
from ebl_autonomy.report.wording import number, percent, with_error

__all__ = ["write_report"]

_PACKAGES = ("ebl-autonomy", "bluesky", "ophyd", "tiled", "botorch", "gpytorch", "torch", "numpy")


def write_report(
    record: RunRecord,
    directory: Path | str,
    *,
    client: Any = None,
    agent: Generator | None = None,
    told: Contents | None = None,
    best_possible: float | None = None,
    pixel_um: float | None = None,
    facts: Mapping[str, Any] | None = None,
    regions: Sequence[Mapping[str, Any]] | None = None,
    truth: Mapping[str, Any] | None = None,
    more_figures: Mapping[str, Figure] | None = None,
) -> Path:
    """Write ``report.html`` into a folder.

    Parameters
    ----------
    record : RunRecord
    directory : path
        Made if it is not there.
    client, agent : optional
        See `report_contents`; not needed for an agent that is registered under a name and knew no past runs.
    told : Contents, optional
        The content, if it has been made before.
    best_possible : float, optional
        Of the objective, if it is known: shown beside what was reached.
    pixel_um : float, optional
        Size of a pixel of the images in ``baseline=``, µm.
    facts : mapping, optional
        More lines for "To do it again".
    regions, truth : optional
        See `report_contents`; not used with `told`.
    more_figures : mapping of str to matplotlib Figure, optional
        Figures to add, by title.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    BadInputError
        See `report_contents`.
    """
    if not isinstance(record, RunRecord):
        raise BadInputError(f"record={record!r:.80}: give the record of a run, such as read_run(uid, client)")
    if told is None:
        told = report_contents(record, client=client, agent=agent, regions=regions, truth=truth)
    environment = Environment(
        loader=PackageLoader("ebl_autonomy.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["number"] = number
    environment.filters["percent"] = percent
    environment.globals["with_error"] = with_error
    metadata = record.metadata
    drawn = figures(record, told, pixel_um, best_possible)
    drawn |= {title: svg(figure) for title, figure in (more_figures or {}).items()}
    page = environment.get_template("page.html.j2").render(
        told=told,
        summary=told.summary,
        verdict=told.verdict,
        recommended=told.recommended,
        stage=survey_stage(record.start),
        when=datetime.fromtimestamp(float(record.start["time"])).strftime("%Y-%m-%d %H:%M"),
        goal=_goal(metadata.agent["vocs"].get("objectives") or {}, told),
        ending=_ending(told),
        best_possible=best_possible,
        # SVG of our own making; every string in it was drawn by matplotlib, which escapes.
        figures={title: Markup(text) for title, text in drawn.items()},
        motors=metadata.motors,
        variables=[name for name in metadata.agent["vocs"]["variables"] if name not in metadata.context],
        outcomes=metadata.outcomes,
        target=metadata.until.get("target"),
        units=metadata.units,
        limits=metadata.limits,
        facts={**_facts(record), **dict(facts or {})},
        agent=json.dumps(metadata.agent, indent=2),
    )
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _goal(objectives: Mapping[str, Any], told: Contents) -> str:
    """What the run was for, such as "Minimize size and maximize flux"."""
    if told.phases is not None:
        return "Phase maps of a survey"
    if told.map is not None and told.map.share is not None:
        return f"Map over {told.map.x} and {told.map.y}"
    if told.spectrum is not None:
        return f"Spectrum over {told.spectrum.x}"
    aims = [f"{objective['type'].removesuffix('Objective').lower()} {name}" for name, objective in objectives.items()]
    text = " and ".join(aims) or "explore"
    return text[0].upper() + text[1:]


def _ending(told: Contents) -> str:
    """How the run ended, if not as planned; else empty."""
    reason = told.summary.stop_reason
    if told.summary.status == "open":
        return (
            "The run has no end: it is under way, or its documents are in the folder of a session that nobody has "
            "connected since."
        )
    if told.summary.status == "abort" and reason == "aborted by the user":
        return f"The run was {reason}."
    if told.summary.status != "success":
        word = {"abort": "was aborted", "fail": "failed"}.get(
            told.summary.status, f"ended with {told.summary.status!r}"
        )
        return f"The run {word}{f': {reason}' if reason else ''}."
    return f"The run was ended early: {reason}." if reason.startswith("stopped") else ""


def _facts(record: RunRecord) -> dict[str, Any]:
    facts: dict[str, Any] = {"run": record.uid, "Python": platform.python_version()}
    for package in _PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            continue
    metadata = record.metadata
    if isinstance(record, PhaseMapsRecord):
        return {**facts, "coarse map": record.coarse, "plan": str(record.start.get("plan_name", ""))}
    facts["batch"], facts["at most"] = metadata.batch, f"{metadata.max_points} points"
    if metadata.envelope:
        facts["envelope"] = json.dumps(metadata.envelope)
    if metadata.until:
        facts["until"] = json.dumps(metadata.until)
    return facts
