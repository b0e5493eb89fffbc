"""The schedule of fits is a function of the results, however and whenever they were added."""

import copy
import pickle
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebl_autonomy.agents import BayesianAgent
from ebl_autonomy.agents.bayesian.options import BayesianOptions
from ebl_autonomy.agents.bayesian.refitting import BACKGROUND_FROM, RefitSchedule
from ebl_autonomy.agents.bayesian.state import SearchState
from ebl_autonomy.space import Space, make_vocs
from ebl_autonomy.surrogates.base import Observations
from ebl_autonomy.surrogates.numba_surrogate import NumbaSurrogate


class Notes:
    """A surrogate that only records its calls, and whose surprises and steps are scripted."""

    version, outcomes, fits_in_background = "notes", 1, True

    def __init__(self, surprising: frozenset[int], steps: int = 1, fits: tuple[int, ...] = ()) -> None:
        self.surprising, self.steps, self.fits = surprising, steps, fits
        self.knows = 0
        self.threads = [threading.current_thread().name]

    def clone(self) -> "Notes":
        return Notes(self.surprising, self.steps, self.fits)

    def fit_in_steps(self, data: Observations) -> Iterator[float]:
        for _ in range(self.steps):
            yield 1.0
        self.fits = (*self.fits, len(data.X))
        self.threads.append(threading.current_thread().name)
        if len(data.X) in FAILING:
            raise RuntimeError("no fit")

    def condition_on(self, data: Observations) -> None:
        self.knows = len(data.X)

    def standardized_residuals(self, data: Observations) -> np.ndarray:
        return np.array([9.0 if len(data.X) in self.surprising else 0.5, np.nan])


FAILING = set[int]()


@pytest.fixture
def failing() -> Iterator[set[int]]:
    yield FAILING
    FAILING.clear()


def observations(n: int, scaled_at: int = 0) -> Observations:
    return Observations(np.zeros((n, 1)), np.zeros((n, 1)), np.zeros((n, 1)))


def brought(
    sizes: Sequence[int],
    surprising: frozenset[int] = frozenset(),
    first: int = 5,
    steps: int = 1,
    each: int = 0,
) -> RefitSchedule:
    made = RefitSchedule(Notes(surprising, steps), observations, first, slice_s=1.5, each=each)
    for n in sizes:
        made.surrogate_of(n)
        assert made.surrogate.knows == n
    return made


def test_fits_follow_the_number_of_results() -> None:
    assert brought(range(5, 50)).surrogate.fits == (5, 6, 8, 10, 12, 15, 18, 22, 27, 33, 40, 48)
    assert brought(range(5, 70), each=40).surrogate.fits == (*range(5, 41), 48, 58)


def test_what_is_improbable_is_learned_as_soon_as_the_last_fit_is_a_twentieth_old() -> None:
    assert brought(range(5, 34), frozenset({24, 30})).surrogate.fits == (5, 6, 8, 10, 12, 15, 18, 22, 24, 29, 31)


def test_much_that_is_a_little_improbable_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    made = brought(range(5, 28))
    assert made.surrogate.fits[-1] == 27
    monkeypatch.setattr(Notes, "standardized_residuals", lambda *_: np.array([2.0, np.nan]))
    for n in range(28, 33):
        made.surrogate_of(n)  # each adds 0.8 nats in favour of doubled residuals
    assert made.surrogate.fits[-1] == 32


@settings(deadline=None, max_examples=60)
@given(
    batches=st.lists(st.integers(1, 9), min_size=1, max_size=45),
    surprising=st.frozensets(st.integers(1, 240), max_size=30),
    steps=st.integers(1, 30),
)
def test_the_model_is_a_function_of_the_results(batches: list[int], surprising: frozenset[int], steps: int) -> None:
    sizes = np.cumsum(batches)
    lived = brought(sizes.tolist(), surprising, steps=steps)
    replayed = brought([int(sizes[-1])], surprising, steps=steps)
    assert lived.surrogate.fits == replayed.surrogate.fits
    assert lived.fitted_to == replayed.fitted_to


def test_a_fit_takes_effect_as_many_results_later_as_it_has_slices() -> None:
    lag = 2  # at 100 results
    for n in range(100, 104 + lag):
        assert brought(range(5, n + 1), steps=4).fitted_to < 100
    assert brought(range(5, 105 + lag), steps=4).fitted_to == 100


def test_a_fit_takes_effect_before_the_next_is_due_however_long_it_takes() -> None:
    for size in (100, 140, 196):
        late = size + size // 10 + (size - BACKGROUND_FROM) // 20
        assert brought([late - 1], steps=1000).fitted_to < size
        assert brought([late], steps=1000).fitted_to == size


def test_a_batch_of_results_finds_a_fit_under_way_made() -> None:
    """The thread does not pause between slices, and a fit that is due within a batch has until the next one."""
    made = brought([*range(5, 190), 198], steps=6)
    assert made.fitted_to < 196
    made.surrogate_of(206)
    made.surrogate_of(214)
    assert made.fitted_to == 196
    assert made.surrogate.threads[1:] == ["ebl-autonomy-refit"]


def test_what_came_before_a_fresh_fit_has_no_influence() -> None:
    made = brought([99, 150, 250], frozenset({60, 70, 80, 120}))
    assert made.surrogate.fits == brought([250]).surrogate.fits == (196, 236)


def test_many_results_at_once_need_few_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = list[int]()
    in_steps = Notes.fit_in_steps

    def noted(notes: Notes, data: Observations) -> Iterator[float]:
        fitted.append(len(data.X))
        yield from in_steps(notes, data)

    monkeypatch.setattr(Notes, "fit_in_steps", noted)
    brought([1000])
    assert fitted == [753, 904]


