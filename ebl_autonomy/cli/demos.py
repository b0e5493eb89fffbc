"""The demos and their options: an alignment, which is ``demo`` alone, and those of the scanning microprobe."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ebl_autonomy.cli.messages import plain_errors, print_line, screen
from ebl_autonomy.cli.options import Folder, Json, Key, Output, Seed, TierOption, Uri, examples, key_for
from ebl_autonomy.errors import BadInputError

__all__ = ["demo", "demo_map", "demo_roi", "demo_xanes", "demos"]

demos = typer.Typer(name="demo", invoke_without_command=True)

Sample = Annotated[
    str, typer.Option(metavar="SAMPLE", help="cells, particles, grains, or an .npz file with maps of count rates.")
]
Fly = Annotated[bool, typer.Option("--fly", help="Fly lines along x.")]


@demos.callback(epilog=examples("demo", "demo --agent sobol --points 30 --output compared", "demo map --share 0.05"))
def demo(
    context: typer.Context,
    tier: TierOption = "A",
    seed: Seed = 0,
    agent: Annotated[str, typer.Option(help="Name of an agent that 'ebl-autonomy agents' lists.")] = "bayesian",
    points: Annotated[int, typer.Option(help="Maximum number of points.")] = 60,
    output: Output = Path("demo_report"),
    as_json: Json = False,
    prior: Annotated[
        list[str] | None, typer.Option(metavar="RUN", help="A past run to learn from, as of 'report'; repeatable.")
    ] = None,
    tiled: Uri = None,
    api_key: Key = None,
    directory: Folder = None,
) -> None:
    """Align the simulated beamline and write a report; or scan a simulated sample, with a command below.

    A data folder that is not there is created.
    """
    with plain_errors():
        if context.invoked_subcommand is not None:
            _refuse_options(context)
            return
        from ebl_autonomy.cli.demo import run_demo
        from ebl_autonomy.cli.measuring import Storage
        from ebl_autonomy.report.wording import findings

        storage = Storage(tiled, key_for(tiled, api_key), directory)
        result = run_demo(tier, seed, agent, points, output, storage, as_json, prior or [])
        if as_json:
            _print_json(result)
            return
        screen.print(
            f"spot area {_um2(result.spot_area_before)} → [bold]{_um2(result.spot_area_after)}[/bold] "
            f"(best possible {_um2(result.spot_area_best)}) after {result.points} points, "
            f"{result.seconds_wall:.0f} s here and {result.seconds_beamline:.0f} s on the beamline's clock"
        )
        area = "camera_spot_area"
        for line in findings(result.recommended, result.best_reading, result.left_at, [area], {area: "µm²"}):
            print_line(line)
        print_line(f"report: {result.report}")


@demos.command("map", epilog=examples("demo map", "demo map --sample particles --share 0.05", "demo map --fly"))
def demo_map(
    sample: Sample = "cells",
    seed: Seed = 0,
    share: Annotated[float, typer.Option(help="Share of the pixels that are measured.", show_default="0.1")] = 0.1,
    points: Annotated[
        int | None, typer.Option(help="Number of points, instead of a share.", show_default=False)
    ] = None,
    fly: Fly = False,
    output: Output = Path("demo_map"),
    as_json: Json = False,
    tiled: Uri = None,
    api_key: Key = None,
    directory: Folder = None,
) -> None:
    """Map a simulated sample where an agent expects to learn most, and compare the map with the truth and a raster."""
    with plain_errors():
        from ebl_autonomy.cli.demo_map import run_demo_map
        from ebl_autonomy.cli.measuring import Storage

        storage = Storage(tiled, key_for(tiled, api_key), directory)
        _tell(run_demo_map(sample, seed, share, points, fly, output, storage, as_json), as_json)


@demos.command("roi", epilog=examples("demo roi", "demo roi --sample cells --regions 5", "demo roi --fly"))
def demo_roi(
    sample: Sample = "particles",
    seed: Seed = 0,
    regions: Annotated[int, typer.Option(help="Maximum number of fine scans.")] = 20,
    fly: Fly = False,
    output: Output = Path("demo_roi"),
    as_json: Json = False,
    tiled: Uri = None,
    api_key: Key = None,
    directory: Folder = None,
) -> None:
    """Find the regions of interest of a simulated sample in a coarse map, and scan only these finely."""
    with plain_errors():
        from ebl_autonomy.cli.demo_roi import run_demo_roi
        from ebl_autonomy.cli.measuring import Storage

        storage = Storage(tiled, key_for(tiled, api_key), directory)
        _tell(run_demo_roi(sample, seed, regions, fly, output, storage, as_json), as_json)


@demos.command("xanes", epilog=examples("demo xanes", "demo xanes --energies 10 --regions 2", "demo xanes --fly"))
def demo_xanes(
    sample: Sample = "particles",
    seed: Seed = 0,
    regions: Annotated[int, typer.Option(help="Maximum number of regions.")] = 3,
    energies: Annotated[int, typer.Option(help="Maximum number of energies for each region.")] = 6,
    fly: Fly = False,
    output: Output = Path("demo_xanes"),
    as_json: Json = False,
    tiled: Uri = None,
    api_key: Key = None,
    directory: Folder = None,
) -> None:
    """Find the regions of a simulated sample and map the chemical phases of each at a few energies."""
    with plain_errors():
        from ebl_autonomy.cli.demo_xanes import run_demo_xanes
        from ebl_autonomy.cli.measuring import Storage

        storage = Storage(tiled, key_for(tiled, api_key), directory)
        _tell(run_demo_xanes(sample, seed, regions, energies, fly, output, storage, as_json), as_json)


def _refuse_options(context: typer.Context) -> None:
    """Options before the name of a demo are those of the alignment, and would have no effect."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if given:
        flags = {one.name: one.opts[0] for one in context.command.params}
        told = ", ".join(flags[name] for name in given)
        name = context.invoked_subcommand
        raise BadInputError(f"{told} before {name!r}: give the options after it, as 'ebl-autonomy demo {name} …'")


def _tell(result: Any, as_json: bool) -> None:
    """Print the result of a demo: as JSON, or its lines."""
    if as_json:
        _print_json(result)
        return
    for line in result.lines():
        print_line(line)
    print_line(f"report: {result.report}")


def _print_json(result: Any) -> None:
    sys.stdout.write(result.model_dump_json(indent=2) + "\n")


def _um2(value: float) -> str:
    return f"{value:.1f} µm²"
