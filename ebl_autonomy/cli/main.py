"""The commands and their options. Each command imports its implementation only when it runs."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from ebl_autonomy.errors import BadInputError, EblError

app = typer.Typer(
    help="Autonomous experiments for Bluesky.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
serve = typer.Typer(help="Run a server in the foreground.", no_args_is_help=True)
app.add_typer(serve, name="serve")

_screen = Console()
_errors = Console(stderr=True)

Uri = Annotated[
    str | None, typer.Option("--tiled", help="Address of a running Tiled server; the default is an embedded one.")
]
Key = Annotated[
    str | None, typer.Option("--api-key", envvar="TILED_API_KEY", help="API key of the running Tiled server.")
]
Folder = Annotated[Path | None, typer.Option("--directory", help="Data folder of the embedded Tiled server.")]
Seed = Annotated[int, typer.Option(min=0, help="Seeds the misalignment, the noise and the agent.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 selects a free one.")]
TierOption = Annotated[str, typer.Option(help="Motors to align: 4 (A), 8 (B) or 12 (C).")]


@app.command()
def demo(
    tier: TierOption = "A",
    seed: Seed = 0,
    agent: Annotated[str, typer.Option(help="Name of a registered agent.")] = "bayesian",
    points: Annotated[int, typer.Option(help="Maximum number of points.")] = 60,
    output: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("demo_report"),
    as_json: Annotated[bool, typer.Option("--json", help="Print only the result, as JSON.")] = False,
    prior: Annotated[
        list[str] | None, typer.Option(metavar="UID", help="A past run to learn from; repeatable.")
    ] = None,
    tiled: Uri = None,
    api_key: Key = None,
    directory: Folder = None,
) -> None:
    """Align the simulated beamline and write a report."""
    with _plain_errors():
        from ebl_autonomy.cli.demo import run_demo
        from ebl_autonomy.report.wording import findings

        result = run_demo(tier, seed, agent, points, output, tiled, api_key, directory, as_json, prior or [])
        if as_json:
            sys.stdout.write(result.model_dump_json(indent=2) + "\n")
            return
        _screen.print(
            f"spot area {_um2(result.spot_area_before)} → [bold]{_um2(result.spot_area_after)}[/bold] "
            f"(best possible {_um2(result.spot_area_best)}) after {result.points} points, "
            f"{result.seconds_wall:.0f} s here and {result.seconds_beamline:.0f} s on the beamline's clock"
        )
        area = "camera_spot_area"
        for line in findings(result.recommended, result.best_reading, result.left_at, [area], {area: "µm²"}):
            _print(line)
        _print(f"report: {result.report}")


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="Uid of a run, or 'last'.")] = "last",
    output: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("report"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the content of the report as JSON, and write no page.")
    ] = False,
    tiled: Uri = None,
    api_key: Key = None,
    directory: Folder = None,
) -> None:
    """Write the report of a run."""
    with _plain_errors():
        from ebl_autonomy.data import connect, read_run
        from ebl_autonomy.report import report_contents, write_report
        from ebl_autonomy.report.wording import findings

        with connect(None, tiled, api_key, directory) as connection:
            record = read_run(_uid(connection.client, run), connection.client)
            told = report_contents(record, client=connection.client)
            if as_json:
                sys.stdout.write(told.model_dump_json(indent=2) + "\n")
                return
            summary, objectives = told.summary, [one.name for one in told.objectives]
            units = record.metadata.units
            for line in findings(told.recommended, summary.best_reading, summary.left_at, objectives, units):
                _print(line)
            _print(f"verdict: {told.verdict.headline}")
            _print(f"report: {write_report(record, output, told=told)}")


@app.command()
def runs(
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of runs.")] = 20,
    tiled: Uri = None,
    api_key: Key = None,
    directory: Folder = None,
) -> None:
    """List the latest runs."""
    with _plain_errors():
        from datetime import datetime

        from ebl_autonomy.data import connect
        from ebl_autonomy.data import runs as latest

        # Even a narrow window shows the whole uid, because 'report' takes it as its argument.
        table = Table(Column("run", no_wrap=True, min_width=36), "when", "plan", "agent", "status", "reason")
        with connect(None, tiled, api_key, directory) as connection:
            for one in latest(connection.client, limit):
                when = "" if math.isnan(one.time) else datetime.fromtimestamp(one.time).strftime("%Y-%m-%d %H:%M:%S")
                table.add_row(*map(escape, (one.uid, when, one.plan, one.agent, one.status, one.reason)))
        _screen.print(table)


@serve.command("tiled")
def serve_tiled(
    directory: Folder = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Port = 0,
    readable: Annotated[
        list[Path] | None, typer.Option(help="A folder that detectors write files into; repeatable.")
    ] = None,
) -> None:
    """Serve a data folder with Tiled."""
    with _plain_errors():
        from ebl_autonomy.data.folder import api_key_of, default_directory, existing_folders
        from ebl_autonomy.data.server import run_server

        folders = existing_folders(readable or ())
        folder = directory or default_directory()
        key = api_key_of(folder)

        def announce(uri: str) -> None:
            _screen.print(f"Tiled at {uri}\napi_key {key}\ndata in {folder}", soft_wrap=True, highlight=False)

        try:
            run_server(folder, host=host, port=port, readable=folders, ready=announce)
        except BlockingIOError as error:
            raise EblError(f"another server already serves {folder}: connect to that one") from error


@serve.command("ioc")
def serve_ioc(
    prefix: Annotated[str, typer.Option(help="Prefix of every PV.")] = "EBL:",
    tier: TierOption = "B",
    seed: Seed = 0,
    speed: Annotated[float, typer.Option(help="Simulated seconds per wall second.")] = 1.0,
    port: Port = 0,
) -> None:
    """Serve the simulated beamline as an EPICS IOC on loopback."""
    with _plain_errors():
        from ebl_autonomy.sim_devices.ioc import serve_beamline

        serve_beamline(seed, tier, speed, prefix, port)


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Print our own errors and the system's as one line without a traceback, and exit with code 2."""
    logging.getLogger("bluesky").setLevel(logging.CRITICAL)  # the RunEngine logs every failure with its traceback
    try:
        yield
    except (EblError, OSError) as error:  # OSError: e.g. a folder that cannot be written, or a full disk
        _errors.print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True, highlight=False)
        raise typer.Exit(2) from None


def _uid(client: Any, run: str) -> str:
    if run != "last":
        return run
    uids = list(client)
    if not uids:
        raise BadInputError("there are no runs yet: create one with 'ebl-autonomy demo'")
    return str(uids[-1])


def _print(line: str) -> None:
    _screen.print(line, soft_wrap=True, highlight=False, markup=False)


def _um2(value: float) -> str:
    return f"{value:.1f} µm²"
