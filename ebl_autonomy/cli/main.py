"""The commands and their options. Each command imports its implementation only when it runs."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperCommand

from ebl_autonomy import __version__
from ebl_autonomy.data.folder import default_directory
from ebl_autonomy.errors import BadInputError, EblError

if TYPE_CHECKING:
    from ebl_autonomy.data.folder import DataFolder

NO_RUNS = "create one with 'ebl-autonomy demo', or connect(RE) in a session"


def _examples(*commands: str) -> str:
    return "Examples: " + "; ".join(f"ebl-autonomy {command}" for command in commands)


class RunCommand(TyperCommand):
    """A command with a run as its argument, which may be -1: that would otherwise be taken for an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        valued = {name for one in self.params if not getattr(one, "is_flag", False) for name in one.opts}
        runs = [i for i, arg in enumerate(args) if re.fullmatch(r"-\d+", arg) and not (i and args[i - 1] in valued)]
        # A leading space makes it an argument; the lookup of the run strips it.
        back, rest = [f" {args[i]}" for i in runs], [arg for i, arg in enumerate(args) if i not in runs]
        return super().parse_args(ctx, [*back, *rest])


app = typer.Typer(
    help="Autonomous experiments for Bluesky.",
    epilog="Exit codes: 0 done, 1 interrupted, 2 something that was asked for cannot be done.",
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
    str | None,
    typer.Option("--api-key", help="API key of the running Tiled server; the default is $TILED_API_KEY."),
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--directory",
        help="Data folder of the embedded Tiled server; the default is $EBL_AUTONOMY_DATA, or the user's data folder.",
    ),
]
RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A uid or its first characters, a scan id, or -1 for the latest run, -2 for the one before."
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Seeds the misalignment, the noise and the agent.")]
IocSeed = Annotated[int, typer.Option(min=0, help="Seeds the misalignment and the noise.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 selects a free one.")]
TierOption = Annotated[str, typer.Option(help="Motors to align: 4 (A), 8 (B) or 12 (C).")]


def _say_version(asked: bool) -> None:
    if asked:
        _print(f"ebl-autonomy {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command(epilog=_examples("demo", "demo --agent sobol --points 30 --output compared", "demo --prior -1"))
def demo(
    tier: TierOption = "A",
    seed: Seed = 0,
    agent: Annotated[str, typer.Option(help="Name of an agent that 'ebl-autonomy agents' lists.")] = "bayesian",
    points: Annotated[int, typer.Option(help="Maximum number of points.")] = 60,
    output: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("demo_report"),
    as_json: Annotated[bool, typer.Option("--json", help="Print only the result, as JSON.")] = False,
    prior: Annotated[
        list[str] | None, typer.Option(metavar="RUN", help="A past run to learn from, as of 'report'; repeatable.")
    ] = None,
    tiled: Uri = None,
    api_key: Key = None,
    directory: Folder = None,
) -> None:
    """Align the simulated beamline and write a report. A data folder that is not there is created."""
    with _plain_errors():
        from ebl_autonomy.cli.demo import run_demo
        from ebl_autonomy.report.wording import findings

        key = _key_for(tiled, api_key)
        result = run_demo(tier, seed, agent, points, output, tiled, key, directory, as_json, prior or [])
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


@app.command(cls=RunCommand, epilog=_examples("report -1", "report 12 --output scan12", "report 3f9a2c"))
def report(
    run: RunArgument = "-1",
    output: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("report"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the content of the report as JSON, and write no page.")
    ] = False,
    tiled: Uri = None,
    api_key: Key = None,
    directory: Folder = None,
) -> None:
    """Write the report of a run."""
    with _plain_errors(), _reading(tiled, api_key, directory) as client:
        from ebl_autonomy.data import read_run
        from ebl_autonomy.report import report_contents, write_report
        from ebl_autonomy.report.wording import findings

        record = read_run(run, client)
        told = report_contents(record, client=client)
        if as_json:
            sys.stdout.write(told.model_dump_json(indent=2) + "\n")
            return
        summary, objectives = told.summary, [one.name for one in told.objectives]
        units = record.metadata.units
        for line in findings(told.recommended, summary.best_reading, summary.left_at, objectives, units):
            _print(line)
        for line in told.suspect_readings:
            _print(f"suspect: {line}")
        _print(f"verdict: {told.verdict.headline}")
        _print(f"report: {write_report(record, output, told=told)}")


@app.command(epilog=_examples("runs", "runs --limit 100 | grep bayesian", "runs --json"))
def runs(
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of runs.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print all that is known, as JSON.")] = False,
    tiled: Uri = None,
    api_key: Key = None,
    directory: Folder = None,
) -> None:
    """List the latest runs: points, the best reading of the objective or the share of a map, and how each ended."""
    with _plain_errors():
        from ebl_autonomy.cli.lists import line_width, run_lines

        found: list[Any] = []
        if any(one is not None for one in (tiled, api_key, directory)) or default_directory().exists():
            from ebl_autonomy.data import runs as latest

            with _reading(tiled, api_key, directory) as client:
                found = latest(client, limit)
        if as_json:
            _print_json(found)
        elif found:
            for line in run_lines(found, line_width(_screen)):
                _print(line)
        else:
            _errors.print(escape(f"no runs in {tiled or directory or default_directory()}: {NO_RUNS}"), soft_wrap=True)


@app.command(cls=RunCommand, epilog=_examples("export -1 --csv run.csv", "export 12 --stream decisions | less -S"))
def export(
    run: RunArgument,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="File to write; the default is standard output.")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="As CSV in UTF-8, which is the only format so far.")] = True,
    stream: Annotated[str, typer.Option(help="Stream to export.")] = "primary",
    tiled: Uri = None,
    api_key: Key = None,
    directory: Folder = None,
) -> None:
    """Write the rows of a run as a table, one column per key.

    A row that answers a proposal also has what the agent decided: the position that was asked, its reason and so on.
    Arrays, and what detectors wrote into files, are left out and named.
    """
    with _plain_errors(), _reading(tiled, api_key, directory) as client:
        from ebl_autonomy.data.table import run_table

        table = run_table(run, client, stream)
        if file is None:
            with _utf8(sys.stdout.buffer) as out:
                table.write_csv(out)
        else:
            with file.open("w", encoding="utf-8", newline="") as out:
                table.write_csv(out)
            _print(f"{table.rows} rows, {len(table.columns)} columns: {file.resolve()}")
        if table.left_out:
            told = f"left out, for they are no single numbers or texts: {', '.join(table.left_out)}"
            _errors.print(escape(told), soft_wrap=True, highlight=False)


