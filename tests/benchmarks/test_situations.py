"""Each situation has the optimum that it claims and starts far from it, and its seed draws everything."""

import itertools
import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import qmc

from benchmarks.situations import KINDS, SIGNAL, Situation

SEEDS = (0, 1, 7)
EVERY = [(name, seed) for name in KINDS for seed in SEEDS]


def allowed_signal(situation: Situation, u: np.ndarray) -> np.ndarray:
    return np.where(situation.allowed(u), situation.signal(u), -np.inf)


def covering(situation: Situation) -> np.ndarray:
    return np.asarray(qmc.Sobol(situation.dim, rng=5).random_base2(11))


@pytest.mark.parametrize(("name", "seed"), EVERY)
def test_nothing_beats_the_optimum(name: str, seed: int) -> None:
    situation = KINDS[name].situation(seed)
    best = allowed_signal(situation, situation.optimum[None])[0]
    assert best == pytest.approx(1.0, abs=1e-6)
    # The whole domain, and ever nearer to the optimum.
    sample = covering(situation)
    near = [np.clip(situation.optimum + (sample - 0.5) * 10.0**-power, 0.0, 1.0) for power in range(1, 5)]
    reached = np.concatenate([sample, *near])
    values = allowed_signal(situation, reached)
    assert values.max() <= 1.0 + 1e-9
    # Local ascents from the best places; limits and holes make the signal jump, so by a simplex.
    for start in reached[np.argsort(-values)[[0, 40]]]:
        found = minimize(
            lambda u: -float(allowed_signal(situation, u[None])[0]),
            start,
            method="Nelder-Mead",
            bounds=[(0.0, 1.0)] * situation.dim,
            options={"maxfev": 300},
        )
        assert -found.fun <= 1.0 + 1e-6


@pytest.mark.parametrize(("name", "seed"), EVERY)
def test_the_start_is_far_and_the_vocs_tells_it(name: str, seed: int) -> None:
    situation = KINDS[name].situation(seed)
    start = situation.space.standing()
    assert situation.space.unit([start])[0] == pytest.approx(situation.start, abs=1e-6)
    signal = allowed_signal(situation, situation.start[None])[0]
    assert signal < (0.8 if KINDS[name].family.startswith("narrow") else 0.12)  # a narrow peak is a few widths away
    if KINDS[name].family not in ("false_hill", "narrow", "narrow_few"):
        assert signal <= np.quantile(situation.signal(covering(situation)), 0.9)
    assert not (situation.invalid and situation.invalid(situation.start[None])[0])


@pytest.mark.parametrize("name", KINDS)
def test_the_seed_draws_the_landscape_and_the_start(name: str) -> None:
    first, again, other = (KINDS[name].situation(seed) for seed in (3, 3, 4))
    sample = covering(first)[:64]
    assert np.array_equal(first.signal(sample), again.signal(sample))
    assert first.vocs == again.vocs
    assert not np.array_equal(first.optimum, other.optimum)
    assert not np.array_equal(first.signal(sample), other.signal(sample))
    assert first.space.standing() != other.space.standing()


def test_some_situations_are_maximised_and_some_minimised() -> None:
    senses = {KINDS["flat_2"].situation(seed).objectives[SIGNAL] for seed in range(10)}
    assert senses == {"MAXIMIZE", "MINIMIZE"}


@pytest.mark.parametrize("name", KINDS)
def test_the_outcome_is_best_at_the_optimum_and_the_regret_is_nothing(name: str) -> None:
    situation = KINDS[name].situation(2)
    best, start = situation.space.points(situation.optimum[None])[0], situation.space.standing()
    assert situation.regret(best) == pytest.approx(0.0, abs=1e-5)
    assert situation.regret(start) > 0.2
    assert situation.regret(None) == 1.0
    if not situation.allowed(situation.start[None])[0]:
        return  # where the signal may be better than is allowed
    sign = 1.0 if situation.objectives[SIGNAL] == "MAXIMIZE" else -1.0
    rng = np.random.default_rng(0)
    readings = {
        place: np.median([situation.measure(point, rng)[SIGNAL] for _ in range(60)])
        for place, point in (("best", best), ("start", start))
    }
    assert sign * (readings["best"] - readings["start"]) > 0.0


