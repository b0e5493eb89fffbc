"""Adaptive maps of real samples against a heuristic, raster and Sobol: errors, honesty, and the cost of a decision.

The maps are those of an aggregate measured at NSLS-II HXN (fluorescence; Fe, Cr, and five channels together) and of
particles measured at ALS STXM (the optical density at one energy). They are replayed as truth: counts are Poisson, with
a dwell time such that 1 % of the pixels of the strongest channel have 1000 counts or more; optical densities have a
noise of 0.02.

NRMSE is the root-mean-square error over the truth's standard deviation, SSIM that of scikit-image; of five channels the
mean. The heuristic measures where the spread of the ten nearest values times the distance to the nearest is largest, a
thousandth of the pixels at a time, and rebuilds by inverse distances; raster is rebuilt by inverse distances or
bilinearly, whichever is better. With equal time, everyone may fly: raster flies lines with pixels as coarse as the time
asks for, MappingAgent chooses points, lines and dwell times.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.interpolate import RegularGridInterpolator
from scipy.spatial import cKDTree
from scipy.stats import qmc

from benchmarks.real_maps import NOISE, Case, by_distance, cases, scores
from benchmarks.reporting import Progress, Report, table
from ebl_autonomy.agents import MappingAgent
from ebl_autonomy.errors import DataError
from ebl_autonomy.space import AxisTravel, Travel

SHARES = (0.02, 0.05, 0.1, 0.2)
BATCH = 8
HEURISTIC_BATCH = 25
"""A thousandth of the pixels, because the heuristic weighs the whole map again for each batch."""
GP_SHARE = 0.02
"""The largest share of the pixels for the exact Gaussian process."""
DWELL_S, OVERHEAD_S = 0.05, 0.02
AXIS = AxisTravel(velocity=100.0, acceleration_s=0.05, settle_s=0.1)
"""In pixels: 15 um/s at HXN's 0.15 um."""
SIZES = (100, 1000, 10_000, 50_000)
SIDE = 512


# -- equal points --------------------------------------------------------------------------------------------------

Found = dict[float, tuple[float, ...]]
Contender = Callable[[Case, int], Found]


def ours(case: Case, seed: int) -> Found:
    """NRMSE, SSIM, and predicted over true NRMSE by share of the pixels."""
    rng = np.random.default_rng(seed)
    rows, columns = case.shape
    names = [f"c{i}" for i in range(len(case.truth))]
    vocs = {"variables": {"x": [0.0, columns], "y": [0.0, rows]}, "observables": names}
    agent = MappingAgent(vocs, seed=seed, step=1.0, counts=case.counts)
    found: Found = {}
    for share in SHARES:
        while (left := int(share * rows * columns) - len(agent.results)) > 0:
            points = agent.suggest(min(BATCH, left))
            pixels = np.array([int(p["y"]) * columns + int(p["x"]) for p in points])
            values = case.measured(pixels, rng)
            agent.ingest(
                [{**p, **dict(zip(names, map(float, v), strict=True))} for p, v in zip(points, values, strict=True)]
            )
        maps = np.stack([mean for mean, _ in agent.map().values()])
        honest = float(np.mean(list(agent.predicted_error().values())))
        error, alike = scores(maps, case.truth)
        found[share] = (error, alike, honest / error)
    return found


def heuristic(case: Case, seed: int) -> Found:
    """Spread of the ten nearest values times the distance to the nearest."""
    rng = np.random.default_rng(seed)
    rows, columns = case.shape
    everywhere = np.indices(case.shape).reshape(2, -1).T
    pixels = first_pixels(qmc.Halton(2, rng=seed), case.shape, 0.01)
    values = case.measured(pixels, rng)
    found: Found = {}
    for share in SHARES:
        while (left := int(share * rows * columns) - len(pixels)) > 0:
            tree = cKDTree(everywhere[pixels])
            distance, index = tree.query(everywhere, k=10)
            spread = (values[index].std(axis=1) / np.maximum(values.std(axis=0), 1e-12)).sum(axis=1)
            worth = (spread + 1e-9) * distance[:, 0]
            worth[pixels] = -1.0
            new = apart(worth, everywhere, min(HEURISTIC_BATCH, left))
            pixels, values = np.append(pixels, new), np.vstack([values, case.measured(new, rng)])
        found[share] = scores(by_distance(pixels, values, case.shape), case.truth)
    return found


