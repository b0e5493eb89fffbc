"""Past runs as priors, from Tiled and from a databroker archive: their results, and the runs that are refused."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.plans import count, grid_scan, list_scan, rel_scan
from bluesky_tiled_plugins.clients.bluesky_run import BlueskyRunV2SQL
from ophyd.sim import SynSignal

from ebl_autonomy import VOCS
from ebl_autonomy.agents import Agent, GridAgent, SobolAgent
from ebl_autonomy.data import Connection, ingest_run, past_results, read_run
from ebl_autonomy.errors import BadInputError, DataError
from ebl_autonomy.plans import optimize
from ebl_autonomy.sim_devices import SimBeamline

pytestmark = pytest.mark.integration

LIMITS = {"limits": {"mx": [-2, 2], "my": [-2, 2]}}


def vocs(width: float = 2.0, names: tuple[str, ...] = ("mx", "my"), **more: Any) -> VOCS:
    return VOCS(variables={name: [-width, width] for name in names}, objectives={"det": "MAXIMIZE"}, **more)


def without_ids(results: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Results without what binds them to the proposals of their own run."""
    return [{k: v for k, v in r.items() if k != "_id" and not k.endswith("_asked")} for r in results]


# -- runs that an agent steered --------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["v3", "v2"])
def test_a_run_of_ours_gives_what_its_agent_was_told(RE: RunEngine, tiled: Connection, bench: Any, layout: str) -> None:
    det, motors = bench
    envelope = {**LIMITS, "forbidden": [{"box": {"mx": [1.0, 2.0]}, "reason": "cable"}]}
    agent = SobolAgent(vocs(), seed=2)
    told = RE(optimize([det], motors, agent, max_points=9, batch=3, envelope=envelope)).plan_result
    assert told.refused > 0  # refused proposals have no results
    run = tiled.client[told.uid]
    if layout == "v2":  # not through client.v2, which would change the layout for all clients of the process
        run = BlueskyRunV2SQL(run.context, item=run.item, structure_clients=run.structure_clients)
    uid, results = past_results(run, vocs())
    assert uid == told.uid
    known = [r for r in without_ids(agent.results) if math.isfinite(r["det"])]
    assert sorted(results, key=str) == sorted(known, key=str)
    assert past_results(told.uid, vocs(), tiled.client) == (uid, results)


def test_invalid_rows_come_as_nan(RE: RunEngine, tiled: Connection) -> None:
    beamline = SimBeamline(seed=0, tier="A")
    given = VOCS(
        variables={m.name: list(m.limits) for m in beamline.motors()},
        objectives={"camera_spot_area": "MINIMIZE"},
        constraints={"camera_total": ["GREATER_THAN", 1e4]},
    )
    agent = GridAgent(given, points_per_axis=[3, 3, 1, 1])  # off the sensor at the corners, on it in the middle
    uid = RE(optimize([beamline.camera], beamline.motors(), agent, max_points=9)).plan_result.uid
    _, results = past_results(uid, given, tiled.client)
    assert str(results) == str(without_ids(agent.results))
    assert {math.isnan(r["camera_spot_area"]) for r in results} == {True, False}
    # Another outcome of the same rows, which no agent was given during the run.
    other = VOCS(variables=given.variables, objectives={"camera_fwhm_x": "MINIMIZE"})
    _, results = past_results(uid, other, tiled.client)
    assert [r["camera_fwhm_x"] for r in results] == pytest.approx(
        read_run(uid, tiled.client).rows["camera_fwhm_x"], nan_ok=True
    )


def test_uncertainties_and_context_come_along(RE: RunEngine, tiled: Connection, bench: Any) -> None:
    det, motors = bench
    hall = SynSignal(name="hall", func=lambda: 20.0 + 0.1 * motors[0].position)
    variables = {"mx": [-2.0, 2.0], "my": [-2.0, 2.0], "hall": {"type": "ContextualVariable"}}
    given = VOCS(variables=variables, objectives={"det": "MAXIMIZE"})
    agent = SobolAgent(given, seed=0)
    derive = {"det_std": lambda readings: 0.25}
    uid = RE(optimize([det, hall], motors, agent, max_points=4, derive=derive, envelope=LIMITS)).plan_result.uid
    _, results = past_results(uid, given, tiled.client)
    assert results == without_ids(agent.results)
    assert {"hall", "det_std"} <= set(results[0])


# -- runs without an agent -------------------------------------------------------------------------------------


def scans(det: Any, motors: Any) -> dict[str, Any]:
    mx, my = motors
    return {
        "list_scan": list_scan([det], mx, [0.0, 0.5, 1.0], my, [0.0, 0.1, 0.2]),
        "grid_scan": grid_scan([det], mx, -1, 1, 3, my, -1, 1, 2),
        "rel_scan": rel_scan([det], mx, -0.5, 0.5, my, -0.5, 0.5, 5),
        "with a motor read": list_scan([det, my], mx, [0.0, 0.5]),
    }