@app.command()
def agents(
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the registered agents, those of other packages too, with their options."""
    with _plain_errors():
        from ebl_autonomy.cli.lists import agent_entries, agent_lines, line_width

        found = agent_entries()
        if as_json:
            _print_json(found)
            return
        for line in agent_lines(found, line_width(_screen)):
            _print(line)


@app.command()
def docs() -> None:
    """Say where the manual is on this machine."""
    with _plain_errors():
        from ebl_autonomy.cli.lists import manual_pages

        for page, title in manual_pages():
            _print(f"{page}  {title}")


@serve.command(
    "tiled", epilog=_examples("serve tiled", "serve tiled --host 0.0.0.0 --port 8000 --readable /data/detector")
)
def serve_tiled(
    directory: Folder = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Port = 0,
    readable: Annotated[
        list[Path] | None, typer.Option(help="A folder that detectors write files into; repeatable.")
    ] = None,
) -> None:
    """Serve a data folder with Tiled, for programs and for a web browser. A folder that is not there is created."""
    with _plain_errors():
        from ebl_autonomy.data.address import browser_address
        from ebl_autonomy.data.folder import DataFolder, api_key_of, existing_folders
        from ebl_autonomy.data.server import run_server

        folders = existing_folders(readable or ())
        folder = directory or default_directory()
        is_new = not folder.exists()
        key = api_key_of(folder)

        def announce(uri: str) -> None:
            lines = [f"Tiled at {uri}", f"api_key {key}", f"data in {folder}{' (created now)' * is_new}"]
            for line in [*lines, f"web page {browser_address(uri, key)}"]:
                _print(line)

        try:
            run_server(folder, host=host, port=port, readable=folders, ready=announce)
        except BlockingIOError as error:
            raise EblError(_served_already(DataFolder(folder.resolve()))) from error


@serve.command("ioc", epilog=_examples("serve ioc --speed 50 --tier A", "serve ioc --beamline microprobe"))
def serve_ioc(
    prefix: Annotated[str, typer.Option(help="Prefix of every PV.")] = "EBL:",
    tier: TierOption = "B",
    seed: IocSeed = 0,
    speed: Annotated[float, typer.Option(help="Simulated seconds per wall second.")] = 1.0,
    port: Port = 0,
    beamline: Annotated[str, typer.Option(help="What is served: mirrors to align, or a microprobe.")] = "mirrors",
    sample: Annotated[str, typer.Option(help="The microprobe's sample: cells, particles or grains.")] = "cells",
) -> None:
    """Serve a simulated beamline as an EPICS IOC on loopback."""
    with _plain_errors():
        from ebl_autonomy.sim_devices.ioc import BEAMLINES, serve_beamline, serve_microprobe

        if beamline not in BEAMLINES:
            raise BadInputError(f"--beamline={beamline!r}: use one of {list(BEAMLINES)}")
        if beamline == "microprobe":
            serve_microprobe(seed, sample, speed, prefix, port)
        else:
            serve_beamline(seed, tier, speed, prefix, port)


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Print our own errors, the system's and the server's as one line without a traceback, and exit with code 2."""
    logging.getLogger("bluesky").setLevel(logging.CRITICAL)  # the RunEngine logs every failure with its traceback
    try:
        yield
    except BrokenPipeError:  # as of `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be flushed goes nowhere
        raise typer.Exit(1) from None
    except EblError as error:
        _fail(str(error))
    except OSError as error:  # e.g. a folder that cannot be written, or a full disk
        _fail(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
    except Exception as error:
        import httpx  # takes a while, and is loaded already where it can fail

        if not isinstance(error, httpx.HTTPError):
            raise
        _fail(f"the Tiled server did not answer as it should: {error}")


def _fail(text: str) -> None:
    _errors.print(f"[red]error:[/red] {escape(text)}", soft_wrap=True, highlight=False)
    raise typer.Exit(2) from None


@contextmanager
def _reading(tiled: str | None, api_key: str | None, directory: Path | None) -> Iterator[Any]:
    """A client for a command that only reads, which creates no data folder.

    Raises
    ------
    BadInputError
        If there is no such folder, or it holds no data of this package.
    """
    api_key = _key_for(tiled, api_key)
    if tiled is None:
        from ebl_autonomy.data.folder import is_data_folder

        folder = directory or default_directory()
        if directory is None and not folder.exists():
            raise BadInputError(f"there are no runs yet, the data folder {str(folder)!r} does not exist: {NO_RUNS}")
        if not is_data_folder(folder):
            what = "holds no data of this package" if folder.is_dir() else "is no folder" * folder.exists()
            raise BadInputError(
                f"the data folder {str(folder)!r} {what or 'does not exist'}: correct "
                f"{'--directory' if directory is not None else '$EBL_AUTONOMY_DATA'}. A session creates the "
                "folder of connect(RE, directory=…), and so does 'ebl-autonomy demo --directory …'"
            )
    from ebl_autonomy.data import connect

    with connect(None, tiled, api_key, directory) as connection:
        yield connection.client


def _key_for(tiled: str | None, api_key: str | None) -> str | None:
    """The key of a running server. The environment's belongs to that server: the embedded one has a key of its own."""
    if api_key is not None and tiled is None:
        raise BadInputError("--api-key is the key of a running server: give its address too, as --tiled URI")
    return api_key or (os.environ.get("TILED_API_KEY") if tiled is not None else None)


def _served_already(folder: DataFolder) -> str:
    server = folder.server
    if server is None:
        return f"another process starts or ends a server of {folder.path}: try again in a few seconds"
    remedy = "close the sessions that use it" if server["leased"] else f"end process {server['pid']}"
    return (
        f"{server['uri']} serves {folder.path} already. Sessions and commands with this --directory use it by "
        f"themselves, other programs with the key in {folder.path / 'api_key'}. To serve otherwise, {remedy} first"
    )


@contextmanager
def _utf8(raw: IO[bytes]) -> Iterator[io.TextIOWrapper]:
    """Standard output as UTF-8 without translation of line ends, whatever the locale."""
    text = io.TextIOWrapper(raw, encoding="utf-8", newline="", errors="backslashreplace")
    try:
        yield text
        text.flush()
    finally:
        text.detach()


def _print(line: str) -> None:
    _screen.print(line, soft_wrap=True, highlight=False, markup=False)


def _print_json(found: Sequence[Any]) -> None:
    """Dataclasses as JSON, in which None stands for a number that is none."""
    value = [{k: None if v != v else v for k, v in asdict(one).items()} for one in found]
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def _um2(value: float) -> str:
    return f"{value:.1f} µm²"
