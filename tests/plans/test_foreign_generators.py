"""Third-party generators steer our plans unchanged: those of Xopt, which follow the gest-api standard too."""

import warnings
from typing import Any

import pytest
from bluesky import RunEngine
from simple import BOUNDS, ENVELOPE, Documents, vocs

from ebl_autonomy.plans import optimize

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # import-time warnings of third-party packages
    pytest.importorskip("xopt", reason="Xopt is not installed: pip install xopt")
    import xopt
    from xopt.generators.bayesian import ExpectedImprovementGenerator
    from xopt.generators.random import RandomGenerator
    from xopt.generators.sequential.neldermead import NelderMeadGenerator

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore")]


def xopt_vocs() -> Any:
    return xopt.VOCS(variables={k: list(v) for k, v in BOUNDS.items()}, objectives={"bowl": "MINIMIZE"})


def make(kind: str) -> Any:
    if kind == "random":
        return RandomGenerator(vocs=xopt_vocs())
    if kind == "nelder-mead":
        return NelderMeadGenerator(vocs=xopt_vocs(), initial_point={"mx": -1.0, "my": 1.0})
    generator = ExpectedImprovementGenerator(vocs=xopt_vocs())
    generator.numerical_optimizer.n_restarts = 2
    generator.n_monte_carlo_samples = 16
    generator.ingest(
        [{"mx": x, "my": y, "bowl": (x - 0.5) ** 2 + (y + 0.25) ** 2} for x, y in ((0, 0), (1, 1), (-1, 1))]
    )
    return generator


@pytest.mark.parametrize(
    ("kind", "points", "good"), [("random", 40, 1.0), ("nelder-mead", 30, 0.1), ("bayesian", 6, 0.5)]
)
def test_xopt_steers_the_plan(RE: RunEngine, docs: Documents, bench: Any, kind: str, points: int, good: float) -> None:
    bowl, motors = bench
    generator = make(kind)
    result = RE(optimize([bowl], motors, generator, max_points=points, envelope=ENVELOPE)).plan_result
    assert result.accepted == points
    assert result.best.outcome["bowl"] < good
    rows, decisions = docs.events["primary"], docs.events["decisions"]
    bound = {d["proposal_id"]: (d["mx"], d["my"]) for d in decisions}
    for row in rows:  # the simulated axis rounds the last bit of its readback
        assert bound[row["proposal_id"]] == pytest.approx((row["mx"], row["my"]), rel=1e-12)
    assert kind.replace("-", "") in docs.start["ebl_autonomy"]["agent"]["agent"].lower() or kind == "bayesian"


def test_our_agents_take_xopts_vocs() -> None:
    from ebl_autonomy.agents import SobolAgent

    assert set(SobolAgent(xopt_vocs().model_dump()).suggest(1)[0]) == {*vocs().variables, "_id"}