@pytest.mark.parametrize("kind", ["list_scan", "grid_scan", "rel_scan", "with a motor read"])
def test_any_scan_will_do(RE: RunEngine, tiled: Connection, bench: Any, kind: str) -> None:
    det, motors = bench
    motors[0].set(0.25)
    (uid,) = RE(scans(det, motors)[kind]).run_start_uids
    table = tiled.client[uid]["primary"].base["internal"].read()
    expected = [{name: float(row[name]) for name in ("mx", "my", "det")} for _, row in table.iterrows()]
    assert past_results(uid, vocs(), tiled.client) == (uid, expected)
    assert len(expected) >= 2


def test_rows_outside_the_domain_are_left_out_and_counted(
    RE: RunEngine, tiled: Connection, bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    det, motors = bench
    (uid,) = RE(list_scan([det], motors[0], [-3.0, -0.5, 0.0, 0.5, 9.0])).run_start_uids
    with caplog.at_level(logging.WARNING):
        _, results = past_results(uid, vocs(names=("mx",)), tiled.client)
    assert [r["mx"] for r in results] == [-0.5, 0.0, 0.5]
    assert f"run {uid} as a prior: 2 of its 5 rows" in caplog.text
    with pytest.raises(DataError, match=r"of its 5 rows 5 have no point in the domain .*widen"):
        past_results(uid, VOCS(variables={"mx": [10, 11]}, objectives={"det": "MAXIMIZE"}), tiled.client)


def test_a_motor_that_stood_still_does_not_matter(RE: RunEngine, tiled: Connection, bench: Any) -> None:
    det, motors = bench
    (uid,) = RE(list_scan([det], motors[0], [0.0, 0.5], motors[1], [0.7, 0.7])).run_start_uids
    _, results = past_results(uid, vocs(names=("mx",)), tiled.client)
    assert [set(r) for r in results] == [{"mx", "det"}] * 2


# -- into an agent ---------------------------------------------------------------------------------------------


class Recording(Agent):
    """Records the priors that it is given."""

    name = "recording"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.priors: dict[str, Any] = {}

    def _propose(self, count: int) -> Any:
        raise NotImplementedError

    def ingest_prior(self, results: Any, label: str = "prior") -> None:
        self.priors[label] = list(results)


class Unlearned:
    """A generator without `ingest_prior`."""

    vocs = vocs()


def test_a_past_run_is_handed_to_an_agent_under_its_uid(RE: RunEngine, tiled: Connection, bench: Any) -> None:
    det, motors = bench
    (scan,) = RE(list_scan([det], motors[0], [0.0, 0.5], motors[1], [0.0, 0.5])).run_start_uids
    agent = Recording(vocs())
    ingest_run(agent, scan[:8], tiled.client)
    assert agent.priors == {scan: past_results(scan, vocs(), tiled.client)[1]}
    with pytest.raises(BadInputError, match="SobolAgent learns nothing from past results"):
        ingest_run(SobolAgent(vocs()), tiled.client[scan])
    with pytest.raises(BadInputError, match=r"Unlearned has no ingest_prior\(\)"):
        ingest_run(Unlearned(), scan, tiled.client)
    with pytest.raises(BadInputError, match="needs a client"):
        ingest_run(agent, scan)
    with pytest.raises(DataError, match=r"lacks \['mz'\]"):
        ingest_run(Recording(vocs(names=("mx", "mz"))), scan, tiled.client)


# -- what is refused -------------------------------------------------------------------------------------------


def test_runs_that_are_no_priors_are_named_with_what_they_have(RE: RunEngine, tiled: Connection, bench: Any) -> None:
    det, motors = bench
    label = SynSignal(name="label", func=lambda: "blue")
    (one,) = RE(list_scan([det, label], motors[0], [0.0, 0.5])).run_start_uids
    (two,) = RE(list_scan([det], motors[0], [0.0, 0.5], motors[1], [0.0, 0.5])).run_start_uids
    (still,) = RE(count([det])).run_start_uids
    client = tiled.client
    with pytest.raises(DataError, match=rf"'{one}' \(list_scan\).* lacks \['my'\], it has \['det', 'label', 'mx'"):
        past_results(one, vocs(), client)
    with pytest.raises(DataError, match=r"moved \['my'\] too"):
        past_results(two, vocs(names=("mx",)), client)
    with pytest.raises(DataError, match=r"lacks \['mx', 'my'\]"):
        past_results(still, vocs(), client)
    with pytest.raises(DataError, match=r"lacks \['flux'\]"):
        past_results(two, vocs(observables=["flux"]), client)
    with pytest.raises(DataError, match="'label' is not one number per row"):
        past_results(one, vocs(names=("mx",), observables=["label"]), client)


def test_a_run_without_rows_is_refused(RE: RunEngine, tiled: Connection) -> None:
    def nothing() -> Any:
        yield from bps.open_run()
        yield from bps.close_run()

    (uid,) = RE(nothing()).run_start_uids
    with pytest.raises(DataError, match=r"lacks .* it has \[\]"):
        past_results(uid, vocs(), tiled.client)


@pytest.mark.parametrize("wrong", ["nope", "nonsense", "0" * 36])
def test_an_unknown_uid_is_named(tiled: Connection, wrong: str) -> None:
    with pytest.raises(BadInputError, match=f"no run '{wrong}'"):
        past_results(wrong, vocs(), tiled.client)


def test_what_is_no_run_is_named() -> None:
    with pytest.raises(BadInputError, match="needs a client"):
        past_results("uid", vocs())
    with pytest.raises(BadInputError, match="42 is no run"):
        past_results(42, vocs())


# -- an archive ------------------------------------------------------------------------------------------------


@pytest.fixture
def archive(RE: RunEngine) -> Iterator[Any]:
    """A MongoDB archive (a test double), written as before Tiled and read through databroker 2."""
    reason = "databroker and its MongoDB double are not installed: pip install 'ebl-autonomy[archive]'"
    pytest.importorskip("mongomock", reason=reason)
    MongoAdapter = pytest.importorskip("databroker.mongo_normalized", reason=reason).MongoAdapter

    from tiled.client import from_context
    from tiled.client.context import Context
    from tiled.server.app import build_app

    tree = MongoAdapter.from_mongomock()
    RE.subscribe(tree.get_serializer())
    with Context.from_app(build_app(tree)) as context:
        yield from_context(context)


@pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")
def test_runs_out_of_a_mongodb_archive(RE: RunEngine, archive: Any, bench: Any) -> None:
    det, motors = bench
    (scan,) = RE(grid_scan([det], motors[0], -1, 3, 3, motors[1], -1, 1, 2)).run_start_uids
    steered = SobolAgent(vocs(), seed=0)
    ours = RE(optimize([det], motors, steered, max_points=5, batch=2, envelope=LIMITS)).plan_result.uid

    uid, results = past_results(scan, vocs(), archive)
    assert uid == scan
    assert [(r["mx"], r["my"]) for r in results] == [(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)]
    assert [r["det"] for r in results] == pytest.approx([math.exp(-((r["mx"] - 0.3) ** 2) / 2) for r in results])
    _, results = past_results(archive[ours], vocs())
    assert sorted(results, key=str) == sorted(without_ids(steered.results), key=str)
    assert read_run(ours, archive).results == steered.results

    agent = Recording(vocs())
    ingest_run(agent, ours, archive)
    assert agent.priors == {ours: results}
    with pytest.raises(BadInputError, match="no run 'nope'"):
        past_results("nope", vocs(), archive)
    with pytest.raises(DataError, match=r"lacks \['mz'\], it has \['det', 'mx', 'mx_setpoint', 'my'"):
        past_results(scan, vocs(names=("mx", "my", "mz")), archive)


# -- keys that the store cannot hold as they are ---------------------------------------------------------------


class ManyKeys:
    """A detector with more keys than a table has columns, and with names that SQL refuses."""

    name, parent = "many", None

    def __init__(self, motor: Any, names: list[str]) -> None:
        self.motor, self.names = motor, names

    def describe(self) -> dict[str, Any]:
        return {name: {"source": "test", "dtype": "number", "shape": []} for name in self.names}

    def read(self) -> dict[str, Any]:
        return {name: {"value": self.motor.position + k, "timestamp": 1e9} for k, name in enumerate(self.names)}


def test_keys_beyond_one_table_and_names_beyond_sql_are_told_and_read_back(
    RE: RunEngine, tiled: Connection, bench: Any
) -> None:
    _, motors = bench
    names = ["Größe", "größe", "_counts", "2nd", "x" * 70, *(f"k{number}" for number in range(600))]
    given = VOCS(variables={"mx": [-2.0, 2.0]}, objectives={"Größe": "MAXIMIZE"}, observables=["x" * 70, "k599"])
    agent = SobolAgent(given, seed=0)
    plan = optimize([ManyKeys(motors[0], names)], motors[:1], agent, max_points=4, envelope={"limits": {"mx": [-2, 2]}})
    uid = RE(plan).plan_result.uid
    record = read_run(uid, tiled.client)
    assert record.results == agent.results
    assert len(record.results) == 4
    assert set(names) <= set(record.rows)
    assert record.rows["k599"] == [x + 604 for x in record.rows["mx"]]
    told = [{name: result[name] for name in ("mx", "Größe", "x" * 70, "k599")} for result in agent.results]
    assert past_results(uid, given, tiled.client) == (uid, told)


@pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")
def test_a_position_out_of_an_archive_may_have_the_name_of_its_reading(RE: RunEngine, archive: Any, bench: Any) -> None:
    _, motors = bench
    motors[0].readback.name = "mx_encoder"
    det = SynSignal(name="det", func=lambda: motors[0].position)
    (scan,) = RE(list_scan([det], motors[0], [-1.0, 0.5])).run_start_uids
    for name in ("mx", "mx_encoder"):
        assert [r[name] for r in past_results(scan, vocs(names=(name,)), archive)[1]] == [-1.0, 0.5]