def apart(worth: np.ndarray, everywhere: np.ndarray, count: int) -> np.ndarray:
    """The pixels of most worth that are more than two pixels apart."""
    chosen: list[int] = []
    order = np.argpartition(-worth, 50 * count)[: 50 * count]
    for pixel in order[np.argsort(-worth[order])]:
        if worth[pixel] >= 0.0 and all(np.abs(everywhere[pixel] - everywhere[p]).max() > 2 for p in chosen):
            chosen.append(int(pixel))
            if len(chosen) == count:
                break
    return np.array(chosen)


def first_pixels(engine: Any, shape: tuple[int, int], share: float) -> np.ndarray:
    """The first distinct pixels of a quasi-random sequence."""
    points = engine.random(2 ** math.ceil(math.log2(4 * share * shape[0] * shape[1] + 64)))  # Sobol's are balanced so
    numbers = (points[:, 0] * shape[0]).astype(int) * shape[1] + (points[:, 1] * shape[1]).astype(int)
    _, first = np.unique(numbers, return_index=True)
    return numbers[np.sort(first)][: int(share * shape[0] * shape[1])]


def sobol(case: Case, seed: int) -> Found:
    rng = np.random.default_rng(seed)
    found: Found = {}
    for share in SHARES:
        pixels = first_pixels(qmc.Sobol(2, rng=seed), case.shape, share)
        found[share] = scores(by_distance(pixels, case.measured(pixels, rng), case.shape), case.truth)
    return found


