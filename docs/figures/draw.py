"""Draws what `rooms` and `walks` found."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import layout
import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path as Outline
from rooms import Room

__all__ = ["draw_house", "draw_walks", "tints"]

INK, FAINT, LINE, PLAIN = "#1f2933", "#7b8794", "#9aa5b1", "#f1f3f5"
TINTS = ("#d3e5f5", "#fde3cb", "#d2eddf", "#f4d9ea", "#fcf0c9", "#dcf1fa")
"""Okabe and Ito's colours, lightened: one for each room that the walks pass."""

WIDTH, HEIGHT, GAP, LANE, FLOOR = 2.45, 0.8, 0.3, 0.12, 1.3
"""Of a room, between rooms, of an arrow that passes a floor, from floor to floor; inches."""

CARD, ROW, HEAD, BETWEEN = 4.3, 0.235, 0.33, 0.34
"""Width of a card, height of its lines and of its head, and between cards; inches."""


def draw_house(layers: Sequence[Sequence[str]], rooms: Sequence[Room], tints: Mapping[str, str], path: Path) -> None:
    """The rooms on their floors, with an arrow for each import that does not follow from others.

    The lowest layer is the ground that all others may stand on, without arrows. A room beside the layers stands on the
    lowest floor above all that it imports, with a broken outline.
    """
    *upper, ground = layers
    floors = {name: i for i, layer in enumerate(upper) for name in layer}
    for room in rooms:
        if room.name not in (*floors, *ground):
            floors[room.name] = min(floors[name] for name in room.imports if name in floors) - 1
    imports = {room.name: [name for name in room.imports if name in floors] for room in rooms if room.name in floors}
    places, routes = layout.place(floors, layout.needed(imports), WIDTH, GAP, LANE)
    places |= {name: (i - (len(ground) - 1) / 2) * (WIDTH + GAP) for i, name in enumerate(ground)}
    right, left = max(places.values()) + WIDTH / 2, min(places.values()) - WIDTH / 2
    figure, ax = _canvas(left - 0.25, right + 0.25, -(len(upper) + 0.5) * FLOOR, HEIGHT / 2 + 0.75)
    for floor in range(1, len(upper), 2):
        ax.add_patch(Rectangle((left - 9, -(floor + 0.5) * FLOOR), right - left + 18, FLOOR, color="#f8fafb", zorder=0))
    slab = (left - 9, -(len(upper) + 0.5) * FLOOR)
    ax.add_patch(Rectangle(slab, right - left + 18, FLOOR, color="#e4e7eb", zorder=0))
    for route in routes.values():
        _draw_route(ax, route)
    layered = {name for layer in layers for name in layer}
    for room in rooms:
        x, y = places[room.name], -floors.get(room.name, len(upper)) * FLOOR
        _draw_room(ax, room, x, y, tints.get(room.name, PLAIN), is_beside=room.name not in layered)
    ax.text(left, HEIGHT / 2 + 0.4, "The rooms of ebl_autonomy", fontsize=14, weight="bold", va="center")
    note = "An arrow is an import. What follows from other arrows is left out; the ground is there for all."
    ax.text(right, HEIGHT / 2 + 0.4, note, fontsize=9, color=FAINT, ha="right", va="center")
    _save(figure, path)


def draw_walks(walks: Mapping[str, Sequence[str]], tints: Mapping[str, str], path: Path) -> None:
    """The two walks side by side: a card for each stay in a room, a line for each function."""
    titles = {"proposal": "A proposal, from suggest to set", "reading": "A reading, from read to ingest"}
    tall = max(_height(stations) for stations in walks.values())
    wide = len(walks) * CARD + (len(walks) - 1) * 0.7
    figure, ax = _canvas(-0.2, wide + 0.2, -tall - 0.2, 0.75)
    for k, (name, stations) in enumerate(walks.items()):
        x, y = k * (CARD + 0.7), 0.0
        ax.text(x, 0.45, titles[name], fontsize=13, weight="bold", va="center")
        ax.text(x + CARD, 0.45, f"{len(stations) - 1} hops", fontsize=11, color=FAINT, ha="right", va="center")
        number = 0
        for i, (room, stay) in enumerate(_stays(stations)):
            if i:
                _draw_arrow(ax, (x + CARD / 2, y + BETWEEN), (x + CARD / 2, y))
            y = _draw_card(ax, x, y, room, stay, number, tints[room]) - BETWEEN
            number += len(stay)
    _save(figure, path)


