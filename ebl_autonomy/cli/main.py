"""The commands and their options. Each command imports its implementation only when it runs."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand

from ebl_autonomy import __version__
from ebl_autonomy.cli.demos import demos
from ebl_autonomy.cli.messages import errors, plain_errors, print_line, screen
from ebl_autonomy.cli.options import Folder, Key, TierOption, Uri, examples, key_for
from ebl_autonomy.data.folder import default_directory
from ebl_autonomy.errors import BadInputError, EblError

if TYPE_CHECKING:
    from ebl_autonomy.data.folder import DataFolder

NO_RUNS = "create one with 'ebl-autonomy demo', or connect(RE) in a session"


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
app.add_typer(demos)
app.add_typer(serve, name="serve")

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A uid or its first characters, a scan id, or -1 for the latest run, -2 for the one before."
    ),
]
IocSeed = Annotated[int, typer.Option(min=0, help="Seeds the misalignment and the noise.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 selects a free one.")]


def _say_version(asked: bool) -> None:
    if asked:
        print_line(f"ebl-autonomy {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command(cls=RunCommand, epilog=examples("report -1", "report 12 --output scan12", "report 3f9a2c"))
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
    with plain_errors(), _reading(tiled, api_key, directory) as client:
        from ebl_autonomy.data import read_run
        from ebl_autonomy.records import survey_stage
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
            print_line(line)
        for line in told.suspect_readings:
            print_line(f"suspect: {line}")
        if stage := survey_stage(record.start):
            print_line(f"survey: {stage}")
        print_line(f"verdict: {told.verdict.headline}")
        print_line(f"report: {write_report(record, output, told=told)}")


@app.command(epilog=examples("runs", "runs --limit 100 | grep bayesian", "runs --json"))
def runs(
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of runs.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print all that is known, as JSON.")] = False,
    tiled: Uri = None,
    api_key: Key = None,
    directory: Folder = None,
) -> None:
    """List the latest runs: points, the best reading of the objective or the share of a map, and how each ended."""
    with plain_errors():
        from ebl_autonomy.cli.lists import line_width, run_lines

        found: list[Any] = []
        if any(one is not None for one in (tiled, api_key, directory)) or default_directory().exists():
            from ebl_autonomy.data import runs as latest

            with _reading(tiled, api_key, directory) as client:
                found = latest(client, limit)
        if as_json:
            _print_json(found)
        elif found:
            for line in run_lines(found, line_width(screen)):
                print_line(line)
        else:
            errors.print(escape(f"no runs in {tiled or directory or default_directory()}: {NO_RUNS}"), soft_wrap=True)


@app.command(cls=RunCommand, epilog=examples("export -1 --csv run.csv", "export 12 --stream decisions | less -S"))
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
    with plain_errors(), _reading(tiled, api_key, directory) as client:
        from ebl_autonomy.data.table import run_table

        table = run_table(run, client, stream)
        if file is None:
            with _utf8(sys.stdout.buffer) as out:
                table.write_csv(out)
        else:
            with file.open("w", encoding="utf-8", newline="") as out:
                table.write_csv(out)
            print_line(f"{table.rows} rows, {len(table.columns)} columns: {file.resolve()}")
        if table.left_out:
            told = f"left out, for they are no single numbers or texts: {', '.join(table.left_out)}"
            errors.print(escape(told), soft_wrap=True, highlight=False)


@app.command()
def agents(
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the registered agents, those of other packages too, with their options."""
    with plain_errors():
        from ebl_autonomy.cli.lists import agent_entries, agent_lines, line_width

        found = agent_entries()
        if as_json:
            _print_json(found)
            return
        for line in agent_lines(found, line_width(screen)):
            print_line(line)


@app.command()
def docs() -> None:
    """Say where the manual is on this machine."""
    with plain_errors():
        from ebl_autonomy.cli.lists import manual_pages

        for page, title in manual_pages():
            print_line(f"{page}  {title}")


@serve.command(
    "tiled", epilog=examples("serve tiled", "serve tiled --host 0.0.0.0 --port 8000 --readable /data/detector")
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
    with plain_errors():
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
                print_line(line)

        try:
            run_server(folder, host=host, port=port, readable=folders, ready=announce)
        except BlockingIOError as error:
            raise EblError(_served_already(DataFolder(folder.resolve()))) from error


@serve.command("ioc", epilog=examples("serve ioc --speed 50 --tier A", "serve ioc --beamline microprobe"))
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
    with plain_errors():
        from ebl_autonomy.sim_devices.ioc import BEAMLINES, serve_beamline, serve_microprobe

        if beamline not in BEAMLINES:
            raise BadInputError(f"--beamline={beamline!r}: use one of {list(BEAMLINES)}")
        if beamline == "microprobe":
            serve_microprobe(seed, sample, speed, prefix, port)
        else:
            serve_beamline(seed, tier, speed, prefix, port)


@contextmanager
def _reading(tiled: str | None, api_key: str | None, directory: Path | None) -> Iterator[Any]:
    """A client for a command that only reads, which creates no data folder.

    Raises
    ------
    BadInputError
        If there is no such folder, or it holds no data of this package.
    """
    api_key = key_for(tiled, api_key)
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


def _print_json(found: Sequence[Any]) -> None:
    """Dataclasses as JSON, in which None stands for a number that is none."""
    value = [{k: None if v != v else v for k, v in asdict(one).items()} for one in found]
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")