def raster(case: Case, seed: int) -> Found:
    """A square grid, with at most the given share of points."""
    rng = np.random.default_rng(seed)
    rows, columns = case.shape
    found: Found = {}
    for share in SHARES:
        budget = int(share * rows * columns)
        count_y = max(2, round(math.sqrt(budget * rows / columns)))
        y, x = evenly(count_y, rows), evenly(budget // count_y, columns)
        pixels = (y[:, None] * columns + x[None, :]).ravel()
        values = case.measured(pixels, rng)
        found[share] = best_of_grid(y, x, values, case)
    return found


def evenly(count: int, size: int) -> np.ndarray:
    return np.floor((np.arange(count) + 0.5) * size / count).astype(int)


def best_of_grid(y: np.ndarray, x: np.ndarray, values: np.ndarray, case: Case) -> tuple[float, float]:
    """The scores of a grid, rebuilt by inverse distances or bilinearly, each score the better one."""
    pixels = (y[:, None] * case.shape[1] + x[None, :]).ravel()
    grid = values.reshape(len(y), len(x), -1)
    where = np.stack(np.meshgrid(*map(np.arange, case.shape), indexing="ij"), axis=-1)
    where = np.clip(where, (y[0], x[0]), (y[-1], x[-1]))
    linear = np.moveaxis(RegularGridInterpolator((y, x), grid)(where), -1, 0)
    both = [scores(maps, case.truth) for maps in (by_distance(pixels, values, case.shape), linear)]
    return min(error for error, _ in both), max(alike for _, alike in both)


def largest_variance(case: Case, seed: int) -> Found:
    """The largest variance of botorch's exact Gaussian process, which is fitted again when the points have doubled."""
    import warnings

    import torch
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from botorch.models.transforms import Standardize
    from gpytorch.mlls import ExactMarginalLogLikelihood

    rng = np.random.default_rng(seed)
    everywhere = np.indices(case.shape).reshape(2, -1).T
    unit = torch.tensor(everywhere / np.array(case.shape))
    pixels = first_pixels(qmc.Sobol(2, rng=seed), case.shape, 0.005)
    values = case.measured(pixels, rng)
    count, next_fit = int(GP_SHARE * math.prod(case.shape)), 0
    state: Any = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while True:
            model = SingleTaskGP(unit[pixels], torch.tensor(values), outcome_transform=Standardize(values.shape[1]))
            if state is None or len(pixels) >= next_fit:
                fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
                state, next_fit = model.state_dict(), 2 * len(pixels)
            else:
                own = model.outcome_transform.state_dict()
                model.load_state_dict({**state, **{f"outcome_transform.{k}": v for k, v in own.items()}})
            model.eval()
            with torch.no_grad():
                parts = [model.posterior(part) for part in unit.split(1024)]
                mean = np.concatenate([part.mean.numpy() for part in parts])
                worth = np.concatenate([part.variance.sum(dim=1).numpy() for part in parts])
            if len(pixels) >= count:
                return {GP_SHARE: scores(mean.T.reshape(-1, *case.shape), case.truth)}
            worth[pixels] = -1.0
            new = apart(worth, everywhere, min(8 * BATCH, count - len(pixels)))
            pixels, values = np.append(pixels, new), np.vstack([values, case.measured(new, rng)])


def gpcam(case: Case, seed: int) -> Found:
    """The largest variance of gpCAM's Gaussian process, which is trained again when the points have doubled.

    The variances of the noise are passed. It takes one channel only.
    """
    if len(case.truth) > 1:
        return {}
    import warnings

    from gpcam import GPOptimizer

    rng = np.random.default_rng(seed)
    everywhere = np.indices(case.shape).reshape(2, -1).T
    unit = everywhere / np.array(case.shape)
    pixels = first_pixels(qmc.Sobol(2, rng=seed), case.shape, 0.005)
    values = case.measured(pixels, rng)[:, 0]
    count, next_fit = int(GP_SHARE * math.prod(case.shape)), 0
    hyperparameters: Any = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while True:
            scale, middle = float(values.std()) or 1.0, float(values.mean())
            noise = np.maximum(values, 1.0) if case.counts else np.full(len(values), NOISE**2)
            model = GPOptimizer()
            model.tell(unit[pixels], (values - middle) / scale, noise_variances=noise / scale**2, append=False)
            if hyperparameters is None or len(pixels) >= next_fit:
                model.train()
                hyperparameters, next_fit = model.hyperparameters, 2 * len(pixels)
            else:
                model.set_hyperparameters(hyperparameters)
            parts = np.array_split(unit, 32)
            mean = np.concatenate([np.ravel(model.posterior_mean(part)["m(x)"]) for part in parts])
            if len(pixels) >= count:
                return {GP_SHARE: scores((middle + scale * mean).reshape(1, *case.shape), case.truth)}
            found = [model.posterior_covariance(part, variance_only=True)["v(x)"] for part in parts]
            worth = np.concatenate([np.ravel(one) for one in found])
            worth[pixels] = -1.0
            new = apart(worth, everywhere, min(8 * BATCH, count - len(pixels)))
            pixels, values = np.append(pixels, new), np.append(values, case.measured(new, rng)[:, 0])


CONTENDERS: dict[str, Contender] = {
    "MappingAgent": ours,
    "heuristic": heuristic,
    "raster": raster,
    "Sobol": sobol,
    "botorch, largest variance": largest_variance,
    **({"gpCAM, largest variance": gpcam} if importlib.util.find_spec("gpcam") else {}),
}

# -- equal time ----------------------------------------------------------------------------------------------------


def ours_in_time(case: Case, seed: int) -> Found:
    """Scores at shares of the time of a full fly scan; points, lines and dwell times as the agent likes."""
    rng = np.random.default_rng(seed)
    rows, columns = case.shape
    names = [f"c{i}" for i in range(len(case.truth))]
    variables = {
        "x": [0, columns],
        "y": [0, rows],
        "dwell": [0.1 * DWELL_S, 10 * DWELL_S],
        "length": [-columns, columns],
    }
    agent = MappingAgent(
        {"variables": variables, "observables": names},
        seed=seed,
        step=1.0,
        counts=case.counts,
        dwell="dwell",
        line="length",
    )
    agent.set_travel(Travel({"x": AXIS, "y": AXIS}), OVERHEAD_S)
    spent, here = 0.0, None
    found: Found = {}
    for share in SHARES:
        while spent < share * full_s(case):
            (point,) = agent.suggest()
            exposure, length = point["dwell"] / DWELL_S, point["length"]
            spent += AXIS_TRAVEL.seconds(here, point) if here else 0.0
            spent += abs(length) * max(point["dwell"], 1.0 / AXIS.velocity) if length else point["dwell"] + OVERHEAD_S
            here = {"x": point["x"] + length, "y": point["y"]}
            sign = math.copysign(1.0, length)
            xs = [point["x"] + sign * (i + 0.5) for i in range(round(abs(length)))] if length else [point["x"]]
            pixels = np.array([int(point["y"]) * columns + int(x) for x in xs])
            values = case.measured(pixels, rng, exposure)
            # The agent is told counts, or else the values themselves.
            told = values * (exposure if case.counts else 1.0)
            agent.ingest(
                [
                    {**point, "x": x, **dict(zip(names, map(float, v), strict=True))}
                    for x, v in zip(xs, told, strict=True)
                ]
            )
        maps = np.stack([mean for mean, _ in agent.map().values()]) * (DWELL_S if case.counts else 1.0)
        found[share] = scores(maps, case.truth)
    return found


AXIS_TRAVEL = Travel({"x": AXIS, "y": AXIS})


def full_s(case: Case) -> float:
    """Seconds of a fly scan of all pixels with `DWELL_S` each."""
    return flown_s(case, case.shape[0], case.shape[1])


def flown_s(case: Case, count_y: int, count_x: int) -> float:
    """Seconds of a fly scan to and fro with coarser pixels."""
    line = max(count_x * DWELL_S, case.shape[1] / AXIS.velocity)
    return count_y * line + (count_y - 1) * float(AXIS.seconds(case.shape[0] / count_y))


def raster_in_time(case: Case, seed: int) -> Found:
    """Lines with square pixels as fine as the time allows; a pixel measures the mean of the stretch that is flown."""
    rng = np.random.default_rng(seed)
    rows, columns = case.shape
    found: Found = {}
    for share in SHARES:
        budget = share * full_s(case)
        count_y = max(n for n in range(2, rows + 1) if flown_s(case, n, max(2, round(n * columns / rows))) <= budget)
        count_x = max(2, round(count_y * columns / rows))
        y = evenly(count_y, rows)
        edges = np.round(np.linspace(0, columns, count_x + 1)).astype(int)
        flown = np.stack([case.truth[:, y, a:b].mean(axis=2) for a, b in pairwise(edges)], axis=-1)
        values = case.noisy(np.moveaxis(flown, 0, -1).reshape(-1, len(case.truth)), rng)
        found[share] = best_of_grid(y, (edges[:-1] + edges[1:] - 1) // 2, values, case)
    return found


def heuristic_in_time(case: Case, seed: int) -> Found:
    """The heuristic's points, each batch visited along the shortest tour."""
    rng = np.random.default_rng(seed)
    everywhere = np.indices(case.shape).reshape(2, -1).T
    pixels = first_pixels(qmc.Halton(2, rng=seed), case.shape, 0.01)
    pixels = pixels[np.lexsort((pixels % case.shape[1], pixels // case.shape[1] // 12))]
    values = case.measured(pixels, rng)
    spent, here = 0.0, {"x": 0.0, "y": 0.0}

    def visit(new: np.ndarray) -> None:
        nonlocal spent, here
        points = [{"x": float(p % case.shape[1]), "y": float(p // case.shape[1])} for p in new]
        for i in AXIS_TRAVEL.order(here, points) if len(points) <= 50 else range(len(points)):
            spent += AXIS_TRAVEL.seconds(here, points[i]) + DWELL_S + OVERHEAD_S
            here = points[i]

    visit(pixels)
    found: Found = {}
    for share in SHARES:
        while spent < share * full_s(case):
            distance, index = cKDTree(everywhere[pixels]).query(everywhere, k=10)
            spread = (values[index].std(axis=1) / np.maximum(values.std(axis=0), 1e-12)).sum(axis=1)
            worth = (spread + 1e-9) * distance[:, 0]
            worth[pixels] = -1.0
            new = apart(worth, everywhere, HEURISTIC_BATCH)
            visit(new)
            pixels, values = np.append(pixels, new), np.vstack([values, case.measured(new, rng)])
        found[share] = scores(by_distance(pixels, values, case.shape), case.truth)
    return found


IN_TIME: dict[str, Contender] = {
    "MappingAgent": ours_in_time,
    "heuristic": heuristic_in_time,
    "raster": raster_in_time,
}

# -- cost ----------------------------------------------------------------------------------------------------------


def cost_ms(known: int, steps: int = 40) -> tuple[float, float, float]:
    """CPU milliseconds of suggest + ingest with `known` points: median, mean, longest."""
    rng = np.random.default_rng(0)
    y, x = np.indices((SIDE, SIDE))
    centres, widths = rng.uniform(0, SIDE, (40, 2)), rng.uniform(3, 30, 40)
    truth = 2.0 + sum(
        200.0 * np.exp(-0.5 * ((y - a) ** 2 + (x - b) ** 2) / w**2) for (a, b), w in zip(centres, widths, strict=True)
    )
    vocs = {"variables": {"x": [0.0, SIDE], "y": [0.0, SIDE]}, "observables": ["c"]}
    agent = MappingAgent(vocs, step=1.0, counts=True, start=min(0.01, known / SIDE**2))
    pixels = first_pixels(qmc.Halton(2, rng=0), (SIDE, SIDE), (known + 1) / SIDE**2)[:known]
    values = rng.poisson(truth.ravel()[pixels])
    agent.ingest(
        [{"x": p % SIDE + 0.5, "y": p // SIDE + 0.5, "c": float(v)} for p, v in zip(pixels, values, strict=True)]
    )
    spent = []
    for _ in range(steps + 1):
        began = time.process_time()
        (point,) = agent.suggest()
        took = time.process_time() - began
        result = {**point, "c": float(rng.poisson(truth[int(point["y"]), int(point["x"])]))}
        began = time.process_time()
        agent.ingest([result])
        spent.append(1e3 * (took + time.process_time() - began))
    later = spent[1:]  # the first decision predicts the whole map, which does not happen in a run
    return float(np.median(later)), float(np.mean(later)), max(later)


# -- the report ----------------------------------------------------------------------------------------------------


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--maps", nargs="+", default=["Fe", "Cr", "five", "STXM"])
    parser.add_argument("--sizes", nargs="*", type=int, default=list(SIZES), metavar="N")


def lines(options: argparse.Namespace) -> Iterator[str]:
    """The report: by map and share of the points, by map and share of the time, and the cost of a decision."""
    try:
        chosen = [cases()[name] for name in options.maps]
    except DataError as error:
        yield f"Skipped: {error}"
        return
    yield f"Medians of {options.seeds} seeds: NRMSE (SSIM).\n"
    if importlib.util.find_spec("gpcam") is None:
        yield "gpCAM is not installed, so it is left out.\n"
    honest: list[list[str]] = []
    for title, contenders in (("points", CONTENDERS), ("time of a full fly scan", IN_TIME)):
        progress = Progress(title, len(chosen) * len(contenders))
        rows: list[list[str]] = []
        for case in chosen:
            errors: dict[str, Found] = {}
            for name, run in contenders.items():
                found = [run(case, seed) for seed in range(options.seeds)]
                errors[name] = {share: tuple(np.median([one[share] for one in found], axis=0)) for share in found[0]}
                rows.append([case.name, name, *(_cell(errors[name].get(share)) for share in SHARES)])
                if title == "points" and name == "MappingAgent":
                    honest.append([case.name, *(f"{errors[name][share][2]:.2f}" for share in SHARES)])
                progress.step()
            ratios = [errors["MappingAgent"][s][0] / errors["heuristic"][s][0] for s in SHARES]
            rows.append([case.name, "MappingAgent / heuristic", *(f"{ratio:.2f}" for ratio in ratios)])
        yield f"\nBy share of the {title}:\n"
        yield table(["map", "", *(f"{share:.0%}" for share in SHARES)], rows)
    yield "\nPredicted over true NRMSE, by share of the points:\n"
    yield table(["map", *(f"{share:.0%}" for share in SHARES)], honest)
    if not options.sizes:
        return
    yield f"\nCPU time of suggest + ingest for a point of a map of {SIDE} x {SIDE} pixels, one thread:\n"
    cells = [[str(known), *(f"{value:.1f} ms" for value in cost_ms(known))] for known in options.sizes]
    yield table(["points known", "median", "mean", "longest"], cells)


def _cell(found: tuple[float, ...] | None) -> str:
    return f"{found[0]:.3f} ({found[1]:.3f})" if found else ""


REPORT = Report("mapping", __doc__ or "", arguments, lines)
