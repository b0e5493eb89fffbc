"""``python -m benchmarks``: all reports one after the other, as in `make bench`, or one of them by name.

A report measures everything that it compares in the same run, so its ratios hold on any machine. With --page, the
tables between ``<!-- NAME -->`` and ``<!-- end -->`` in that file are replaced by the new ones.
"""

import argparse
import sys
import time
from pathlib import Path

from benchmarks import alignment, deciding, mapping, memory, regions, robustness, searching, spectra, speed
from benchmarks.reporting import Report, filled

REPORTS: dict[str, Report] = {
    report.name: report
    for report in (
        m.REPORT for m in (speed, memory, deciding, searching, robustness, alignment, mapping, regions, spectra)
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", type=Path, help="a Markdown file to fill in")
    parser.add_argument("--plots", type=Path, help="the folder for the figures")
    commands = parser.add_subparsers(dest="command", metavar="NAME")
    for report in REPORTS.values():
        command = commands.add_parser(
            report.name,
            help=report.doc.splitlines()[0],
            description=report.doc,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        report.arguments(command)
    options = parser.parse_args()
    chosen = [REPORTS[options.command]] if options.command else list(REPORTS.values())
    if options.page is not None:  # checked before the reports run, which takes hours
        text = options.page.read_text()
        if unmarked := [report.name for report in chosen if filled(text, report.name, "") == text]:
            parser.error(f"{options.page} has no place for {unmarked}: add '<!-- NAME -->' and '<!-- end -->' lines")
    for report in chosen:
        given = options if options.command else _defaults(report)
        if options.plots is not None and report.figure:
            given.plot = options.plots / f"{report.name}.png"
        text = _run(report, given)
        if options.page is not None:
            options.page.write_text(filled(options.page.read_text(), report.name, text))


def _defaults(report: Report) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    report.arguments(parser)
    return parser.parse_args([])


def _run(report: Report, options: argparse.Namespace) -> str:
    """Run a report, print each line as soon as it is known, and return them all."""
    began = time.monotonic()
    print(f"{report.name} ...", file=sys.stderr, flush=True)
    print(f"\n## {report.name}\n", flush=True)
    lines = []
    for line in report.run(options):
        print(line, flush=True)
        lines.append(line)
    print(f"{report.name}: {(time.monotonic() - began) / 60:.1f} min", file=sys.stderr, flush=True)
    return "\n".join(lines)


if __name__ == "__main__":  # spawned worker processes import this module too
    main()