def test_one_step_is_not_longer_than_a_decision_may_wait() -> None:
    """So a fit to hundreds of results has many steps, and ends where a fit without limit ends."""
    rng = np.random.default_rng(0)
    X = rng.random((300, 6))
    Y = np.sin(5.0 * X).sum(axis=1, keepdims=True) + 0.1 * rng.standard_normal((300, 1))
    data = Observations(X, Y, np.full((300, 1), np.nan))
    short, whole = NumbaSurrogate(6, 1, step_s=0.02), NumbaSurrogate(6, 1)
    steps = list(short.fit_in_steps(data))
    assert max(steps) <= 0.02
    assert sum(steps) >= 0.02
    whole.fit(data)
    for surrogate in (short, whole):
        surrogate.condition_on(data)
    assert short.log_marginal_likelihood(0) == pytest.approx(whole.log_marginal_likelihood(0), abs=1.0)


def test_a_long_fit_runs_beside_the_next_measurement() -> None:
    made = brought(range(5, 59))  # a fit is scheduled at 58
    assert made.surrogate.fits[-1] == 48
    made.surrogate_of(59)
    assert made.surrogate.fits[-1] == 58 > BACKGROUND_FROM
    assert made.surrogate.threads == [threading.current_thread().name, "ebl-autonomy-refit"]


def test_a_fit_that_fails_beside_is_not_silent(failing: set[int]) -> None:
    made = brought(range(5, 58))
    failing.add(58)
    made.surrogate_of(58)
    with pytest.raises(RuntimeError, match="no fit"):
        made.surrogate_of(59)


def test_what_cannot_be_learned_is_not_learned_all_the_time() -> None:
    fits = brought(range(5, 200), frozenset(range(200))).surrogate.fits
    assert len([size for size in fits if size >= 100]) <= 18  # 5 % apart


def state_of(vocs: dict[str, Any], **options: Any) -> SearchState:
    return SearchState(Space(make_vocs({"objectives": {"f": "MINIMIZE"}, **vocs})), BayesianOptions(**options))


def test_validity_does_not_make_it_learn() -> None:
    state = state_of({"variables": {"x": [0.0, 1.0]}})
    rng = np.random.default_rng(0)
    fits = set[int]()
    for x in rng.random(120):
        noisy = (x - 0.3) ** 2 + 0.01 * rng.standard_normal()
        state.add([{"x": x, "f": float("nan") if rng.random() < 0.3 else noisy}])
        if state.can_model:
            state.predict([{"x": 0.5}])
            fits.add(state.refits.fitted_to)
    assert len([size for size in fits if size > 40]) <= 10  # the schedule alone makes 6


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_a_copy_makes_the_fit_that_is_under_way_itself(copied: Any) -> None:
    made = brought(range(5, 59))
    assert made._under_way is not None
    other = copied(made)
    made.surrogate_of(59)
    other.surrogate_of(59)
    assert other.surrogate.fits == made.surrogate.fits
    assert other.surrogate.threads[-1] == threading.current_thread().name


def test_a_copied_process_does_not_wait_for_a_thread_that_it_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    made = brought(range(5, 59))
    monkeypatch.setattr("os.getpid", lambda: -1)
    made.surrogate_of(59)
    assert made.surrogate.threads[-1] == threading.current_thread().name


def test_inputs_keep_their_scale_from_one_fit_to_the_next() -> None:
    """Otherwise the model would have to be rebuilt for every result."""
    variables = {"x": [0.0, 1.0], "t": {"type": "ContextualVariable"}}
    state = state_of({"variables": variables, "observables": ["hours"]}, clock="hours")
    rng = np.random.default_rng(0)
    for i, x in enumerate(rng.random(40)):
        state.add([{"x": x, "t": 20.0 + 0.1 * i, "hours": 0.1 * i**1.1, "f": (x - 0.3) ** 2}])
        if not state.can_model:
            continue
        state.predict([{"x": 0.5, "t": 20.0}])
        fitted_to = state.refits.fitted_to
        if fitted_to > 5 and i + 1 > fitted_to:
            now, before = (state.data.observations(n, fitted_to).X for n in (i + 1, fitted_to))
            assert np.array_equal(now[:fitted_to], before)
            assert state.surrogate._gps.models[0].factored == i + 1


@pytest.mark.integration
def test_a_long_search_is_the_same_again() -> None:
    """With background fits and surprises: the peak is narrow, and it jumps."""
    vocs = {"variables": {"x": [-1.0, 1.0], "y": [-1.0, 1.0]}, "objectives": {"f": "MAXIMIZE"}}

    def measured(point: dict[str, float], i: int) -> dict[str, float]:
        off = 0.5 if i > 55 else 0.0
        return {**point, "f": float(np.exp(-8.0 * ((point["x"] - 0.3) ** 2 + (point["y"] + 0.2 - off) ** 2)))}

    lived = BayesianAgent(vocs, seed=0)
    results = []
    for i in range(75):
        (point,) = lived.suggest(1)
        results.append(measured(point, i))
        lived.ingest(results[-1:])
        if i in (52, 63, 74):
            replayed = BayesianAgent(vocs, seed=0)
            replayed.ingest(results)
            at = [{"x": x, "y": 0.1} for x in (-0.9, 0.0, 0.8)]
            assert replayed.predict(at)["f"][0].tolist() == lived.predict(at)["f"][0].tolist()
    replayed = BayesianAgent(vocs, seed=0)
    replayed.ingest(results)
    assert replayed.suggest(1) == lived.suggest(1)
