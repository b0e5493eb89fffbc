"""``python -m benchmarks``: how fast the plan is, how free it leaves the RunEngine's loop, and what a decision costs.

``python -m benchmarks alignment --tier B --points 120`` tells how well the simulated beamline is aligned.
"""

import argparse
from pathlib import Path

from benchmarks import alignment, deciding, speed


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("speed", help="points per second, and stalls of the RunEngine's loop")
    deciding_ = commands.add_parser("deciding", help="what a decision costs, against botorch")
    deciding_.add_argument("--plot", type=Path, help="where to draw it")
    align = commands.add_parser("alignment", help="beam widths reached, by seed")
    align.add_argument("--tier", default="A", choices=["A", "B", "C"])
    align.add_argument("--points", type=int, default=60)
    align.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    align.add_argument("--agent", default="bayesian")
    options = parser.parse_args()
    if options.command == "alignment":
        alignment.report(options.tier, options.points, options.seeds, options.agent)
    elif options.command == "deciding":
        deciding.report(options.plot)
    elif options.command == "speed":
        speed.report()
    else:
        speed.report()
        print()
        deciding.report()


main()
