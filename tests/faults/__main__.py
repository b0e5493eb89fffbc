"""``python -m tests.faults``: run seeds, print one line each, and exit with 1 after any violation."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .cases import draw
from .runner import Outcome, run_seed


def main() -> int:
    """Run the seeds that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Faults drawn from seeds.")
    parser.add_argument("--seeds", type=int, default=10, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="run this one only")
    parser.add_argument("--theme", help="of the seeds, only those of one theme")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at the same time")
    parser.add_argument("--keep", type=Path, help="keep the folder of each seed in this one")
    parser.add_argument("--list", action="store_true", help="only print what is drawn")
    arguments = parser.parse_args()
    seeds = (
        [arguments.seed] if arguments.seed is not None else range(arguments.first, arguments.first + arguments.seeds)
    )
    chosen = [seed for seed in seeds if arguments.theme in (None, draw(seed).theme)]
    if arguments.list:
        for seed in chosen:
            say(f"seed {seed:4d} {draw(seed)}")
        return 0
    began = time.monotonic()
    outcomes: list[Outcome] = []

    def run(seed: int) -> Outcome:
        return run_seed(seed, arguments.keep / str(seed) if arguments.keep else None)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    pool = ThreadPoolExecutor(arguments.jobs)
    try:
        for outcome in pool.map(run, chosen):
            say(str(outcome))
            if arguments.seed is not None:
                say("\n".join(f"     . {note}" for note in outcome.notes))
            outcomes.append(outcome)
    finally:
        pool.shutdown(cancel_futures=True)  # the seeds under way end what they started
    say(_summary(outcomes, time.monotonic() - began))
    return int(any(outcome.violations for outcome in outcomes))


def _summary(outcomes: list[Outcome], seconds: float) -> str:
    red = [outcome for outcome in outcomes if outcome.violations]
    kinds = Counter(violation.split()[0] for outcome in red for violation in outcome.violations)
    themes = Counter(outcome.case.theme for outcome in red)
    lines = [f"{len(outcomes)} seeds in {seconds:.0f} s: {len(outcomes) - len(red)} hold, {len(red)} do not"]
    for name, counts in (("violations", kinds), ("themes", themes)):
        if counts:
            lines.append(f"{name}: " + ", ".join(f"{key} {count}" for key, count in sorted(counts.items())))
    return "\n".join(lines)


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
