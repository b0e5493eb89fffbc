"""The mapping agent on maps that are known, and on those that no one wants to see."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from ebl_autonomy.agents import MappingAgent
from ebl_autonomy.errors import BadInputError, NoMoreProposals
from ebl_autonomy.space import AxisTravel, Travel

SIZE = 40


def grain(rows: int = SIZE, columns: int = SIZE) -> np.ndarray:
    """A bright grain in an empty map, with sharp edges; counts."""
    y, x = np.indices((rows, columns))
    return 2.0 + 300.0 / (1.0 + np.exp((np.hypot(x - 0.6 * columns, y - 0.4 * rows) - 0.18 * rows) / 0.7))


def vocs(rows: int = SIZE, columns: int = SIZE, channels: Sequence[str] = ("Fe",), **more: Any) -> dict[str, Any]:
    return {"variables": {"x": [0.0, columns], "y": [0.0, rows], **more}, "observables": list(channels)}


def run(agent: MappingAgent, count: int, measure: Callable[[dict[str, Any]], dict[str, float]], batch: int = 1) -> None:
    for _ in range(0, count, batch):
        agent.ingest([{**point, **measure(point)} for point in agent.suggest(batch)])


def counts_of(truth: np.ndarray, seed: int = 0) -> Callable[[dict[str, Any]], dict[str, float]]:
    rng = np.random.default_rng(seed)
    return lambda p: {"Fe": float(rng.poisson(truth[int(p["y"]), int(p["x"])] * p.get("dwell", 1.0)))}


def nrmse(agent: MappingAgent, truth: np.ndarray, channel: str = "Fe") -> float:
    return float(np.sqrt(np.mean((agent.map()[channel][0] - truth) ** 2)) / truth.std())


def test_points_gather_where_the_map_is_not_known_and_the_error_is_predicted() -> None:
    truth = grain()
    agent = MappingAgent(vocs(), step=1.0, counts=True)
    run(agent, 240, counts_of(truth), batch=4)
    error = nrmse(agent, truth)
    assert error < 0.12
    assert agent.predicted_error()["Fe"] == pytest.approx(error, rel=0.4)
    edge = np.abs(np.hypot(*np.subtract(np.indices(truth.shape), [[[0.4 * SIZE]], [[0.6 * SIZE]]])) - 0.18 * SIZE) < 3
    hits = np.mean([edge[int(r["y"]), int(r["x"])] for r in agent.results])
    assert hits > 2.0 * edge.mean()


def test_every_proposal_is_the_centre_of_a_new_pixel_until_none_is_left() -> None:
    truth = grain(12, 9)
    agent = MappingAgent(vocs(12, 9), step=1.0, counts=["Fe"])
    run(agent, 105, counts_of(truth), batch=5)
    assert len({(r["x"], r["y"]) for r in agent.results}) == 105
    assert all(r["x"] % 1.0 == r["y"] % 1.0 == 0.5 for r in agent.results)
    with pytest.raises(NoMoreProposals, match=r"3 of 108 pixels are left") as caught:
        agent.suggest(5)
    assert caught.value.remaining == 3
    run(agent, 3, counts_of(truth), batch=3)
    with pytest.raises(NoMoreProposals, match="all 108 pixels are measured") as caught:
        agent.suggest()
    assert caught.value.remaining == 0


def test_the_next_proposal_follows_from_the_results_however_they_are_told_and_asked() -> None:
    truth = grain()
    agent = MappingAgent(vocs(), seed=3, step=1.0, counts=True)
    run(agent, 90, counts_of(truth), batch=3)
    at_once, piecewise = (MappingAgent.from_config(agent.config()) for _ in range(2))
    at_once.ingest(agent.results)
    for result in agent.results:
        piecewise.ingest([result])
        piecewise.map()
    (proposal,) = agent.suggest()
    assert at_once.suggest() == piecewise.suggest() == [proposal]


@pytest.mark.integration
def test_lines_and_their_dwell_times_do_not_depend_on_who_looks_at_the_map() -> None:
    rng, size = np.random.default_rng(2), 256  # so large that not every pixel is predicted for a decision
    truth = grain(size, size)
    variables = {"dwell": [0.01, 1.0], "line": [-float(size), float(size)]}
    travel = {name: {"velocity": 20.0, "settle_s": 2.0} for name in "xy"}
    given: dict[str, Any] = {
        "step": 1.0,
        "counts": True,
        "dwell": "dwell",
        "line": "line",
        "travel": travel,
        "measure_s": 0.01,
    }
    given["start"] = 0.0005
    silent, watched = (MappingAgent(vocs(size, size, **variables), **given) for _ in range(2))
    lengths = []
    for _ in range(8):
        for agent in (silent, watched):
            (point,) = agent.suggest()
        assert silent.decisions() == watched.decisions()
        assert silent.pending == watched.pending
        lengths.append(point["line"])
        rows = []
        count = max(1, round(abs(point["line"])))
        for i in range(count):
            x = point["x"] + (0.0 if count == 1 else math.copysign(i + 0.5, point["line"]))
            value = float(rng.poisson(truth[int(point["y"]), int(x)] * point["dwell"]))
            rows.append({**point, "x": x, "Fe": value})
        for agent in (silent, watched):
            agent.ingest(rows)
        watched.map()
    assert any(lengths[4:]), "no line was chosen by the model"


@pytest.mark.integration
def test_lines_end_within_the_part_of_the_map_that_is_searched() -> None:
    size = 256  # so large that not every pixel is predicted for a decision
    travel = {name: {"velocity": 20.0, "settle_s": 2.0} for name in "xy"}
    lines = vocs(size, size, line=[-float(size), float(size)])
    agent = MappingAgent(lines, step=1.0, counts=True, line="line", travel=travel, measure_s=0.01, start=0.0005)
    truth = grain(size, size)
    agent.search_within({"x": (100.0, 197.0)})
    rng, lengths = np.random.default_rng(0), []
    for _ in range(10):
        (point,) = agent.suggest()
        lengths.append(point["line"])
        ends = sorted((point["x"], point["x"] + point["line"]))
        assert 100.0 <= ends[0] <= ends[1] <= 197.0
        count = max(1, round(abs(point["line"])))
        xs = [point["x"] + (0.0 if count == 1 else math.copysign(i + 0.5, point["line"])) for i in range(count)]
        agent.ingest([{**point, "x": x, "Fe": float(rng.poisson(truth[int(point["y"]), int(x)]))} for x in xs])
    assert any(lengths[5:]), "no line was chosen by the model"


@pytest.mark.parametrize("level", [0.0, 65535.0])
def test_a_map_without_contrast_is_measured_evenly_and_no_error_is_claimed(level: float) -> None:
    agent = MappingAgent(vocs(), step=1.0, counts=True, target_error=0.1)
    run(agent, 100, lambda _: {"Fe": level})
    assert math.isnan(agent.predicted_error()["Fe"])
    assert agent.map()["Fe"][0] == pytest.approx(level, abs=1e-6)
    positions = np.array([[r["x"], r["y"]] for r in agent.results])
    y, x = np.indices((SIZE, SIZE)) + 0.5
    gaps = np.hypot(x[..., None] - positions[:, 0], y[..., None] - positions[:, 1]).min(axis=-1)
    assert gaps.max() < 2.0 * math.sqrt(SIZE * SIZE / 100)


def test_the_configuration_tells_the_pixels_that_nobody_asked_for() -> None:
    agent = MappingAgent(vocs(30, 70))
    assert agent.pixels.shape == (100, 100)
    assert agent.config()["options"]["step"] == [0.7, 0.3]
    assert MappingAgent.from_config(agent.config()).pixels == agent.pixels


def test_a_map_of_one_pixel() -> None:
    agent = MappingAgent(vocs(1, 1), step=5.0, counts=True)
    (point,) = agent.suggest()
    assert (point["x"], point["y"]) == (0.5, 0.5)
    agent.ingest([{**point, "Fe": 7.0}])
    assert agent.map()["Fe"][0].tolist() == [[7.0]]
    with pytest.raises(NoMoreProposals):
        agent.suggest()


@pytest.mark.parametrize("shape", [(1, 60), (60, 1)])
def test_a_single_row_or_column(shape: tuple[int, int]) -> None:
    truth = grain(60, 60)[24:25].reshape(shape)
    agent = MappingAgent(vocs(*shape), step=1.0, counts=True)
    run(agent, 30, counts_of(truth))
    assert nrmse(agent, truth) < 0.2


def test_where_nothing_valid_is_measured_no_one_goes_again_nor_close_by() -> None:
    truth = grain()
    agent = MappingAgent(vocs(), step=1.0, counts=True)
    measure = counts_of(truth)
    run(agent, 200, lambda p: {"Fe": math.nan} if p["x"] < SIZE / 2 else measure(p))
    assert len({(r["x"], r["y"]) for r in agent.results}) == 200
    assert np.mean([math.isnan(r["Fe"]) for r in agent.results]) < 0.4


def test_all_rows_invalid_then_the_agent_still_spreads_its_points() -> None:
    agent = MappingAgent(vocs(), step=1.0)
    run(agent, 60, lambda _: {"Fe": math.nan})
    assert len({(r["x"], r["y"]) for r in agent.results}) == 60
    assert agent.predict(list(agent.results)) == {}
    assert np.isnan(agent.map()["Fe"][0]).all()


def test_a_dead_channel_has_no_say() -> None:
    truth = grain()
    both = MappingAgent(vocs(channels=("Fe", "dead")), step=1.0, counts=True)
    one = MappingAgent(vocs(), step=1.0, counts=True)
    measure = counts_of(truth)
    run(one, 80, measure)
    values = iter(result["Fe"] for result in one.results)
    run(both, 80, lambda _: {"Fe": next(values), "dead": math.nan})
    assert [(r["x"], r["y"]) for r in both.results] == [(r["x"], r["y"]) for r in one.results]
    assert math.isnan(both.predicted_error()["dead"])


def test_readbacks_beside_the_target_count_where_they_were_read_and_are_not_asked_for_again() -> None:
    truth = grain()
    agent = MappingAgent(vocs(), step=1.0, counts=True)
    measure = counts_of(truth)
    asked = []
    for _ in range(120):
        (point,) = agent.suggest()
        asked.append((point["x"], point["y"]))
        read = {**point, "x": min(point["x"] + 0.8, SIZE - 0.1)}
        agent.ingest([{**read, **measure(read)}])
    assert len(set(asked)) == 120
    assert nrmse(agent, truth) < 0.35


def test_a_repeated_pixel_is_the_mean_of_its_measurements() -> None:
    agent = MappingAgent(vocs(1, 1), step=1.0)
    agent.ingest([{"x": 0.5, "y": 0.5, "Fe": value} for value in (1.0, 2.0, 6.0, math.nan)])
    assert agent.map()["Fe"][0].item() == pytest.approx(3.0)


def test_pixels_need_not_be_square() -> None:
    truth = grain()
    agent = MappingAgent(
        {"variables": {"x": [0.0, 4.0], "y": [0.0, 40.0]}, "observables": ["Fe"]}, step=[0.1, 1.0], counts=True
    )
    measure = counts_of(truth)
    run(agent, 240, lambda p: measure({"x": 10.0 * p["x"], "y": p["y"]}))
    assert [len(axis) for axis in agent.axes()] == [40, 40]
    assert nrmse(agent, truth) < 0.25


def test_the_map_ends_at_the_target_error_with_an_honest_statement() -> None:
    truth = grain()
    agent = MappingAgent(vocs(), step=1.0, counts=True, target_error=0.15)
    with pytest.raises(NoMoreProposals, match=r"NRMSE: Fe 0\.1\d+\) are within target_error=0\.15 after") as caught:
        run(agent, SIZE * SIZE, counts_of(truth))
    assert caught.value.remaining == 0
    assert len(agent.results) < 400
    assert 0.15 / 1.5 < nrmse(agent, truth) < 0.15 * 1.5


def test_only_a_part_of_the_map_is_proposed() -> None:
    agent = MappingAgent(vocs(), step=1.0, counts=True)
    agent.search_within({"x": (10.0, 30.0), "y": (0.0, 5.2)})
    run(agent, 90, counts_of(grain()))
    assert all(10.0 < r["x"] < 30.0 and r["y"] < 5.2 for r in agent.results)
    with pytest.raises(BadInputError, match="no centre of a pixel"):
        MappingAgent(vocs(), step=1.0).search_within({"x": (10.1, 10.3)})


def test_a_map_of_another_shape_is_interpolated() -> None:
    truth = grain()
    agent = MappingAgent(vocs(), step=1.0, counts=True)
    run(agent, 300, counts_of(truth), batch=4)
    mean, std = agent.map((80, 20))["Fe"]
    assert mean.shape == std.shape == (80, 20)
    assert [len(axis) for axis in agent.axes((80, 20))] == [20, 80]
    fine, _ = agent.map()["Fe"]
    coarse = mean.reshape(40, 2, 20).mean(axis=1)
    assert np.corrcoef(coarse.ravel(), fine.reshape(40, 20, 2).mean(axis=2).ravel())[0, 1] > 0.99
    with pytest.raises(BadInputError, match="shape"):
        agent.map((0, 5))


@pytest.mark.integration
def test_edges_boundaries_and_rare_things_each_draw_the_points() -> None:
    y, x = np.indices((SIZE, SIZE))
    ramp = 100.0 + 10.0 * x
    ramp[y > 30] += 400.0
    faint = np.full((SIZE, SIZE), 1.0) + 2000.0 * (np.hypot(x - 30, y - 8) < 7) + 12.0 * (np.hypot(x - 8, y - 30) < 5)

    def share(where: np.ndarray, truth: np.ndarray, **options: Any) -> float:
        agent = MappingAgent(vocs(), step=1.0, counts=True, **options)
        run(agent, 200, counts_of(truth), batch=2)
        return float(np.mean([where[int(r["y"]), int(r["x"])] for r in agent.results]))

    assert share(np.abs(y - 30.5) < 3, ramp, aim="edges") > 1.5 * np.mean(np.abs(y - 30.5) < 3)
    near = np.abs(ramp - 300.0) < 40.0
    assert share(near, ramp, aim="boundary", threshold=300.0) > 2.0 * share(near, ramp)
    region = np.hypot(x - 8, y - 30) < 6.5
    assert share(region, faint, aim="rare") > 1.5 * share(region, faint)


def test_a_weak_signal_gets_a_longer_dwell_than_a_strong_one_and_than_nothing() -> None:
    truth = grain(SIZE, SIZE)
    agent = MappingAgent(vocs(dwell=[0.01, 2.0]), step=1.0, counts=True, dwell="dwell", measure_s=0.1)
    run(agent, 10, counts_of(truth), batch=10)
    assert [r["dwell"] for r in agent.results] == pytest.approx([math.sqrt(0.02)] * 10)
    run(agent, 190, counts_of(truth), batch=2)
    dwells = np.array([r["dwell"] for r in agent.results[20:]])
    rates = np.array([truth[int(r["y"]), int(r["x"])] for r in agent.results[20:]])
    assert 0.01 <= dwells.min() < np.median(dwells[rates > 30]) < dwells.max() <= 2.0
    assert nrmse(agent, truth) < 0.25
    mean, _ = agent.predict([{"x": 24.5, "y": 16.5, "dwell": 2.0}])["Fe"]
    assert mean[0] == pytest.approx(2.0 * truth[16, 24], rel=0.3)


def flown(point: dict[str, Any], measure: Callable[[dict[str, Any]], dict[str, float]]) -> list[dict[str, Any]]:
    """The rows of a line, or of a point."""
    length = point["line_length"]
    if not length:
        return [{**point, **measure(point)}]
    sign = math.copysign(1.0, length)
    rows = [{**point, "x": point["x"] + sign * (i + 0.5)} for i in range(round(abs(length)))]
    return [{**row, **measure(row)} for row in rows]


@pytest.mark.integration
@pytest.mark.parametrize(("settle_s", "lines"), [(0.5, True), (0.0, False)])
def test_lines_are_flown_where_moves_cost_more_than_pixels(settle_s: float, lines: bool) -> None:
    truth = grain()
    agent = MappingAgent(vocs(line_length=[-SIZE, SIZE]), step=1.0, counts=True, line="line_length")
    axis = AxisTravel(velocity=200.0 if lines else 1e6, acceleration_s=0.1 * lines, settle_s=settle_s)
    agent.set_travel(Travel({"x": axis, "y": axis}), measure_s=0.02)
    measure = counts_of(truth)
    kinds = []
    while len(agent.results) < 500:
        (point,) = agent.suggest()
        kinds.append(bool(point["line_length"]))
        if point["line_length"]:
            end = point["x"] + point["line_length"]
            assert point["x"] % 1.0 == point["line_length"] % 1.0 == 0.0 <= min(end, point["x"])
            assert max(end, point["x"]) <= SIZE
        agent.ingest(flown(point, measure))
        assert agent.pending == ()
    assert np.mean(kinds) > 0.5 if lines else not any(kinds)
    assert nrmse(agent, truth) < 0.15
    twin = MappingAgent.from_config(agent.config())
    twin.ingest(agent.results)
    assert twin.suggest() == agent.suggest()


def test_lines_and_dwell_times_stay_within_the_bounds_that_are_searched() -> None:
    truth = grain()
    agent = MappingAgent(
        vocs(line_length=[-SIZE, SIZE], dwell=[0.001, 1.0]), step=1.0, counts=True, line="line_length", dwell="dwell"
    )
    axis = AxisTravel(velocity=200.0, settle_s=0.5)
    agent.set_travel(Travel({"x": axis, "y": axis}), measure_s=0.02)
    agent.search_within({"x": (5.0, 27.3), "line_length": (0.0, 9.0), "dwell": (0.1, 0.2)})
    measure = counts_of(truth)
    lengths = []
    while len(agent.results) < 250:
        (point,) = agent.suggest()
        lengths.append(point["line_length"])
        assert 5.0 <= point["x"] <= point["x"] + point["line_length"] <= 27.3
        assert 0.1 <= point["dwell"] <= 0.2
        agent.ingest(flown(point, measure))
    assert 2.0 <= max(lengths) <= 9.0


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (vocs(), {"counts": ["fe"]}, r"counts names 'fe': unknown\. The channels are \['Fe'\]"),
        (vocs(), {"weights": {"Cr": 1.0}}, "weights names 'Cr'"),
        (vocs(), {"weights": {"Fe": 0.0}}, "at least one channel a positive weight"),
        (vocs(), {"aim": "boundary"}, "needs threshold="),
        (vocs(), {"aim": "boundary", "threshold": math.nan}, "threshold.*finite"),
        (vocs(), {"aim": "boundary", "threshold": {"Fe": math.inf}}, "threshold.*finite"),
        (vocs(), {"dwell": "dwel"}, "dwell='dwel': unknown"),
        (vocs(z=[0.0, 1.0]), {}, r"needs two axes, the fast one first; the VOCS has \['x', 'y', 'z'\]"),
        (vocs(t=[0.0, 1.0]), {"dwell": "t"}, "the shortest 't' is 0 s: it must be positive"),
        (vocs(t=[1.0, 2.0]), {"line": "t"}, "must include 0"),
        (vocs(), {"step": -1.0}, "step"),
        (vocs(), {"step": 1e-9}, "pixels at most"),
        ({"variables": {"x": [0, 1], "y": [0, 1]}}, {}, "no channel"),
        (vocs(), {"travel": {"x": {"velocity": 0.0}}}, "velocity 0.0"),
    ],
)
def test_what_does_not_fit_together_is_refused(given: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        MappingAgent(given, **options)


@pytest.mark.parametrize(("reading", "warned"), [(-0.3, True), (2e-12, True), (0.0, False), (0.5, False), (17, False)])
def test_a_channel_that_cannot_count_is_named_once(
    caplog: pytest.LogCaptureFixture, reading: float, warned: bool
) -> None:
    vocs = {"variables": {"x": [0.0, 10.0], "y": [0.0, 10.0]}, "observables": ["Fe"]}
    agent = MappingAgent(vocs, step=1, counts=True)
    with caplog.at_level("WARNING"):
        agent.ingest([{**point, "Fe": reading} for point in agent.suggest(5)])
    assert caplog.text.count("leave it out of counts=") == int(warned)


@pytest.mark.parametrize("shape", [(1000, 1000), (40, 2000), (300, 300)])
def test_the_first_points_are_spread_over_the_whole_map_however_large_it_is(shape: tuple[int, int]) -> None:
    vocs = {"variables": {"x": [0.0, shape[1]], "y": [0.0, shape[0]]}, "observables": ["Fe"]}
    agent = MappingAgent(vocs, step=1)
    points = agent.suggest(150)
    places = np.array([(point["y"] / shape[0], point["x"] / shape[1]) for point in points])
    assert len(np.unique(places, axis=0)) == 150
    quarters = np.histogramdd(places, bins=(2, 2), range=((0.0, 1.0), (0.0, 1.0)))[0]
    assert quarters.min() >= 8
    every = {tuple(point.values())[:2] for point in points + agent.suggest(math.ceil(0.01 * math.prod(shape)) - 150)}
    assert len(every) == math.ceil(0.01 * math.prod(shape))


@pytest.mark.parametrize("shape", [(8, 4000), (4000, 8), (3, 30000), (40, 4000)])
def test_the_first_points_are_spread_along_a_narrow_map(shape: tuple[int, int]) -> None:
    vocs = {"variables": {"x": [0.0, shape[1]], "y": [0.0, shape[0]]}, "observables": ["Fe"]}
    along = "x" if shape[1] > shape[0] else "y"
    places = [point[along] / max(shape) for point in MappingAgent(vocs, step=1).suggest(128)]
    assert np.histogram(places, 8, (0.0, 1.0))[0].min() >= 8


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"step": -1}, "step=-1: Input should be greater than 0, or: Input should be a valid list"),
        ({"step": [1.0, -2.0]}, "step.1=-2.0: Input should be greater than 0"),
        ({"counts": 3}, "counts=3: Input should be a valid boolean"),
    ],
)
def test_a_wrong_option_is_named_as_the_user_wrote_it(options: dict[str, Any], says: str) -> None:
    vocs = {"variables": {"x": [0.0, 10.0], "y": [0.0, 10.0]}, "observables": ["Fe"]}
    with pytest.raises(BadInputError) as error:
        MappingAgent(vocs, **options)
    assert says in str(error.value)
    assert "constrained" not in str(error.value)
