"""What a decision costs: suggest and ingest with n points known, against the botorch recipe on the same data."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from ebl_autonomy.agents import BayesianAgent

DIM = 6
STEPS = 21


def report(plot: Path | None = None) -> None:
    """Print CPU milliseconds of one suggest + ingest, refits included, and the ratio to botorch; draw them too."""
    rows: list[tuple[int, float, float, float | None]] = []
    print(f"CPU time of one suggest + ingest, {DIM} variables, one thread, refits included ({STEPS} steps each):")
    print(f"  {'points':>7} {'median':>10} {'mean':>10} {'p99':>10}   {'botorch, mean':>14} {'ratio':>8}")
    for n, recipe_steps in ((10, 3), (50, 3), (100, 3), (200, 3), (500, 1), (1000, 1), (2000, 0), (3000, 0)):
        ours = cost(n, STEPS)
        line = f"  {n:7d} {np.median(ours):7.1f} ms {np.mean(ours):7.1f} ms {np.percentile(ours, 99):7.1f} ms"
        if recipe_steps:
            theirs = float(np.mean([recipe(n) for _ in range(recipe_steps)]))
            line += f"   {theirs:11.0f} ms {theirs / float(np.mean(ours)):6.0f} x"
        rows.append((n, float(np.median(ours)), float(np.percentile(ours, 99)), theirs if recipe_steps else None))
        print(line, flush=True)
    if plot is not None:
        draw(rows, plot)


def draw(rows: list[tuple[int, float, float, float | None]], path: Path) -> None:
    """CPU time against points, as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    n = [row[0] for row in rows]
    axes.plot(n, [row[1] for row in rows], "o-", color="#0072B2", label="BayesianAgent, median")
    axes.plot(n, [row[2] for row in rows], "o:", color="#0072B2", label="BayesianAgent, 99th percentile")
    axes.plot(
        [row[0] for row in rows if row[3]],
        [row[3] for row in rows if row[3]],
        "s-",
        color="#D55E00",
        label="botorch's recipe: SingleTaskGP + qLogNoisyEI",
    )
    axes.axhline(10.0, color="0.6", linewidth=1)
    axes.text(n[0], 11.0, "10 ms", color="0.4")
    axes.set(xscale="log", yscale="log", xlabel="points known", ylabel="CPU time of suggest + ingest (ms)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def recipe(n: int) -> float:
    """CPU milliseconds of botorch's own recipe, with the options of its tutorials."""
    import torch
    from botorch.acquisition.logei import qLogNoisyExpectedImprovement
    from botorch.fit import fit_gpytorch_mll
    from botorch.models.gp_regression import SingleTaskGP
    from botorch.optim.optimize import optimize_acqf
    from gpytorch.mlls import ExactMarginalLogLikelihood

    torch.set_num_threads(1)
    torch.manual_seed(0)
    results = data(n)
    X = torch.tensor([[r[f"x{i}"] for i in range(DIM)] for r in results], dtype=torch.double)
    Y = torch.tensor([[-r["f"]] for r in results], dtype=torch.double)
    began = time.process_time()
    model = SingleTaskGP(X, Y)
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    bounds = torch.stack([torch.zeros(DIM), torch.ones(DIM)]).double()
    acquisition = qLogNoisyExpectedImprovement(model, X, prune_baseline=True)
    optimize_acqf(acquisition, bounds=bounds, q=1, num_restarts=10, raw_samples=512)
    return 1e3 * (time.process_time() - began)


def data(n: int) -> list[dict[str, float]]:
    """The points that are known."""
    rng = np.random.default_rng(0)
    return [measured({f"x{i}": float(x) for i, x in enumerate(row)}, rng) for row in rng.random((n, DIM))]


def cost(n: int, steps: int) -> list[float]:
    """CPU milliseconds of each of `steps` decisions, the first of them, which learns from all n points, left out."""
    vocs: dict[str, Any] = {
        "variables": {f"x{i}": [0.0, 1.0] for i in range(DIM)},
        "objectives": {"f": "MINIMIZE"},
    }
    rng = np.random.default_rng(1)
    agent = BayesianAgent(vocs, seed=0)
    agent.ingest(data(n))
    times = []
    for _ in range(steps + 1):
        began = time.process_time()
        (point,) = agent.suggest(1)
        middle = time.process_time()
        result = measured(point, rng)
        again = time.process_time()
        agent.ingest([result])
        times.append(1e3 * (middle - began + time.process_time() - again))
    return times[1:]


def measured(point: dict[str, float], rng: np.random.Generator) -> dict[str, float]:
    x = np.array([point[f"x{i}"] for i in range(DIM)])
    return {**point, "f": float(np.sum((x - 0.4) ** 2) + 0.3 * np.sin(5.0 * x[0] * x[1]) + 0.01 * rng.normal())}