@pytest.mark.parametrize("seed", range(6))
def test_the_true_peak_is_ten_times_higher_and_no_wider_than_the_false_hill(seed: int) -> None:
    for name in ("false_hill_3", "false_hill_6"):
        situation = KINDS[name].situation(seed)
        assert situation.regret(situation.space.standing()) == pytest.approx(0.9, abs=0.02)
        sample = qmc.Sobol(situation.dim, rng=5).random_base2(13)
        assert np.mean(situation.signal(sample) > 0.5) < 0.04
        # A straight way from the start to the optimum leads down first.
        way = situation.start + np.linspace(0.0, 1.0, 200)[:, None] * (situation.optimum - situation.start)
        assert situation.signal(way).min() < 0.05


@pytest.mark.parametrize("name", ["flat_2", "flat_4"])
def test_nine_tenths_of_a_flat_domain_give_the_same_signal(name: str) -> None:
    for seed in range(6):
        situation = KINDS[name].situation(seed)
        assert 0.05 < np.mean(situation.signal(covering(situation)) > 0.0) < 0.15


@pytest.mark.parametrize("dim", [12, 20, 30])
def test_four_motors_matter(dim: int) -> None:
    situation = KINDS[f"few_matter_{dim}"].situation(1)
    moved = situation.optimum + 0.1 * np.eye(dim)
    assert np.sum(situation.signal(moved) < 1.0 - 1e-9) == 4


def test_glitches_are_rare_and_ten_times_off_either_way() -> None:
    seen = set()
    for seed in range(12):
        situation = KINDS["glitches_3"].situation(seed)
        rng = np.random.default_rng(seed)
        readings = np.array([situation.noise(0.5, rng) for _ in range(2000)])
        off = readings[np.abs(readings - 0.5) > 0.1]
        assert 0.03 < len(off) / 2000 < 0.08
        assert 0.3 < np.mean(off > 0.5) < 0.7
        seen.add("ranges" if np.abs(off).max() > 8.0 else "factor")
    assert seen == {"ranges", "factor"}


def test_the_order_of_filters_says_nothing() -> None:
    situation = KINDS["filters_4"].situation(0)
    assert situation.unordered == (0,)
    at = np.tile(situation.optimum, (6, 1))
    at[:, 0] = np.arange(6) / 5
    along = [tuple(np.argsort(KINDS["filters_4"].situation(seed).signal(at))) for seed in range(8)]
    assert len(set(along)) == len(along)
    assert np.sum(situation.signal(at) > 0.99) == 1


def test_units_and_ranges_are_extreme() -> None:
    assert abs(KINDS["tiny_signal_3"].situation(0).unit) == 1e-12
    offset = KINDS["huge_offset_3"].situation(0)
    assert offset.offset / offset.unit == pytest.approx(1e9)
    width = KINDS["far_ranges_4"].situation(0).width
    assert sorted(width)[0] == pytest.approx(1e-9)
    assert sorted(width)[-1] == pytest.approx(1e9)


def test_points_that_break_a_limit_or_give_no_reading_have_a_regret_of_one() -> None:
    limited, holed = KINDS["small_feasible_4"].situation(0), KINDS["hole_3"].situation(0)
    for situation, share in ((limited, (0.85, 0.99)), (holed, (0.02, 0.4))):
        sample = covering(situation)
        forbidden = ~situation.allowed(sample, tolerance=0.01)
        assert share[0] < np.mean(forbidden) < share[1]
        (point,) = situation.space.points(sample[forbidden][0])
        assert situation.regret(point) == 1.0
        reading = situation.measure(point, np.random.default_rng(0))
        assert math.isnan(reading[SIGNAL]) == (situation is holed)


def test_a_limit_is_kept_as_far_as_readings_can_tell() -> None:
    drawn = [KINDS["small_feasible_4"].situation(seed) for seed in range(8)]
    noisy = next(situation for situation in drawn if situation.limit and situation.limit.noise > 0.0)
    exact = next(situation for situation in drawn if situation.limit and situation.limit.noise == 0.0)
    for situation, lacking in ((noisy, 0.0), (exact, 1.0)):
        assert situation.limit is not None
        wish = minimize(lambda u, s=situation: -float(s.signal(u[None])[0]), situation.optimum).x
        out = situation.optimum + np.linspace(0.0, 1.0, 20_001)[:, None] * (wish - situation.optimum)
        just_over = out[np.argmax(situation.limit.value(out) > 1.0 + 1e-6)]
        (point,) = situation.space.points(just_over)
        assert situation.regret(point) == pytest.approx(lacking, abs=1e-3)


def test_names_are_unique_and_say_the_dimension() -> None:
    assert all(KINDS[name].situation(0).dim == int(name.rsplit("_", 1)[1]) for name in KINDS)
    pairs = itertools.combinations([KINDS[name].title + str(KINDS[name].dim) for name in KINDS], 2)
    assert all(a != b for a, b in pairs)
