"""Draws the rooms of the house with their imports, and the walks of a proposal and of a reading through them.

    python docs/figures    # writes docs/images/rooms.json, rooms.png and walks.png, and prints the walks

Everything is found by script: the layers in pyproject.toml, the imports in the code, the walks in a run. A test
compares the committed rooms.json with what is found.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import draw
import rooms
from walks import trace_walks

IMAGES = Path(__file__).parents[1] / "images"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=IMAGES, help="folder for the three files")
    folder = parser.parse_args().output
    layers, found, walks = rooms.layers(), rooms.rooms(), trace_walks()
    data = {"layers": layers, "beside": rooms.beside(), "rooms": [asdict(room) for room in found], "walks": walks}
    (folder / "rooms.json").write_text(json.dumps(data, indent=1) + "\n")
    tints = draw.tints(walks)
    draw.draw_house(layers, found, tints, folder / "rooms.png")
    draw.draw_walks(walks, tints, folder / "walks.png")
    for name, stations in walks.items():
        print(f"{name}: {len(stations) - 1} hops", *(f"{i:4d}  {s}" for i, s in enumerate(stations)), sep="\n")


if __name__ == "__main__":
    main()