def _draw_room(ax: Axes, room: Room, x: float, y: float, tint: str, is_beside: bool) -> None:
    ax.add_patch(
        FancyBboxPatch(
            (x - WIDTH / 2, y - HEIGHT / 2), WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=0.1",
            facecolor=tint, edgecolor=INK, linewidth=0.9, linestyle=(0, (4, 2)) if is_beside else "-", zorder=3,
        )
    )  # fmt: skip
    ax.text(x, y + 0.2, room.name, fontsize=11.5, weight="bold", ha="center", va="center", zorder=4)
    lines = textwrap.wrap(room.summary, 36)
    text = "\n".join([*lines[:1], *([lines[1] + (" …" if len(lines) > 2 else "")] if len(lines) > 1 else [])])
    ax.text(x, y - 0.14, text, fontsize=7.6, color="#52606d", ha="center", va="center", linespacing=1.25, zorder=4)


def _draw_route(ax: Axes, route: Sequence[tuple[float, int]]) -> None:
    """A line from the bottom of a room to the top of another: upright on each floor, curved between floors."""
    points = [(x, -floor * FLOOR) for x, floor in route]
    x, y = points[0][0], points[0][1] - HEIGHT / 2
    vertices, codes = [(x, y)], [Outline.MOVETO]
    for i, (next_x, next_y) in enumerate(points[1:], start=1):
        arrives = i == len(points) - 1
        top = next_y + HEIGHT / 2 + (0.07 if arrives else 0.0)
        bend = 0.55 * (y - top)
        vertices += [(x, y - bend), (next_x, top + bend), (next_x, top)]
        codes += [Outline.CURVE4] * 3
        if not arrives:
            vertices.append((next_x, next_y - HEIGHT / 2))
            codes.append(Outline.LINETO)
        x, y = next_x, next_y - HEIGHT / 2
    ax.add_patch(PathPatch(Outline(vertices, codes), facecolor="none", edgecolor=LINE, linewidth=1.2, zorder=1))
    tip_x, tip_y = vertices[-1]
    _draw_arrow(ax, (tip_x, tip_y + 0.03), (tip_x, tip_y - 0.07))


def _draw_arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    ax.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>,head_length=4.5,head_width=2.2", shrinkA=0, shrinkB=0, color=LINE,
            linewidth=1.2, zorder=2,
        )
    )  # fmt: skip


def _draw_card(ax: Axes, x: float, y: float, room: str, stay: Sequence[str], first: int, tint: str) -> float:
    """A card whose top is at `y`; returns where its bottom is."""
    height = HEAD + ROW * len(stay) + 0.06
    ax.add_patch(
        FancyBboxPatch(
            (x, y - height), CARD, height, boxstyle="round,pad=0,rounding_size=0.08", facecolor=tint, edgecolor=INK,
            linewidth=0.8, zorder=3,
        )
    )  # fmt: skip
    ax.text(x + 0.14, y - 0.17, room, fontsize=10, weight="bold", va="center", zorder=4)
    for i, station in enumerate(stay):
        line = y - HEAD - ROW * (i + 0.5)
        module, function = _split(station)
        ax.add_patch(Circle((x + 0.26, line), 0.095, facecolor="white", edgecolor=INK, linewidth=0.6, zorder=4))
        ax.text(x + 0.26, line - 0.005, str(first + i), fontsize=6.6, ha="center", va="center", zorder=5)
        ax.text(x + 0.46, line, function, fontsize=8.6, family="monospace", va="center", zorder=4)
        ax.text(x + CARD - 0.14, line, module, fontsize=7.6, color="#52606d", ha="right", va="center", zorder=4)
    return y - height


def _stays(stations: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The stations, grouped by the room that they are in one after the other."""
    return [(room, list(group)) for room, group in groupby(stations, key=lambda s: s.split(".")[0])]


def _split(station: str) -> tuple[str, str]:
    """The module below the room, and the function with its class."""
    parts = station.split(".")
    # A module's name is in lower case; a class, or a function of the module, begins what follows it.
    begin = next((i for i, part in enumerate(parts) if part.lstrip("_")[:1].isupper()), len(parts) - 1)
    return ".".join(parts[1:begin]), ".".join(parts[begin:])


def _height(stations: Sequence[str]) -> float:
    stays = _stays(stations)
    return len(stations) * ROW + len(stays) * (HEAD + 0.06) + (len(stays) - 1) * BETWEEN


def tints(walks: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """A colour for each room that the walks pass, in the order of their first visit."""
    passed = dict.fromkeys(station.split(".")[0] for stations in walks.values() for station in stations)
    return {room: TINTS[i % len(TINTS)] for i, room in enumerate(passed)}


def _canvas(left: float, right: float, bottom: float, top: float) -> tuple[Figure, Axes]:
    """A figure in which one unit is one inch."""
    mpl.rcParams.update({"font.family": "DejaVu Sans", "text.color": INK})
    figure = plt.figure(figsize=(right - left, top - bottom))
    ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    ax.set(xlim=(left, right), ylim=(bottom, top))
    ax.axis("off")
    return figure, ax


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=150, metadata={"Software": None})
    plt.close(figure)
